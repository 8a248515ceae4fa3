"""What `train ...` does: a domain's images and labels, settings from presets and pairs, a trainer."""
import contextlib
from pathlib import Path

import numpy as np

from .. import data, metrics, options, weights
from ..checkpoints.own import read_config
from ..distributed import first as first_alone
from ..distributed import start
from ..errors import UserError
from ..files import atomic, write_array
from ..inverter import crop, pool
from . import presets

HELD_OUT = 500


def grown(domain, out, pairs=(), *, init_from=None, **how):
    """Trains a generator of a rendered domain by the stages of the presets, each in a folder of `out` -> the
    last one's generator. A stage that is not finished (max_seconds) is the last."""
    domain = data.load_domain(domain)
    dataset = data.domain_dataset(domain, "train")
    emphasis, colour = dict(_of_world(dataset, "EMPHASIS", {})), _of_world(dataset, "COLOUR", 0.0)
    for name, stage in presets.stages(domain.resolution).items():
        if stage["warm_reader"] and "attributes" not in domain.networks:
            continue
        if "perceptual" not in domain.networks:
            stage["warm_perceptual"] = 0.0
        stage["warm_colour"] *= colour
        stage["reader_emphasis"] = emphasis if stage["warm_reader"] else {}
        folder = Path(out) / name
        result = generator(domain, folder, pairs, init_from=init_from, stage=stage, **how)
        facts = read_config(result)["facts"]
        if facts["images"] < facts["training"]["warm_images"]:
            break
        init_from = folder
    return result


def generator(domain, out, pairs=(), *, size="embedded", count=None, init_from=None, device="auto",
              stage=None, **how):
    """Trains a generator on a domain's training images, cropped ones on a black square -> its folder.

    stage: settings below those of `pairs` (`grown`)."""
    from .generator import GeneratorTraining, train_generator
    domain, changes = data.load_domain(domain), _changes(GeneratorTraining, pairs)
    settings = dict(resolution=domain.resolution, image_channels=domain.channels, flip=domain.flip)
    settings |= (stage or {}) | changes
    config, device = presets.generator(size, **settings), start(device)
    dataset = data.domain_dataset(domain, "train")
    with first_alone():
        images = data.images(dataset, "train", domain.crop_size, count=count, fit=domain.fit)
    if domain.crop_size != (domain.resolution, domain.resolution):
        images = data.square(images[:], domain)
    images = _smaller(images, config.resolution)
    source = dataset.split("train")
    codes = focus = perceptual = reader = None
    if config.warm_images and hasattr(source, "codes"):
        codes = source.codes(np.arange(len(images)))
        place = Path(out) / "focus.npy" if stage is None else Path(out).parent / "focus.npy"
        with first_alone():
            focus = _focus(source, len(images), domain, place) if config.warm_focus else None
        if config.warm_reader:
            import torch
            teacher = _teacher(domain, "attributes", "warm_reader", device)
            labels = {name: torch.as_tensor(column, device=device)
                      for name, column in source.table(np.arange(len(images))).items()}

            def reader(rows, output):
                truth = {name: column[rows] for name, column in labels.items()}
                seen = pool(crop(output, domain.crop), domain.encoder_size)
                return config.warm_reader * teacher.loss(seen, truth, config.reader_emphasis)[0]
        if config.warm_perceptual:
            network = _teacher(domain, "perceptual", "warm_perceptual", device)

            def perceptual(a, b):
                return config.warm_perceptual * network.distance(a, b)
    return train_generator(images, out, config=config, device=device, init_from=init_from, codes=codes,
                           focus=focus, perceptual=perceptual, reader=reader, **how)


def _of_world(dataset, name, otherwise):
    """What a rendered dataset's world names; `otherwise` where it does not, and for photographs."""
    return getattr(getattr(dataset.split("train"), "world", None), name, otherwise)


def _teacher(domain, kind, setting, device):
    """The domain's network of a kind, frozen, for the setting that wants it."""
    if kind not in domain.networks:
        raise UserError(f"{setting} needs the network {kind} of the domain {domain.name}, which names none; "
                        "set it to 0")
    return weights.load_network(domain.networks[kind], kind, device).eval().requires_grad_(False)


def features(kind, domain, out, pairs=(), *, count=None, device="auto", **how):
    """Trains a network of `kind` (a row of presets.FEATURES) on a domain's images and their labels."""
    from .features import as_spec, settings_class, train_features
    domain, changes = data.load_domain(domain), _changes(settings_class(kind), pairs)
    dataset = data.domain_dataset(domain, "train")
    own = {"flip": domain.flip, "emphasis": dict(_of_world(dataset, "READING", {}))}
    config, device = presets.feature(kind, **own | changes), start(device)
    images, labels, specs = labelled(dataset, "train", domain, count)
    held_out = labelled(dataset, held_out_split(dataset), domain, HELD_OUT)[:2]
    specs = weighted(specs, domain) if kind == "moco" else specs
    if kind == "attributes":            # what a reader will weigh when it teaches encoders
        specs = [{"weight": config.emphasis.get(spec["name"])} | spec for spec in map(as_spec, specs)]
    return train_features(kind, images, labels, out, attributes=specs, held_out=held_out, config=config,
                          device=device, facts={"domain": domain.name}, **how)


def encoder(method, domain, out, pairs=(), *, size="embedded", count=None, generator=None, trunk=None,
            init_from=None, held_out=HELD_OUT, device="auto", **how):
    """Trains an encoder by a method of the presets -> the folder of its last state.

    trunk: a network's name or path, "none", or None for the domain's trunk or identity network.
    held_out: how many images to validate on.
    """
    from .encoder import train_encoder
    domain, device = data.load_domain(domain), start(device)
    config = encoder_settings(method, domain, pairs, size)
    dataset = data.domain_dataset(domain, "train")
    geometry = dict(size=domain.encoder_size, fit=domain.fit, progress=not how.get("headless"))
    with first_alone():
        images = data.images(dataset, "train", count=count, **geometry)
    if set(dataset.splits) == {"train"}:                  # as FFHQ, which is tested on CelebA-HQ
        dataset = data.domain_dataset(domain, "test")
    split = held_out_split(dataset)
    rows = dataset.split(split).spread(held_out)
    source = dataset.split(split)
    with first_alone():
        held_out = data.images(dataset, split, indices=rows, **geometry)
    masks = source.masks(rows, domain.encoder_size) if hasattr(source, "masks") else None
    if trunk is None and init_from is None:
        trunk = domain.networks.get("trunk", domain.networks.get("identity"))
    return train_encoder(images, out, config, domain=domain, generator=generator, init_from=init_from,
                         trunk=None if trunk == "none" else trunk, held_out=held_out[:], masks=masks,
                         device=device, facts={"method": method}, **how)


def encoder_settings(method, domain, pairs=(), size="embedded"):
    """EncoderTraining of a method on a Domain; `pairs` win over the domain's published length."""
    from .encoder_settings import EncoderTraining
    length = {"iterations": domain.iterations[method]} if method in domain.iterations else {}
    asked = _changes(EncoderTraining, pairs)
    return presets.encoder(method, size, **(length if size == "published" else {}) | asked)


def dry_run(method, domain, pairs=(), *, size="embedded", device="auto"):
    """Lines about what `encoder` would do; needs neither data nor weights."""
    from .dryrun import report
    domain = data.load_domain(domain)
    return list(report(method, domain, encoder_settings(method, domain, pairs, size), start(device)))


def audit(model, domain=None, *, count=None, out=None, device="auto"):
    """Holds a shipped or given generator, or an encoder, against its gates (`audit`) -> lines of text.

    domain: by default the one that the model was trained on, as its file or its shipped name says."""
    from .. import audit
    from ..files import write_json
    shipped = model.split("/")[0] if model in weights.shipped() else None
    domain = domain or weights.facts(model, "generator").get("domain") or shipped
    if domain is None:
        raise UserError(f"{model} does not say what it was trained on: name it with --domain")
    domain, device = data.load_domain(domain), start(device)
    reader = weights.load_reader(domain, device)
    if read_config(weights.find(model))["kind"] == "generator":
        count, dataset = count or 2000, data.domain_dataset(domain, "train")
        renders = data.images(dataset, "train", domain.encoder_size, count=2 * count, fit=domain.fit)
        network = weights.load_network(domain.networks["perceptual"], "perceptual", device)
        found = audit.audit_generator(weights.load_generator(model, device), renders, reader, network,
                                      domain=domain, samples=count)
        apart = sorted(((h["apart"], name) for name, h in found["histograms"].items()), reverse=True)
        lines = [f"KID of {count} samples: {{:.5f}} ± {{:.5f}}".format(*found["kid"]),
                 "KID of two sets of renders: {:.5f} ± {:.5f}".format(*found["kid_of_renders"]),
                 "histograms apart (0 alike, 1 disjoint):",
                 *(f"  {name:<16s} {value:.3f}" for value, name in apart)]
    else:
        found = audit.audit_inversion(weights.load_inverter(model, domain, device=device),
                                      *audit.with_truth(domain, count=count or 500), reader)
        means = [" ".join(f"{value:.4f}" for value in found[key] or ()) for key in ("l2", "region_l2")]
        lines = [f"{found['images']} held-out images; mean L2 of the start and the steps: {means[0]}",
                 *[f"inside eyes and mouth: {means[1]}"] * bool(means[1]), audit.describe(found["gates"]),
                 f"an 8x8 blur of the input {'passes' if found['control_holds'] else 'fails'} them:",
                 audit.describe(found["control"])]
    if out:
        write_json(out, {"model": str(model), "domain": domain.name} | found)
    return "\n".join(lines)


def _changes(config, pairs):
    return options.pairs(pairs, options.field_kinds(config), f"setting of {config.__name__}")


def held_out_split(dataset):
    """The split that training looks at but never learns from: val, else test."""
    found = [name for name in ("val", "test") if name in dataset.splits]
    if not found:
        raise UserError(f"{dataset.path}: training needs a split 'val' or 'test' beside 'train'")
    return found[0]


def _smaller(images, side):
    """uint8 [N, R, R, C] averaged to [N, side, side, C], for the small stages of a generator that grows."""
    factor = images.shape[1] // side
    if factor < 2:
        return images
    out = np.empty((len(images), side, side, images.shape[3]), np.uint8)
    for first in range(0, len(images), 1024):
        part = images[first:first + 1024].reshape(-1, side, factor, side, factor, images.shape[3])
        out[first:first + 1024] = np.rint(part.mean((2, 4), dtype=np.float32))
    return out


def _focus(source, count, domain, path):
    """Where images of a rendered split matter most, uint8 [count, R / 2, R / 2], drawn once into `path`."""
    if not path.exists():
        side = domain.resolution // 2
        parts = [source.focus(np.arange(first, min(first + 256, count)), [s // 2 for s in domain.crop_size])
                 for first in range(0, count, 256)]
        found = np.concatenate(parts)
        top, left = domain.crop[0] // 2, domain.crop[2] // 2
        whole = np.zeros((count, side, side), np.uint8)
        whole[:, top:top + found.shape[1], left:left + found.shape[2]] = found
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as stream:
            write_array(stream, whole)
    return np.load(path, mmap_mode="r")


def weighted(specs, domain):
    """Attribute specs with the share that the domain's reader, if it is there, can read as their weight."""
    from .features import as_spec
    specs, facts = [as_spec(spec) for spec in specs], {}
    with contextlib.suppress(UserError):
        facts = weights.facts(domain.networks.get("attributes", f"{domain.name}/attributes"))
    read = metrics.legibility(facts.get("held_out", {}).get("attributes", {}), specs)
    return [spec | {"weight": read[spec["name"]]} for spec in specs] if any(read.values()) else specs


def labelled(dataset, split, domain, count, progress=True):
    """The first `count` images of a split (None: all): (images, labels with "identity", attribute specs)."""
    source = dataset.split(split)
    rows = np.arange(len(source))[:count]
    with first_alone():
        images = data.images(dataset, split, domain.encoder_size, indices=rows, fit=domain.fit,
                             progress=progress)
    table = source.table(rows) or {}
    own = hasattr(source, "world")
    specs = list(source.world.NAMES) if own else [_spec(name, column) for name, column in table.items()]
    classes = {} if own else {spec["name"]: spec["classes"] for spec in specs if "classes" in spec}
    labels = {name: np.array([classes[name].index(v) for v in column]) if name in classes else column
              for name, column in table.items()}
    return images, {"identity": np.asarray(source.groups)[rows], **labels}, specs


def _spec(name, values):
    """The spec of a column of somebody's attributes: words are classes, 0 and 1 binary, others real."""
    if values.dtype.kind not in "fiu":
        return {"name": name, "kind": "category", "classes": sorted(set(values.tolist()))}
    known = values[np.isfinite(values)]
    if set(known.tolist()) <= {0.0, 1.0}:
        return {"name": name, "kind": "binary"}
    return {"name": name, "kind": "real", "low": float(known.min()), "high": float(known.max())}
