"""Training settings in tables: published sizes as found in code and answers, embedded ones scaled to them.

Weights of the image losses belong to the domain (its YAML): pSp, ReStyle and e4e share them. Published ones
are L2 1, LPIPS 0.8 and identity 0.1 (faces) or MoCo 0.5 (others); toonify: identity 1, w-norm 0.025."""
from ..errors import suggest

COMMON = {  # of all methods at a size
    "published": dict(batch=8, lr=1e-4, cooldown=0.0, extra="normal", amp="", update="batch"),
    "embedded":  dict(batch=8, lr=2.5e-3, cooldown=0.7, extra="zero", amp="", update="step"),      # 9
    "gpu":       dict(batch=64, lr=5e-3, cooldown=0.7, extra="zero", amp="bf16", update="step"),   # 7
}
COLUMNS = ("scheme", "head", "progressive", "steps", "delta_norm", "adversarial", "progressive_start",
           "progressive_every", "iterations")

# Sources. (1) ReStyle, README "Training ReStyle" and its options; (2) the author: best checkpoint of faces at
# 110,000 iterations (cars 75,000, wild 40,000, churches 150,000); (3) pSp: 300,000; (4) e4e: 250,000, and the
# schedule of its README; (5) not stated for ReStyle-e4e: e4e's; (6) as many passes through the encoder for
# each method, so that a single pass has N times the iterations of N steps; (7) planned for one GPU like
# the H200, not yet run there: the embedded world's images in larger batches, mixed precision; (8) IDInvert's
# encoder (Section 3.1): the weight of its adversarial term on images below; head and lengths are pSp's;
# (9) an update after each step, as the paper words it: after 60 iterations of ReStyle-pSp from the same warm
# start the held-out loss was 0.135 against 0.152 of one update for all five steps (lr 3e-3 both).
ENCODERS = {
    # size       method           scheme     head       progr.  N  delta adv.  start   every  iterations
    ("published", "restyle-psp"): ("restyle", "single",  False, 5, 0.0,  0.0,      0,     0, 110_000),  # 1 2
    ("published", "restyle-e4e"): ("restyle", "single",  True,  5, 2e-4, 0.1, 20_000, 2_000, 250_000),  # 1 5
    ("published", "psp"):         ("onepass", "pyramid", False, 1, 0.0,  0.0,      0,     0, 300_000),  # 3
    ("published", "e4e"):         ("onepass", "pyramid", True,  1, 2e-4, 0.1, 20_000, 2_000, 250_000),  # 4
    ("published", "idinvert"):    ("onepass", "pyramid", False, 1, 0.0,  0.0,      0,     0, 300_000),  # 8
    ("embedded",  "restyle-psp"): ("restyle", "single",  False, 5, 0.0,  0.0,      0,     0,   5_000),
    ("embedded",  "restyle-e4e"): ("restyle", "single",  True,  5, 2e-4, 0.1,    500,   100,   5_000),
    ("embedded",  "psp"):         ("onepass", "pyramid", False, 1, 0.0,  0.0,      0,     0,  25_000),  # 6
    ("embedded",  "e4e"):         ("onepass", "pyramid", True,  1, 2e-4, 0.1,  2_500,   500,  25_000),  # 6
    ("embedded",  "idinvert"):    ("onepass", "pyramid", False, 1, 0.0,  0.0,      0,     0,  25_000),  # 6 8
    ("gpu",       "restyle-psp"): ("restyle", "single",  False, 5, 0.0,  0.0,      0,     0,     640),  # 7
    ("gpu",       "restyle-e4e"): ("restyle", "single",  True,  5, 2e-4, 0.1,     64,    12,     640),  # 7
    ("gpu",       "psp"):         ("onepass", "pyramid", False, 1, 0.0,  0.0,      0,     0,   3_200),  # 6 7
    ("gpu",       "e4e"):         ("onepass", "pyramid", True,  1, 2e-4, 0.1,    320,    64,   3_200),  # 6 7
    ("gpu",       "idinvert"):    ("onepass", "pyramid", False, 1, 0.0,  0.0,      0,     0,   3_200),  # 6-8
}
IMAGE_ADVERSARIAL = {"idinvert": 0.08}
CONTROLS = {   # one thing differs, so that neither scheme nor head is mistaken for the other
    "psp-single":  ("psp", dict(head="single")),
    "restyle-one": ("psp", dict(scheme="restyle", head="single")),
}

WORLD = {      # all encoders of a domain (`train world`): equal passes, after a warm start that those of a
    # scheme and head share. size: warm iterations, steps, lr; passes of encoder and generator, lr
    "embedded": (1_400, 2, 3e-3,     40_000, 2.5e-3),
    "gpu":      (700,   2, 4e-3,    200_000, 5e-3),        # 7
}
CHANNELS = {4: 192, 8: 192, 16: 128, 32: 64, 64: 32, 128: 32, 256: 16}   # of small generators
COMPACT = dict(channels={4: 128, 8: 128, 16: 96, 32: 64, 64: 32})        # 0.9 M parameters in place of 2.0 M
TUNED = dict(lr_g=1e-3, lr_d=2e-3, noise_rate=0.02)                     # of a generator that is fine-tuned
TINY = dict(channels={4: 32, 8: 32, 16: 16}, r1=0.3, noise_rate=0.1, reuse_gradient=True)  # a quick look
GENERATORS = {  # mixing, averaging and lazy terms of the published size as in StyleGAN2, configuration F
    # size        z    w    mapping batch mixing ema     path  shared fakes  images
    "published": (512, 512, 8,      32,   0.9,   10_000, 2.0,  False,        25_000_000),
    "embedded":  (192, 192, 4,      16,   0.5,    5_000, 0.0,  True,            400_000),
    "gpu":       (192, 192, 4,      64,   0.5,    5_000, 0.0,  True,            800_000),   # 7, as above
    "compact":   (128, 128, 4,      16,   0.5,    5_000, 0.0,  True,            400_000),
    "tuned":     (128, 192, 4,      16,   0.5,    2_000, 0.0,  True,             16_000),
    "tiny":      (32,  32,  2,      8,    0.5,      500, 2.0,  True,              6_000),
}

STAGES = (    # of a generator that grows on a rendered world, by regression alone (training.warm)
    # folder  side images  focus perceptual reader colour (of worlds that name one)
    ("16",     16, 72_000, 4.0,  0.0,       0.0,   100.0),
    ("32",     32, 48_000, 8.0,  0.0,       0.0,   20.0),
    ("64",     64, 48_000, 10.0, 1.0,       0.0,   8.0),
    ("read",   64, 13_000, 20.0, 1.0,       6.0,   8.0),   # what is read counts: a smile is few pixels
    ("finish", 64, 40_000, 30.0, 1.0,       1.0,   4.0),   # and now neatly
)

FEATURES = {  # embedded; each has its own seed, so that no two share a start. Judges never train anything
    # kind              images   batch lr    augment identity_weight seed
    "identity":         (64_000, 64,   3e-3, 0.5,    1.0,            1),
    "attributes":       (80_000, 64,   3e-3, 0.15,   0.0,            2),   # shifts and noise hide smiles
    "perceptual":       (64_000, 64,   3e-3, 0.5,    0.1,            3),
    "identity-judge":   (64_000, 64,   3e-3, 0.5,    1.0,            4),
    "perceptual-judge": (48_000, 64,   3e-3, 0.5,    0.1,            5),
    "attributes-judge": (80_000, 64,   3e-3, 0.15,   0.0,            7),
    "moco":             (96_000, 64,   3e-3, 1.0,    0.0,            6),
}


def encoder(method, size="embedded", **changes):
    """EncoderTraining of a method ("restyle-psp", "psp", ...) or of a control at a size; `changes` win.

    Sizes: "embedded", "gpu" (the embedded world on one GPU), "published". UserError for other words."""
    from .encoder import EncoderTraining
    for word, accepted, what in ((size, COMMON, "size"), (method, [*methods(), *CONTROLS], "method")):
        if word not in accepted:
            raise suggest(word, accepted, what)
    method, apart = CONTROLS.get(method, (method, {}))
    values = _row(size, method) | apart | changes
    every = max(1, values["iterations"] // 20)
    return EncoderTraining(**{"validate_every": every, "sample_every": every} | values)


def world(size, method):
    """(family, warm settings, own settings) of a method when all of a domain are trained (`train world`).

    Methods of one family, "scheme-head", begin with the same warm start."""
    if size not in WORLD:
        raise suggest(size, WORLD, "size")
    warm, warm_steps, warm_lr, passes, lr = WORLD[size]
    config = encoder(method, size)
    iterations = max(1, passes // (config.batch * config.steps))
    common = {"batch_norm": "frozen", "save_every": 200}
    first = {"iterations": warm, "warm_iterations": warm, "warm_steps": warm_steps, "lr": warm_lr,
             "cooldown": 0.0, "progressive": False, "validate_every": warm, "sample_every": warm}
    own = {"iterations": iterations, "lr": lr, "cooldown": 0.7, "progressive_start": iterations // 10,
           "progressive_every": max(1, iterations // 50)}
    return f"{config.scheme}-{config.head}", common | first, common | own


def generator(size="embedded", **changes):
    """GeneratorTraining at a size, a row of GENERATORS ("embedded", "published", ...); `changes` win."""
    from .generator import GeneratorTraining
    if size not in GENERATORS:
        raise suggest(size, GENERATORS, "size")
    names = ("z_dim", "w_dim", "mapping_layers", "batch", "mixing", "ema_images", "path_length",
             "reuse_fakes", "total_images")
    values = dict(zip(names, GENERATORS[size], strict=True))
    side = changes.get("resolution", 64)
    if size != "published":
        values |= {"tiny": TINY, "compact": COMPACT}.get(size, {"channels": CHANNELS})
        values |= TUNED if size == "tuned" else {}
        widths, sides = values["channels"], (2**i for i in range(2, 11))
        values["channels"] = {s: widths.get(s, 16) for s in sides if s <= side}
    values["amp"] = "bf16" if size == "gpu" else ""
    return GeneratorTraining(**values | changes)


def stages(resolution):
    """{folder: settings} of each stage up to a resolution, the small ones first."""
    common = dict(z_dim=128, noise_rate=0.02, mixing=0.0, ema_images=2_000, total_images=0)
    names = ("resolution", "warm_images", "warm_focus", "warm_perceptual", "warm_reader",
             "warm_colour")
    return {row[0]: common | dict(zip(names, row[1:], strict=True)) for row in STAGES if row[1] <= resolution}


def feature(kind, **changes):
    """The settings of a kind of feature network at embedded size; `changes` win."""
    from .features import settings_class
    if kind not in FEATURES:
        raise suggest(kind, FEATURES, "kind of feature network")
    names = ("images", "batch", "lr", "augment", "identity_weight", "seed")
    values = dict(zip(names, FEATURES[kind], strict=True))
    return settings_class(kind)(**values | changes)


def methods():
    """The encoder methods in the table, in its order."""
    return list(dict.fromkeys(method for _, method in ENCODERS))


def rows():
    """A row for each encoder in the table, all settings that differ: dicts for `tables.Table`."""
    return [{"size": size, "method": method, **_row(size, method)} for size, method in ENCODERS]


def _row(size, method):
    row = dict(zip(COLUMNS, ENCODERS[size, method], strict=True))
    return COMMON[size] | row | {"image_adversarial": IMAGE_ADVERSARIAL.get(method, 0.0)}
