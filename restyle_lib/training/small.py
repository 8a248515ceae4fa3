"""A domain at a smaller size, so that a training can be watched from its first image on within seconds."""
from dataclasses import replace

import numpy as np

from ..errors import UserError


def small_domain(domain, side, **changes):
    """A domain whose generator's square has `side` pixels, a whole fraction of its own; `changes` win.

    Crop and encoder size shrink with it. It names no generator and no losses: none fits."""
    factor = domain.resolution // side
    crop = [bound / factor for bound in domain.crop] if factor else [0.5]
    if side * factor != domain.resolution or any(bound % 1 for bound in crop):
        raise UserError(f"{domain.name} has {domain.resolution} pixels and the crop {list(domain.crop)}; "
                        f"{side} pixels are no whole fraction of that")
    crop = tuple(int(bound) for bound in crop)
    return replace(domain, **{"resolution": side, "crop": crop, "generator": None, "losses": {},
                              "encoder_size": (crop[1] - crop[0], crop[3] - crop[2])} | changes)


def pooled(images, size):
    """uint8 [N, H, W, C] averaged to `size` [h, w], which divides H and W; returned as it is if it has it."""
    (height, width), (h, w) = images.shape[1:3], size
    if (height, width) == (h, w):
        return images
    if height % h or width % w:
        raise UserError(f"images of {height}x{width} pixels cannot be averaged to {h}x{w}")
    blocks = np.asarray(images[:]).reshape(len(images), h, height // h, w, width // w, -1)
    return blocks.mean((2, 4)).round().astype(np.uint8)


def stages(total, count, batch):
    """`count` growing numbers of images up to `total`, whole batches, each about double the one before."""
    last = max(1, total // batch)
    steps = sorted({max(1, round(last * 2.0 ** -k)) for k in range(count)})
    return [step * batch for step in steps]
