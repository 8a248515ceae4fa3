"""Results of methods, kept image by image: a new method, or a new image, computes only what is new."""
import contextlib
import hashlib
import json
from pathlib import Path

import torch
from tqdm.auto import tqdm

from ..errors import UserError
from ..files import cache_dir, write_json
from ..inverter import check_images
from ..models.stylegan2 import fingerprint
from ..provenance import hardware
from ..trajectory import Trajectory, join
from .foreign import Function
from .noise import content

BATCH = 8           # images that are computed together: the last bits of a result depend on it
VERSION = 1         # of what methods compute: a change makes all results new


def run(method, images, generator, domain, folder=None, *, batch=BATCH, progress=True):
    """A method's Trajectory of images [N, C, H, W], computed in batches where it is not yet in `folder`.

    One .npz an image, under what decides it: method, settings, weights, generator, the domain's geometry and
    networks, and, as times are kept too, batch and hardware. folder: None for cache/methods."""
    images = check_images(images, domain)
    if getattr(method, "whole", False):
        return method(images, generator, domain)
    method = method if hasattr(method, "settings") else Function(method)
    facts = json.dumps(described(method, generator, domain, batch), sort_keys=True, default=str)
    key = hashlib.sha256(facts.encode()).hexdigest()[:16]
    place = Path(folder or cache_dir() / "methods") / key
    names = [content(image) for image in images]
    found = {name: _load(place / f"{name}.npz") for name in dict.fromkeys(names)}
    missing = [names.index(name) for name, trajectory in found.items() if trajectory is None]
    if missing:
        write_json(place / "method.json", json.loads(facts))
    with tqdm(total=len(missing), desc=method.name, unit="img", leave=False, disable=not progress) as bar:
        for first in range(0, len(missing), batch):
            rows = missing[first:first + batch]
            made = method(images[rows], generator, domain).to("cpu")
            for position, row in enumerate(rows):
                found[names[row]] = made.select([position])
                found[names[row]].save(place / f"{names[row]}.npz")
            bar.update(len(rows))
    return join([found[name] for name in names])


def described(method, generator, domain, batch):
    """Everything that decides a method's results, JSON-able."""
    device = generator.w_mean.device
    geometry = {field: getattr(domain, field) for field in ("resolution", "crop", "encoder_size", "channels")}
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else hardware()
    return {"version": VERSION, "method": method.name, "settings": method.settings(),
            "weights": method.weights(domain), "generator": fingerprint(generator), "domain": geometry,
            "batch": batch, "hardware": where, "device": device.type, "threads": torch.get_num_threads()}


def _load(path):
    """The Trajectory that was kept, or None; a damaged file is computed anew."""
    with contextlib.suppress(UserError):
        return Trajectory.load(path) if path.exists() else None
    return None
