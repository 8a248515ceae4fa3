"""Random draws that do not depend on order: every image has its own Philox streams, keyed on (seed, identity, instance)."""
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


def uniforms(stream, seed, identity, instance, count):
    """[n, count] float64 in (0, 1) from Philox keyed on stream, seed, identity and instance (the last two int arrays [n])."""
    identity, instance = np.broadcast_arrays(np.asarray(identity), np.asarray(instance))
    out = np.empty((len(identity), count))
    for row, (person, shot) in enumerate(zip(identity.tolist(), instance.tolist())):
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
