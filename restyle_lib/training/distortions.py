"""Known changes to images: feature networks train under them, perceptual distances are judged on them.

All take and return x [B, C, H, W], about [-1, 1]; randomness comes from torch's current random state.
"""
from itertools import pairwise

import torch
import torch.nn.functional as F


def blur(x, sigma):
    """Gaussian blur with a standard deviation of `sigma` pixels; borders repeat."""
    reach = max(1, int(3 * sigma + 0.5))
    offsets = torch.arange(-reach, reach + 1, device=x.device, dtype=x.dtype)
    taps = torch.exp(-offsets.square() / (2 * sigma ** 2))
    taps = (taps / taps.sum()).view(1, 1, -1, 1).expand(x.shape[1], 1, -1, 1)
    x = F.pad(x, (reach,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(x, taps, groups=x.shape[1]), taps.transpose(2, 3), groups=x.shape[1])


def coarse(x, cells=8):
    """Averages over a grid of cells x cells, enlarged smoothly: colours and masses stay, features go."""
    small = F.adaptive_avg_pool2d(x, cells)
    return F.interpolate(small, x.shape[-2:], mode="bilinear", align_corners=False)


def shift(x, rows, columns):
    """Moves each image by whole pixels; rows, columns: int or int tensor [B]; borders repeat."""
    places = []
    for side, distance in zip(x.shape[2:], (rows, columns), strict=True):
        distance = torch.as_tensor(distance, device=x.device).view(-1, 1)
        places.append((torch.arange(side, device=x.device) - distance).clamp(0, side - 1))
    index = torch.arange(len(x), device=x.device)[:, None, None]
    moved = x.permute(0, 2, 3, 1)[index, places[0][:, :, None], places[1][:, None]]
    return moved.permute(0, 3, 1, 2).contiguous()


def noise(x, sigma):
    """Adds white noise with a standard deviation of `sigma` (a number or [B, 1, 1, 1])."""
    return x + sigma * torch.randn_like(x)


def colour(x, amount):
    """Gains, offsets and contrast of each image's channels changed by about `amount`."""
    b, c = x.shape[:2]
    gain = 1 + amount * torch.randn(b, c, 1, 1, device=x.device)
    offset = amount / 2 * torch.randn(b, c, 1, 1, device=x.device)
    return x * gain + offset


def mirrored(x, chosen):
    """The images where `chosen` [B] is true, mirrored left to right."""
    return torch.where(chosen.view(-1, 1, 1, 1), x.flip(3), x)


def imperfect(x, strength=1.0):
    """What a generator's samples suffer from: shifts of up to 2 pixels, colour, blur or coarse detail, noise;
    each image its own, about a third untouched by each. strength 0 returns x."""
    if not strength:
        return x
    b, device = len(x), x.device

    def some(share):
        return torch.rand(b, 1, 1, 1, device=device) < share

    reach = max(1, round(2 * strength))
    rows, columns = torch.randint(-reach, reach + 1, (2, b), device=device)
    x = shift(x, rows, columns)
    x = torch.where(some(0.6), colour(x, 0.08 * strength), x)
    x = torch.where(some(0.4), blur(x, 0.4 + 0.9 * strength * float(torch.rand(()))), x)
    return torch.where(some(0.6), noise(x, 0.08 * strength * torch.rand(b, 1, 1, 1, device=device)), x)


# name of the change, function of (images, another picture of the same identity, one of another identity)
KNOWN = {
    "noise 0.05":     lambda x, same, other: noise(x, 0.05),
    "noise 0.1":      lambda x, same, other: noise(x, 0.1),
    "noise 0.2":      lambda x, same, other: noise(x, 0.2),
    "shift 1":        lambda x, same, other: shift(x, 1, 1),
    "shift 2":        lambda x, same, other: shift(x, 2, -2),
    "colour 0.1":     lambda x, same, other: colour(x, 0.1),
    "colour 0.25":    lambda x, same, other: colour(x, 0.25),
    "blur 0.7":       lambda x, same, other: blur(x, 0.7),
    "blur 1.5":       lambda x, same, other: blur(x, 1.5),
    "coarse 8x8":     lambda x, same, other: coarse(x, 8),
    "other picture":  lambda x, same, other: same,
    "other identity": lambda x, same, other: other,
}
# chains from less to more: each is to be nearer than the next
ORDER = (
    ("noise 0.05", "noise 0.1", "noise 0.2", "coarse 8x8"),
    ("shift 1", "shift 2", "coarse 8x8"),
    ("colour 0.1", "colour 0.25", "coarse 8x8"),
    ("blur 0.7", "blur 1.5", "coarse 8x8", "other picture", "other identity"),
    ("shift 1", "blur 1.5"),
    ("noise 0.1", "blur 1.5"),
    ("colour 0.1", "blur 1.5"),
)
PAIRS = tuple(sorted({pair for chain in ORDER for pair in pairwise(chain)}))


def known_changes(x, same, other):
    """{name: changed images [B, C, H, W]} of KNOWN. A change whose picture is None is left out."""
    return {name: change(x, same, other) for name, change in KNOWN.items()
            if not (name == "other picture" and same is None or name == "other identity" and other is None)}


def ordering(distance, x, same, other):
    """How a distance (a, b) -> [B] orders known changes of x: {name: mean}, share of PAIRS in order."""
    with torch.no_grad():
        each = {name: distance(x, y).float() for name, y in known_changes(x, same, other).items()}
    right = [(each[a] < each[b]).float().mean() for a, b in PAIRS if a in each and b in each]
    return {name: float(value.mean()) for name, value in each.items()}, float(torch.stack(right).mean())
