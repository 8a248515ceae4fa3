"""Differentiable augmentation of real and generated images (the idea of DiffAugment, Zhao et al. 2020)."""
import torch

from ..errors import suggest


def _uniform(x, low, high):
    return torch.rand(x.shape[0], 1, 1, 1, device=x.device, dtype=x.dtype) * (high - low) + low


def colour(x):
    """Brightness by up to 0.5, saturation by 0 to 2, contrast by 0.5 to 1.5, each image its own."""
    x = x + _uniform(x, -0.5, 0.5)
    if x.shape[1] > 1:
        grey = x.mean(1, keepdim=True)
        x = grey + (x - grey) * _uniform(x, 0, 2)
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + (x - mean) * _uniform(x, 0.5, 1.5)


def translation(x, ratio=0.125):
    """Shifts by up to `ratio` of the side; what comes in from outside is mid-grey (0)."""
    b, _, h, w = x.shape
    dy = torch.randint(-int(h * ratio), int(h * ratio) + 1, (b, 1), device=x.device)
    dx = torch.randint(-int(w * ratio), int(w * ratio) + 1, (b, 1), device=x.device)
    rows = (torch.arange(h, device=x.device) + 1 + dy).clamp(0, h + 1)
    columns = (torch.arange(w, device=x.device) + 1 + dx).clamp(0, w + 1)
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1)).permute(0, 2, 3, 1)
    index = torch.arange(b, device=x.device)[:, None, None]
    return padded[index, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def cutout(x, ratio=0.5):
    """A square of `ratio` of the side, anywhere, becomes mid-grey (0)."""
    b, _, h, w = x.shape
    size_y, size_x = int(h * ratio + 0.5), int(w * ratio + 0.5)
    y = torch.randint(0, h + 1, (b, 1, 1, 1), device=x.device) - size_y // 2
    z = torch.randint(0, w + 1, (b, 1, 1, 1), device=x.device) - size_x // 2
    rows, columns = torch.arange(h, device=x.device)[:, None], torch.arange(w, device=x.device)
    inside = (rows >= y) & (rows < y + size_y) & (columns >= z) & (columns < z + size_x)
    return x * (~inside).to(x.dtype)


KINDS = {"colour": colour, "translation": translation, "cutout": cutout}


def augment(x, kinds, p=1.0):
    """x: [B, C, H, W] in [-1, 1] -> the same; each of `kinds` is applied to each image with probability p."""
    for kind in kinds:
        if kind not in KINDS:
            raise suggest(kind, KINDS, "augmentation")
        if p > 0:
            chosen = torch.rand(x.shape[0], 1, 1, 1, device=x.device) < p
            x = torch.where(chosen, KINDS[kind](x), x)
    return x
