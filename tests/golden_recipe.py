"""Weights and inputs rebuilt from formulas, so that golden outputs travel without weight files."""
import json
import lzma
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

FOLDER = Path(__file__).parent / "golden"


def draw(name, shape, mean=0.0, std=1.0, absolute=False):
    """Normal draws of a stream named by `name` -> float32 tensor; `absolute` folds them before scaling."""
    values = np.asarray(np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape))
    values = np.abs(values, out=values) if absolute else values
    values *= std
    values += mean
    return torch.from_numpy(values.astype(np.float32))


def image(name, b, h, w):
    """A smooth random picture with some grain, [b, 3, h, w] in (-1, 1)."""
    low = draw(f"{name}/lo", [b, 3, h // 16, w // 16])
    low = F.interpolate(low, (h, w), mode="bilinear", align_corners=False)
    return torch.tanh(low + 0.1 * draw(f"{name}/hi", [b, 3, h, w]))


def recipe(case):
    """The entries of golden/CASE.recipe.json.xz: a tensor each, in the published layout. None without one."""
    path = FOLDER / f"{case}.recipe.json.xz"
    return json.loads(lzma.decompress(path.read_bytes())) if path.exists() else None


def weights(case, prefix=None):
    """The state dict of a case's recipe; `prefix` (or "CASE/") names the draws."""
    prefix = f"{case}/" if prefix is None else prefix
    entries = recipe(case)
    with ThreadPoolExecutor(2) as pool:  # NumPy draws without holding the interpreter's lock
        tensors = list(pool.map(lambda entry: _tensor(prefix, **entry), entries))
    return {entry["key"]: tensor for entry, tensor in zip(entries, tensors, strict=True)}


def _tensor(prefix, key, shape, mean=0.0, std=None, constant=0, abs=False):
    if std is not None:
        return draw(prefix + key, shape, mean, std, abs)
    if str(constant).startswith("fir"):
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
        return torch.outer(taps, taps) / 16
    return torch.full(shape, constant, dtype=torch.int64)


def expected(case):
    """The golden arrays of a case: {name: tensor}."""
    with np.load(FOLDER / f"{case}.npz") as arrays:
        return {name: torch.from_numpy(np.asarray(arrays[name])) for name in arrays.files}


def relative_error(got, want):
    """Largest difference over the standard deviation of `want` (1e-4 is asked for)."""
    return float((got.detach() - want).abs().max() / want.std())
