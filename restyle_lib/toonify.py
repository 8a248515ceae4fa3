"""Toonify (Section 5.5): two generators blended by resolution, and an encoder that begins where another
one ended."""
import copy
import math
from pathlib import Path

import torch

from .errors import UserError, suggest
from .models.stylegan2 import fingerprint, sides

ROLES = ("child", "parent")
TRAIN = "python -m restyle_lib train "
RECIPES = {
    "toons/generator": TRAIN + ("generator --domain toons --size tuned --init-from avatars/generator "
                                 "--out FOLDER"),
    "toonify/generator": TRAIN + "blend avatars toons --swap 8 --coarse parent --out FOLDER",
    "toonify/restyle-psp": TRAIN + "encoder restyle-psp --domain toonify --out FOLDER",
    "toonify/psp": TRAIN + "encoder psp --domain toonify --out FOLDER",
}


def needed(name, default="generator"):
    """`name`, if these weights are here; else a UserError that says in one sentence what to train."""
    from .weights import find
    try:
        find(name, default)
    except UserError:
        full = str(name) if "/" in str(name) else f"{name}/{default}"
        if full not in RECIPES:
            raise
        raise UserError(f"the weights {full} are not here; make them: {RECIPES[full]}, then name "
                        "what it wrote") from None
    return name


def there(names, default="generator"):
    """Of {label: name} those that are here, and a sentence for each that is not: ({label: name}, [sentence]).

    "" stands for none. UserError for names that nobody could mean."""
    from . import registry
    here, missing = {}, []
    for label, name in names.items():
        full = str(name) if "/" in str(name) else f"{name}/{default}"
        try:
            here |= {label: needed(name, default)} if name else {}
        except UserError as error:
            if full not in RECIPES and str(name) not in registry.files():
                raise
            missing.append(f"{label}: {error}")
    return here, missing


# ---- blending

def blend(parent, child, swap, *, soft=0.0, coarse="child"):
    """A Generator from two of one architecture, mixed by resolution (Pinkney and Adler 2020, layer swapping).

    Blocks below `swap` pixels are those of `coarse` ("child": shapes of the child, surfaces of the parent;
    "parent": the reverse), from `swap` on the other's. soft: 0 is that cut; else the share of the fine one is
    a sigmoid `soft` octaves wide. Mapping and average style are the parent's, where latents come from."""
    check_shapes(parent, child)
    table = shares(parent.resolution, swap, soft)
    if coarse not in ROLES:
        raise suggest(coarse, ROLES, "coarse generator")
    return _mixed(parent, *((child, parent) if coarse == "child" else (parent, child)), table)


def towards(parent, child, share):
    """The parent with every block `share` (0...1) of the straight way to the child's weights -> Generator.

    A stand-in for how far fine-tuning went, not its course. Mapping and average style stay the parent's."""
    check_shapes(parent, child)
    if not 0 <= share <= 1:
        raise UserError(f"share={share}: a share of the way from parent to child is 0 to 1")
    return _mixed(parent, parent, child, dict.fromkeys(sides(parent.resolution), float(share)))


def ladder(parent, child, swaps=(), *, soft=1.0, coarse="child"):
    """{label: Generator} of blends in the order of what the child contributes, least first: cut at each of
    `swaps` pixels (empty: at all there are), and one soft one, `soft` octaves wide, at the middle of them."""
    swaps = sorted(swaps or sides(parent.resolution)[1:], reverse=coarse != "child")
    found = {f"swap at {swap} px": blend(parent, child, swap, coarse=coarse) for swap in swaps}
    middle = swaps[(len(swaps) - 1) // 2]
    return found | {f"soft swap, {middle} px": blend(parent, child, middle, soft=soft, coarse=coarse)}


def course(parent, child, along=(), device="cpu"):
    """From the parent to the child: (what its places are, {place: Generator}), both ends included.

    along: names or paths of generators that were saved during the fine-tuning, in order, placed by the images
    they have seen, where their files say so. Without any: `towards` at quarters, a stand-in for it."""
    from .weights import facts, load_generator
    if not along:
        between = {f"{share:g}": towards(parent, child, share) for share in (0.25, 0.5, 0.75)}
        return "share of the way from parent to child weights", {"0": parent, **between, "1": child}
    seen = [facts(name, "generator").get("images") for name in along]
    told = [f"{n:,}" for n in seen] if None not in seen and len(set(seen)) == len(seen) else \
        [f"saved {number + 1}" for number in range(len(along))]
    saved = {place: load_generator(name, device) for place, name in zip(told, along, strict=True)}
    for generator in saved.values():
        check_shapes(parent, generator)
    return "images seen in the fine-tuning", {"0": parent, **saved, "the end": child}


def _mixed(parent, low, high, table):
    """The parent with blocks mixed from two generators; table: {side: share of the second}."""
    mixed, low, high = parent.state_dict(), low.state_dict(), high.state_dict()
    for name in mixed:
        side = _side(parent, name)
        if side is not None:
            mixed[name] = torch.lerp(low[name], high[name].to(low[name]), table[side])
    result = copy.deepcopy(parent)
    result.load_state_dict(mixed)
    return result.eval().requires_grad_(False)


def shares(resolution, swap, soft=0.0):
    """{side: share of the fine generator} of the blocks 4...resolution; UserError where they cannot be."""
    accepted = sides(resolution)[1:]
    if swap not in accepted:
        raise UserError(f"swap={swap}: a generator of {resolution} pixels is swapped at "
                        f"{', '.join(map(str, accepted))}")
    if not 0 <= soft < math.inf:
        raise UserError(f"soft={soft}: a width in octaves is 0 (a cut) or more")
    if not soft:
        return {side: float(side >= swap) for side in sides(resolution)}
    return {side: 1 / (1 + math.exp(-min(max((math.log2(side / swap) + 0.5) / soft, -500), 500)))
            for side in sides(resolution)}


def shape(generator):
    """A generator's shape in words."""
    c = generator.config
    widths = "/".join(str(width) for width in c["channels"].values())
    return (f"{c['resolution']} px, {c['image_channels']} channels, latents "
            f"{generator.n_styles}x{c['w_dim']}, z of {c['z_dim']}, {c['mapping_layers']} mapping layers, "
            f"widths {widths}")


def check_shapes(first, second):
    """UserError, naming both shapes, unless two generators have one architecture."""
    if shape(first) != shape(second):
        raise UserError(f"only generators of one shape can be blended; the first has {shape(first)}, the "
                        f"second {shape(second)}")


def _side(generator, name):
    """The resolution of the block that a tensor belongs to; None for mapping and average style."""
    part, *rest = name.split(".")
    if part == "constant":
        return 4
    if part == "convs":
        return generator.convs[int(rest[0])].resolution
    return 4 * 2 ** int(rest[0]) if part == "to_images" else None


def save_blend(folder, parent, child, swap, *, soft=0.0, coarse="child", recipe=False, device="cpu"):
    """Blends two generators by name or path and writes the result in our format -> a sentence.

    recipe: only what to blend, which takes no space, of two shipped ones (`from_recipe`)."""
    from .checkpoints.own import halved, save_model
    from .files import write_json
    from .weights import facts, load_generator, shipped
    names = {"parent": str(parent), "child": str(child)}
    parts = {role: load_generator(needed(name), device) for role, name in names.items()}
    about = {role: {"name": _plain(name), "generator": fingerprint(parts[role]),
                    "facts": facts(name, "generator")} for role, name in names.items()}
    how = {"swap": swap, "soft": soft, "coarse": coarse}
    mixed = blend(**parts, **how)
    if recipe:
        places = {role: name if "/" in name else f"{name}/generator" for role, name in names.items()}
        if lacking := sorted(set(places.values()) - set(shipped())):
            raise UserError(f"a recipe blends shipped generators, which {' and '.join(lacking)} is not; "
                            "without --recipe the weights are written")
        config = {"kind": "generator", "architecture": mixed.config, "generator": fingerprint(halved(mixed)),
                  "blend": places | how, "facts": how | about, "file": {"bytes": 0}}
        write_json(Path(folder) / "config.json", config)
    else:
        config = save_model(folder, mixed, "generator", **how, **about)
    return (f"{folder}: generator {config['generator'][:12]}, the {coarse}'s blocks below {swap} px, of "
            + " and ".join(f"{role} {about[role]['generator'][:12]}" for role in names))


def from_recipe(config, folder, device="cpu"):
    """The Generator that a config.json describes as a blend of two shipped ones; UserError if it is not the
    one that was meant: a parent or child was replaced."""
    from .checkpoints.own import halved
    from .weights import load_generator, shipped
    try:
        how = dict(config["blend"])
        parts = {role: how.pop(role) for role in ("parent", "child")}
        if not set(parts.values()) <= set(shipped()):
            raise ValueError(f"it blends {' and '.join(map(str, parts.values()))}, not shipped generators")
        mixed = halved(blend(**{role: load_generator(name) for role, name in parts.items()}, **how))
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise UserError(f"{folder} is no recipe of a blend: {error}") from None
    if fingerprint(mixed) != config.get("generator"):
        raise UserError(f"{folder} describes another blend than its parent and child make now; they were "
                        "replaced, blend them again: " + RECIPES["toonify/generator"])
    return mixed.to(device).requires_grad_(False)


def _plain(name):
    """A shipped name as it is, of a path its last part: a file says nothing about a machine's folders."""
    from .weights import shipped
    return name if name in shipped() or f"{name}/generator" in shipped() else name.rstrip("/").split("/")[-1]


# ---- bootstrapping

def check_pair(first, second):
    """UserError unless the Inverter `second` can start from the latents and images of `first`."""
    sizes = [list(i.domain.encoder_size) for i in (first, second)]
    latents = [f"{i.generator.n_styles}x{i.generator.w_dim}" for i in (first, second)]
    for what, has in (("works at", [f"{h}x{w} pixels" for h, w in sizes]),
                      ("has latents of", latents),
                      ("takes", [f"{i.domain.channels} channels" for i in (first, second)])):
        if has[0] != has[1]:
            raise UserError(f"{first.name} {what} {has[0]}, {second.name} {what} {has[1]}; one cannot start "
                            "from the other")


def bootstrap(first, second, images, first_steps=1, steps=1, *, rerender=False, begun=None):
    """Encoder bootstrapping (Section 5.5, Figure 10): `second` refines from the latent of `first` AND the
    image that the first's own generator made of it -> the second's Trajectory, whose row 0 is that pair.

    first, second: Inverters; images: [B, C, H, W] in [-1, 1]. first_steps: of the first encoder (published:
    1); 0 is the plain start, the second's average style. steps: of the second. rerender: an ablation, in
    which the second's generator draws the first's latent for the start. begun: the first's Trajectory of the
    same images, where it is there already."""
    if first_steps < 0 or steps < 1:
        raise UserError(f"first_steps={first_steps}, steps={steps}: the first encoder takes 0 steps (the "
                        "plain start) or more, the second at least 1")
    if not first_steps:
        return second(images, steps)
    check_pair(first, second)
    begun = first(images, first_steps) if begun is None else begun
    if len(begun.latents) <= first_steps or begun.latents.shape[1] != len(images):
        raise UserError(f"first_steps={first_steps} of {len(images)} images: what was begun holds "
                        f"{len(begun.latents) - 1} steps of {begun.latents.shape[1]}")
    start = begun.latents[first_steps].to(second.device)
    made = None if rerender else begun.images[first_steps].to(second.device)
    return second(images, steps, start=start, start_images=made)
