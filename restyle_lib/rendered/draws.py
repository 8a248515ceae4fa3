"""Random draws that do not depend on order: every image has its own Philox streams, keyed on (seed, identity,
instance); and the rendering of many images in chunks."""
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass, field

import numpy as np

IDENTITY, INSTANCE, DETAIL = 1, 2, 3                         # streams of one key


@dataclass(frozen=True)
class Attribute:
    """One line of a world's attribute table. `flips` marks values that change sign in a mirrored image."""
    name: str
    kind: str                                                # "real", "binary" or "category"
    level: str                                               # "identity" or "instance"
    low: float = 0.0
    high: float = 1.0
    classes: tuple = field(default=())
    unit: str = ""
    flips: bool = False


def attribute_table(identity, instance, ranges, binary, classes, flips):
    """The Attributes of a world: those of the names `identity`, then of the names `instance`.

    ranges: {name: (low, high, unit)} of real values other than 0...1; binary and flips: names; classes:
    {name: words}."""
    table = []
    for name in identity + instance:
        kind = "category" if name in classes else "binary" if name in binary else "real"
        low, high, unit = ranges.get(name, (0, 1, ""))
        table.append(Attribute(name, kind, "identity" if name in identity else "instance", low, high,
                               classes.get(name, ()), unit, name in flips))
    return tuple(table)


def opened(seed, identity, instance, table):
    """({attribute: its uniforms [n]}, a copy to make values of, with "key" int64 [n, 3]) of the images
    (identity, instance): int arrays [n], or one of them one number."""
    identity, instance = np.broadcast_arrays(np.atleast_1d(identity), np.atleast_1d(instance))
    counts = Counter(attribute.level for attribute in table)
    who = uniforms(IDENTITY, seed, identity, np.zeros_like(instance), counts["identity"]).T
    now = uniforms(INSTANCE, seed, identity, instance, counts["instance"]).T
    drawn = {attribute.name: row for attribute, row in zip(table, (*who, *now), strict=True)}
    out = {name: values.copy() for name, values in drawn.items()}
    out["key"] = np.stack([np.full(len(identity), seed), identity, instance], 1).astype(np.int64)
    return drawn, out


def uniforms(stream, seed, identity, instance, count):
    """[n, count] float64 in (0, 1) from Philox keyed on stream, seed, identity and instance (the last two int
    arrays [n])."""
    identity, instance = np.broadcast_arrays(np.asarray(identity), np.asarray(instance))
    out = np.empty((len(identity), count))
    for row, (person, shot) in enumerate(zip(identity.tolist(), instance.tolist(), strict=True)):
        key = np.array([(int(seed) << 8) | stream, (person << 24) | shot], dtype=np.uint64)
        out[row] = np.random.Generator(np.random.Philox(key=key)).random(count)
    return np.clip(out, 1e-12, 1 - 1e-12)


def normal(u):
    """Standard normal quantile of uniforms, float64."""
    import torch
    return torch.special.ndtri(torch.from_numpy(np.ascontiguousarray(u))).numpy()


def cdf(x):
    """Standard normal distribution function, float64."""
    import torch
    return torch.special.ndtr(torch.from_numpy(np.ascontiguousarray(x))).numpy()


def truncated(u, spread, limit):
    """Normal quantile of `u` with standard deviation `spread`, cut at ±limit without piling up there."""
    edge = cdf(np.array([-limit / spread]))[0]
    return normal(edge + u * (1 - 2 * edge)) * spread


def pick(u, shares):
    """Category index of uniforms, by shares that sum to 1."""
    return np.searchsorted(np.cumsum(shares)[:-1], u).astype(float)


def rare(u, share, value):
    """`value` where u < share, else 0."""
    return np.where(u < share, value, 0.0)


def linked(u, cause, correlation):
    """Standard normals [n] from uniforms, correlated with the standard normals `cause`."""
    return correlation * cause + np.sqrt(1 - correlation ** 2) * normal(u)


def codes(seed, identity, instance, counts, wraps=()):
    """Standard normals [n, sum(counts) + len(wraps)] that images are drawn from: of the identity, of the
    instance, and the first unnamed ones of both (`in_chunks`). They are independent, also where attributes
    made of them are not.

    wraps: columns of the instance whose ends meet, such as a hue. Such a one is the angle of two normals
    (Box and Muller 1958), the second of them appended: one normal would tear the circle, which a network
    hardly learns."""
    lasting = np.full_like(identity, 0xFFFFFF)
    streams = ((IDENTITY, np.zeros_like(identity)), (INSTANCE, instance), (DETAIL, lasting),
               (DETAIL, instance))
    draws = [uniforms(stream, seed, identity, shot, count)
             for (stream, shot), count in zip(streams, counts, strict=True)]
    found = normal(np.concatenate(draws, 1))
    if not wraps:
        return found
    columns = [counts[0] + column for column in wraps]
    angle = 2 * np.pi * draws[1][:, list(wraps)]
    length = uniforms(INSTANCE, seed, identity, instance, counts[1] + len(wraps))[:, counts[1]:]
    length = np.sqrt(-2 * np.log(length))
    found[:, columns] = length * np.cos(angle)
    return np.concatenate([found, length * np.sin(angle)], 1)


def in_chunks(draw, attributes, masks, device, chunk):
    """Images (and masks) of all rows of `attributes` from `draw(tensors, lasting, detail)`, `chunk` at a
    time.

    tensors: name -> [B, 1]; lasting [B, 24] and detail [B, 64] are uniforms of the identity and of the
    instance.
    """
    import torch

    def tensor(values):
        return torch.as_tensor(values, dtype=torch.float32, device=device)
    images, regions = [], []
    for start in range(0, len(attributes["key"]), chunk):
        rows = slice(start, start + chunk)
        tensors = {k: tensor(v[rows, None]) for k, v in attributes.items() if k != "key"}
        keys = attributes["key"][rows].tolist()
        detail = np.concatenate([uniforms(DETAIL, seed, [who], [shot], 64) for seed, who, shot in keys])
        lasting = np.concatenate([uniforms(DETAIL, seed, [who], [0xFFFFFF], 24) for seed, who, _ in keys])
        with nullcontext() if torch.device(device).type == "cpu" else torch.device(device):   # of constants
            picture, shares = draw(tensors, tensor(lasting), tensor(detail))
        images.append(picture)
        regions.append(shares)
    images = torch.cat(images)
    if not masks:
        return images
    return images, {name: torch.cat([r[name] for r in regions]) for name in regions[0]}
