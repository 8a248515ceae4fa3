"""What is measured on images and features: per image, unrounded, on float images in [-1, 1].

L2 is on the [-1, 1] scale, four times that of [0, 1] (as in the published scores); networks are passed in and
named by the caller, so that the network that trains is never silently the one that judges."""
import numpy as np
import torch

from .errors import UserError
from .pixels import to_tensor
from .ssim import ms_ssim  # noqa: F401  (part of this module's names)
from .statistics import auc, pearson


def batches(images, size=64, device="cpu"):
    """Yields float32 [b, C, H, W] in [-1, 1] from uint8 [N, H, W, C] arrays or float tensors [N, C, H, W]."""
    for first in range(0, len(images), size):
        yield to_floats(images[first:first + size], device)


def to_floats(images, device="cpu"):
    """uint8 arrays [B, H, W, C] -> float32 [B, C, H, W] in [-1, 1] on the device; tensors only move."""
    return (images if torch.is_tensor(images) else to_tensor(images)).to(device)


def _same(a, b):
    if a.shape != b.shape or a.dim() != 4:
        raise UserError("images to compare must have one shape [B, C, H, W], got "
                        f"{list(a.shape)} and {list(b.shape)}")


def l2(a, b):
    """Mean squared difference per image: [B, C, H, W] twice -> [B]."""
    _same(a, b)
    return (a.float() - b.float()).square().mean(dim=(1, 2, 3))


def missed(a, b):
    """The residual map: mean absolute difference of the channels, [B, C, H, W] twice -> [B, H, W]."""
    _same(a, b)
    return (a.float() - b.float()).abs().mean(dim=1)


def psnr(a, b):
    """Peak signal-to-noise ratio per image in dB, 10 log10(4 / L2) on the range of width 2: -> [B]."""
    return 10 * torch.log10(4 / l2(a, b).clamp_min(1e-12))


def region_l2(a, b, mask):
    """L2 inside a soft mask [B, H, W] in [0, 1], per image: -> [B]; nan where the mask is empty."""
    _same(a, b)
    mask = torch.as_tensor(mask, dtype=torch.float32, device=a.device)
    error = (a.float() - b.float()).square().mean(dim=1)
    area = mask.sum(dim=(1, 2))
    return torch.where(area > 0.5, (error * mask).sum(dim=(1, 2)) / area.clamp_min(1e-8), torch.nan)


def by_step(measure, frames, images, *more):
    """measure(frame, images, *more) for each row of a Trajectory or of [T+1, B, C, H, W]: -> [T+1, B]."""
    return torch.stack([measure(frame, images, *more) for frame in getattr(frames, "images", frames)])


@torch.no_grad()
def perceptual(network, a, b):
    """The distance of a perceptual network (`.distance`) per image: -> [B], 0 for equal images."""
    return network.distance(a, b).reshape(-1)


@torch.no_grad()
def identity(network, a, b):
    """Cosine similarity of an identity network's unit embeddings per image: -> [B] in [-1, 1]."""
    return (network(a) * network(b)).sum(dim=1)


@torch.no_grad()
def features(network, images, batch=64, device="cpu"):
    """Features [N, d] of any network: tensors are flattened, lists of maps averaged over space and joined.

    images: uint8 [N, H, W, C] or float [N, C, H, W]; a dict (an attribute reader's) joins its values."""
    rows = []
    for part in batches(images, batch, device):
        value = network(part)
        value = list(value.values()) if isinstance(value, dict) else value
        value = [value] if torch.is_tensor(value) else value
        value = [v.mean(dim=(2, 3)) if v.dim() == 4 else v.reshape(len(part), -1) for v in value]
        rows.append(torch.cat(value, dim=1).float().cpu())
    return torch.cat(rows)


def kid(a, b, *, subset=1000, subsets=20, seed=0):
    """Kernel inception distance (Binkowski et al. 2018) of features: (mean, deviation) over subsets.

    a, b: [n, d] and [m, d] features of any network. Unbiased squared MMD with the kernel (x.y / d + 1)^3:
    equal distributions give zero on average. One subset of everything if `subset` >= n = m."""
    a, b = torch.as_tensor(np.asarray(a)).double(), torch.as_tensor(np.asarray(b)).double()
    if min(len(a), len(b)) < 2 or a.shape[1] != b.shape[1]:
        raise UserError("KID needs two or more feature rows of one width, got "
                        f"{list(a.shape)} and {list(b.shape)}")
    rng = np.random.Generator(np.random.Philox(seed))
    size = min(subset, len(a), len(b))
    whole = size == len(a) == len(b)
    values = []
    for _ in range(1 if whole else subsets):
        x = a if whole else a[rng.choice(len(a), size, replace=False)]
        y = b if whole else b[rng.choice(len(b), size, replace=False)]
        within_x, within_y, across = ((p @ q.T / a.shape[1] + 1) ** 3 for p, q in ((x, x), (y, y), (x, y)))
        within = (within_x.sum() - within_x.trace() + within_y.sum() - within_y.trace()) / (size * (size - 1))
        values.append(float(within - 2 * across.mean()))
    return float(np.mean(values)), float(np.std(values))


@torch.no_grad()
def nearest(queries, candidates, *, distance=None, shortlist=8, batch=512):
    """The nearest candidate of each query: (index [n], distance [n]), by L2.

    queries, candidates: uint8 [N, H, W, C] or floats [N, C, H, W]. With `distance`, (a, b) -> [B] such as a
    perceptual network's, by that one among the `shortlist` nearest in L2."""
    queries = to_floats(np.asarray(queries) if not torch.is_tensor(queries) else queries)
    flat, count = queries.flatten(1), min(shortlist if distance else 1, len(candidates))
    best, first = torch.full((len(flat), 0), 0.0), 0
    index = best.long()
    for part in batches(candidates, batch):
        rows = part.flatten(1)
        squares = flat.square().sum(1)[:, None] + rows.square().sum(1) - 2 * flat @ rows.T
        best = torch.cat([best, squares.clamp_min(0) / flat.shape[1]], 1)
        index = torch.cat([index, torch.arange(first, first + len(rows)).expand(len(flat), -1)], 1)
        best, order = best.topk(min(count, best.shape[1]), largest=False)
        index, first = index.gather(1, order), first + len(rows)
    if distance is not None:
        pairs = [distance(q.expand(count, -1, -1, -1), to_floats(candidates[rows.numpy()]))
                 for q, rows in zip(queries[:, None], index, strict=True)]
        best, order = torch.stack(pairs).sort(1)
        index = index.gather(1, order)
    return index[:, 0], best[:, 0]


def verification_pairs(identities, count=6000, seed=0):
    """Half genuine, half impostor pairs: identities [n] -> first, second, same (bool), each [count].

    Genuine pairs are two images of one identity; identities with two or more are drawn equally often."""
    rng = np.random.Generator(np.random.Philox(seed))
    _, group, counts = np.unique(np.asarray(identities), return_inverse=True, return_counts=True)
    groups = np.split(np.argsort(group, kind="stable"), np.cumsum(counts)[:-1])
    several = [g for g in groups if len(g) > 1]
    if not several or len(groups) < 2:
        raise UserError("verification needs at least two identities, one of them with two images")
    genuine = [rng.choice(several[i], 2, replace=False) for i in rng.integers(0, len(several), count // 2)]
    impostor = []
    for _ in range(count - count // 2):
        one, other = rng.choice(len(groups), 2, replace=False)
        impostor.append((rng.choice(groups[one]), rng.choice(groups[other])))
    pairs = np.array(genuine + impostor).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1], np.arange(count) < count // 2


def verification(embeddings, identities, *, count=6000, seed=0, similarity=None):
    """(similarity of `count` pairs of embeddings [n, d], by default their cosine; whether they are one
    identity): two arrays [count]."""
    embeddings = np.asarray(embeddings, dtype=np.float64)
    first, second, same = verification_pairs(identities, count, seed)
    if similarity is None:
        embeddings = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True).clip(1e-12)
        return (embeddings[first] * embeddings[second]).sum(axis=1), same
    return similarity(embeddings[first], embeddings[second]), same


def verification_auc(embeddings, identities, **how):
    """AUC of telling same from other identity over pairs of embeddings [n, d]; see `verification`."""
    return auc(*verification(embeddings, identities, **how))


def mean_colours(images):
    """What a colour-only verifier sees: mean colours of the whole image and its middle half, [N, 2C]."""
    rows = []
    for part in batches(images, 256):
        height, width = part.shape[-2:]
        middle = part[:, :, height // 4:height - height // 4, width // 4:width - width // 4]
        rows.append(torch.cat([part.mean(dim=(2, 3)), middle.mean(dim=(2, 3))], dim=1))
    return torch.cat(rows).double().numpy()


def colour_embeddings(images, identities):
    """Mean colours [N, 2C] with each axis scaled by its spread within identities: the best linear verifier
    that sees nothing else, by minus the distance."""
    colours = mean_colours(images)
    _, group, counts = np.unique(np.asarray(identities), return_inverse=True, return_counts=True)
    centres = np.zeros((len(counts), colours.shape[1]))
    np.add.at(centres, group, colours / counts[group, None])
    residual = colours - centres[group]
    spread, axes = np.linalg.eigh(np.cov(residual.T) + 1e-6 * np.eye(colours.shape[1]))
    return colours @ axes / np.sqrt(spread)


def colour_auc(images, identities, *, count=6000, seed=0):
    """AUC of the colour-only verifier over the same pairs. Colour must not give identity away."""
    return verification_auc(colour_embeddings(images, identities), identities, count=count, seed=seed,
                            similarity=nearness)


def nearness(x, y):
    """Minus the distance of rows [n, d]."""
    return -np.linalg.norm(x - y, axis=1)


@torch.no_grad()
def read_attributes(reader, images, batch=64, device="cpu"):
    """A reader over many images: -> dict name -> float array [N] (real, probability) or [N, classes]."""
    parts = [{n: v.float().cpu().numpy() for n, v in reader(x).items()}
             for x in batches(images, batch, device)]
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


def attribute_agreement(predicted, truth, attributes):
    """How well predictions agree with known values, per attribute of the spec list {name, kind}.

    -> dict name -> {"r", "mae"} (real), {"accuracy", "auc", "share"} (binary; share: how often it is true) or
    {"accuracy"} (category). predicted, truth: dict name -> arrays; what either lacks is left out,
    and so are images whose truth is NaN."""
    result = {}
    for attribute in attributes:
        name, kind = attribute["name"], attribute["kind"]
        if name not in predicted or name not in truth:
            continue
        p, t = np.asarray(predicted[name], dtype=np.float64), np.asarray(truth[name], dtype=np.float64)
        p, t = p[np.isfinite(t)], t[np.isfinite(t)]
        if kind == "real":
            result[name] = {"r": pearson(p, t), "mae": float(np.abs(p - t).mean())}
        elif kind == "binary":
            positive = t > 0.5
            result[name] = {"accuracy": float(((p > 0.5) == positive).mean()), "auc": auc(p, positive),
                            "share": float(positive.mean())}
        else:
            result[name] = {"accuracy": float((p.argmax(axis=-1) == t.astype(int)).mean())}
    return result


def legibility(agreement, attributes):
    """How well each attribute can be read at all, 0 to 1, by a reader's `attribute_agreement`: {name: share}.

    r squared of reals, (2 AUC - 1) squared of binaries, accuracy above chance of categories."""
    result = {}
    for a in attributes:
        scores = agreement.get(a["name"], {})
        if a["kind"] == "category":
            chance = 1 / (a["classes"] if isinstance(a["classes"], int) else len(a["classes"]))
            value = (scores.get("accuracy", 0.0) - chance) / (1 - chance)
        else:
            value = max(scores.get("r", 0.0), 2 * scores.get("auc", 0.5) - 1, 0.0) ** 2
        result[a["name"]] = float(np.clip(np.nan_to_num(value), 0, 1))
    return result


def attribute_distance(values, attributes, first, second):
    """How far the known attributes of images first and second (indices [n]) are apart: [n], 0 to 1.

    Gower's distance (1971): the mean over attributes of the difference as a share of the range (real) or of
    whether they differ (others), weighted by `weight` where an attribute has one. values: {name: [N]}."""
    total, weights = np.zeros(len(first)), 0.0
    for a in attributes:
        x = np.asarray(values.get(a["name"], [np.nan]), dtype=np.float64)
        if np.isfinite(x).all() and a.get("weight", 1.0):
            apart = np.abs(x[first] - x[second])
            share = apart / (a["high"] - a["low"]) if a["kind"] == "real" else apart > 0
            total, weights = total + a.get("weight", 1.0) * share, weights + a.get("weight", 1.0)
    return total / max(weights, 1e-12)
