"""Starting a network from another: every tensor that matches is copied, and a grown generator begins as the
small one's image, upsampled."""
import re
from pathlib import Path

import torch

from ..models.stylegan2 import Generator
from .loop import STATE, load_state

NETWORKS = ("generator", "ema", "discriminator")


def networks_of(source):
    """{"generator", "ema" and perhaps "discriminator": state dict} of a Generator, a run folder, or what
    load_generator takes (a published file's discriminator comes with it)."""
    if isinstance(source, torch.nn.Module):
        return {"generator": source.state_dict(), "ema": source.state_dict()}
    if (Path(source) / STATE).exists():
        parts = load_state(Path(source) / STATE)["parts"]
        return {name: parts[name] for name in NETWORKS}
    from ..weights import load_parts
    parts = load_parts(str(source), ("generator", "discriminator"))
    return {"ema": parts["generator"].state_dict(), **{k: part.state_dict() for k, part in parts.items()}}


def runs_before(source):
    """What a training began from, a generator's run or an encoder's folder: [{"images", "training"} of each
    run, the first one first]; empty for modules and published files."""
    if not isinstance(source, (str, Path)):
        return []
    from .. import weights
    folder = Path(source) / "generator"
    facts = weights.facts(folder if folder.is_dir() else source)
    return [*facts.get("before", []), {name: facts[name] for name in ("images", "training")}] if facts else []


def passes(facts):
    """(on samples with known latents, on images) of an encoder: passes of one image through encoder and
    generator in this run and those before it, by the facts in its config.json."""
    warm = shown = 0
    for run in [*facts.get("before", []), facts]:
        settings = run["training"]
        first = min(run["images"], settings["warm_iterations"] * settings["batch"])
        warm += first * min(settings["steps"], settings["warm_steps"])
        shown += (run["images"] - first) * settings["steps"]
    return warm, shown


def _canonical(names):
    """{name: the name with a discriminator's blocks counted from its end}, so that resolutions correspond."""
    count = 1 + max((int(m[1]) for name in names if (m := re.match(r"blocks\.(\d+)\.", name))), default=-1)
    return {name: re.sub(r"(?<=^blocks\.)\d+", lambda m: str(int(m[0]) - count), name) for name in names}


@torch.no_grad()
def copy_matching(module, tensors):
    """Copies what matches by name and shape from a state dict. A generator's new image layers start at zero.

    Returns a sentence: how many tensors matched and which layers are new."""
    own = {name: tensor for name, tensor in module.state_dict().items() if name != "w_mean"}
    there = {canonical: tensors[name] for name, canonical in _canonical(tensors).items()}
    new = []
    for name, canonical in _canonical(own).items():
        if canonical in there and there[canonical].shape == own[name].shape:
            own[name].copy_(there[canonical])
        else:
            new.append(name)
            if isinstance(module, Generator) and re.match(r"to_images\.\d+\.(weight|bias)$", name):
                own[name].zero_()
    if isinstance(module, Generator) and tensors["w_mean"].shape[1] == module.w_dim:
        same = tensors["w_mean"].shape == module.w_mean.shape
        module.set_w_mean(tensors["w_mean"] if same else tensors["w_mean"][0])
    layers = sorted({".".join(name.split(".")[:2]) for name in new})
    return f"{len(own) - len(new)} tensors matched, {len(new)} new" + f" ({', '.join(layers)})" * bool(new)
