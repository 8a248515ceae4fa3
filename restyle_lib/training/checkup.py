"""Will it work? What the first minutes of a training show: eight images by heart, pace, trend, a verdict."""
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ..errors import UserError
from ..metrics import l2, to_floats
from .encoder import EncoderTrainer
from .loop import peak_memory, step_seed


def read_log(folder, name="log.jsonl"):
    """{column: (steps [n], values [n] or [n, T+1])} of a run folder's log; "validation.jsonl": regions, too.

    A column may be missing in some rows."""
    path, table = Path(folder) / name, {}
    if not path.exists():
        raise UserError(f"there is no {path}: nothing has been logged yet")
    for row in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
        row |= row.pop("regions", {})
        for key in row.keys() - {"step"}:
            table.setdefault(key, []).append((row["step"], row[key]))
    return {key: tuple(map(np.array, zip(*pairs, strict=True))) for key, pairs in table.items()}


def read_grid(path, size):
    """A sheet that a training wrote -> uint8 [rows, columns, h, w, C] of its images of `size` [h, w]."""
    from PIL import Image
    with Image.open(path) as image:
        pixels = np.asarray(image)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    (height, width), (h, w) = pixels.shape[:2], size
    return pixels.reshape(height // h, h, width // w, w, -1).swapaxes(1, 2)


def encoder_trainer(images, config, *, domain, generator, networks, losses=None, trunk=None, device="cpu"):
    """An EncoderTrainer for a few iterations: no run folder, no warm start. trunk: as in train_encoder."""
    weights, config = dict(domain.losses if losses is None else losses), replace(config, warm_iterations=0)
    trainer = EncoderTrainer(images, config, domain, generator, weights, networks, torch.device(device))
    trainer.start_from(trunk)
    return trainer


def overfit(images, config, *, iterations=100, bound=0.5, **parts):
    """Can an encoder learn a few images (say eight) by heart? If not, no amount of data will help.

    images: uint8 [n, H, W, C]; parts: see `encoder_trainer`. All settings are the config's, but for the
    batch, which is always these images, unmirrored, and N, of which two will do.
    -> {"before": L2 of the start, "after" (of the last step, as the finished encoder would invert them),
    "share", "bound", "passes", "curve" [iterations]}; it passes where share <= bound.
    """
    config = replace(config, batch=len(images), iterations=iterations, steps=min(config.steps, 2), flip=False,
                     cooldown=0.0)
    trainer = encoder_trainer(images, config, **parts)
    curve = [float(terms["loss"]) for terms in _steps(trainer, range(iterations))]
    trainer.encoder.eval()
    trainer.encoder.stage = trainer.stage(max(0, iterations - 1))
    x = to_floats(np.asarray(images[:]), trainer.device)
    found = trainer.inverter(x, config.steps).images
    before, after = (float(l2(frame, x).mean()) for frame in (found[0], found[-1]))
    share = after / before
    return {"before": before, "after": after, "share": share, "bound": bound, "passes": share <= bound,
            "curve": curve}


def pace(trainer, iterations=3):
    """How fast a trainer is here: {"seconds" an iteration (median, after one to warm up), "waiting" (the
    share of it spent on getting the images), "memory" (GB, the largest so far)}."""
    each, waits = [], []
    for number in range(iterations + 1):
        begun = _now(trainer)
        trainer.batch(number)
        waits.append(_now(trainer) - begun)
        begun = _now(trainer)
        list(_steps(trainer, [number]))
        each.append(_now(trainer) - begun)
    seconds, wait = float(np.median(each[1:])), float(np.median(waits[1:]))
    return {"seconds": seconds, "waiting": wait / seconds, "memory": peak_memory(trainer.device)}


def _now(trainer):
    if trainer.device.type == "cuda":
        torch.cuda.synchronize(trainer.device)
    return time.perf_counter()


def _steps(trainer, numbers):
    """The terms of each iteration; random numbers as in a run, the caller's random state is left alone."""
    cuda = [trainer.device] if trainer.device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        for number in numbers:
            torch.manual_seed(step_seed(trainer.c.seed, number))
            yield trainer.step(number)


def trend(steps, losses):
    """(change of the loss per 100 iterations in percent, its standard error), of the later half of a log.

    A line through the logarithms, by least squares. (nan, inf) where fewer than three rows are left."""
    keep = max(3, len(steps) - len(steps) // 2)
    x, y = np.asarray(steps[-keep:], dtype=float), np.log(np.asarray(losses[-keep:], dtype=float))
    if len(x) < 3:
        return float("nan"), float("inf")
    x = x - x.mean()
    slope = (x * y).sum() / (x * x).sum()
    error = np.sqrt(np.square(y - y.mean() - slope * x).sum() / (len(x) - 2) / (x * x).sum())
    change = np.exp(100 * slope)
    return float(100 * (change - 1)), float(100 * change * 100 * error)


def decide(*, hours, limit, change, error, closer, share, bound, least=0.75):
    """Go or no-go for a long training: a row a question, for `tables.Table`.

    hours: projected, at most `limit`; change, error: of `trend`, falling by more than two errors; closer: the
    share of held-out images whose reconstruction is nearer than the nearest training image, at least `least`;
    share, bound: of `overfit`. What is nan is no-go."""
    rows = [("Is there time for it?", f"{hours:.2g} h", f"at most {limit:g} h", hours <= limit),
            ("Is the loss falling?", f"{change:+.1f} ± {error:.1f} % in 100 iterations",
             "below 0 by two standard errors", change + 2 * error < 0),
            ("Does it beat looking things up?", f"nearer than any training image for {100 * closer:.0f} %",
             f"at least {100 * least:.0f} % of held-out images", closer >= least),
            ("Can it learn eight by heart?", f"{100 * share:.0f} % of the start's L2 left",
             f"at most {100 * bound:.0f} %", share <= bound)]
    return [{"question": question, "measured": measured, "go if": wanted, "verdict": "go" if go else "NO-GO"}
            for question, measured, wanted, go in rows]
