"""Long runs of tiny networks: memory, open files, threads and processes at their beginning, middle and end,
and the seconds that the first 10, 100, 1,000 ... images took.

    python tests/endurance.py [--images 10000] [--steps 20000]

An inversion of a zip of images with trajectories and pictures, then a training of small steps that logs,
validates and saves as it goes. Ends with status 1 where something grew."""
import argparse
import csv
import dataclasses
import io
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
import psutil
import torch
from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import tiny  # noqa: E402
import tiny_encoder  # noqa: E402

from restyle_lib import invert, journal  # noqa: E402
from restyle_lib.training.encoder import EncoderTrainer  # noqa: E402

EARLY, MOMENTS = (0.001, 0.01), (0.1, 0.5, 1.0)      # growth counts from the first of MOMENTS on


class Watch:
    """Notes what this process holds when a share of the work is done; `rows` are what it printed."""

    def __init__(self, what, total):
        self.what, self.total, self.done, self.rows = what, total, 0, []
        self.clock = time.monotonic()

    def add(self, count):
        self.done += count
        moments = (*EARLY, *MOMENTS)
        if len(self.rows) < len(moments) and self.done >= moments[len(self.rows)] * self.total:
            me = psutil.Process()
            row = {"memory MB": me.memory_info().rss / 1e6, "open files": me.num_fds(),
                   "threads": me.num_threads(), "processes": 1 + len(me.children(recursive=True))}
            self.rows.append(row)
            told = ", ".join(f"{name} {value:.0f}" for name, value in row.items())
            seconds = time.monotonic() - self.clock
            print(f"{self.what}, {self.done} of {self.total}: {told} ({seconds:.1f} s, "
                  f"{1e3 * seconds / self.done:.2f} ms each)", flush=True)

    def grew(self):
        """What the end holds more of than the beginning: memory by 5 %, anything else at all."""
        first, last = self.rows[len(EARLY)], self.rows[-1]
        return [f"{self.what}: {name} from {first[name]:.0f} to {last[name]:.0f}" for name in first
                if last[name] > first[name] * (1.05 if name == "memory MB" else 1)]


def inversion(folder, count):
    """Inverts `count` images of a zip, in batches of 16, two steps, with trajectories and last pictures."""
    random, watch = np.random.default_rng(0), Watch("inversion", count)
    with zipfile.ZipFile(folder / "photos.zip", "w") as archive:
        for number in range(count):
            stream = io.BytesIO()
            Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(stream, "PNG")
            archive.writestr(f"{number:06d}.png", stream.getvalue())
    add = journal.Journal.add

    def watched(self, names, digests, rows):
        add(self, names, digests, rows)
        watch.add(len(names))
    journal.Journal.add = watched
    invert.invert([folder / "photos.zip"], tiny.inverter(), folder / "inverted", steps=2, batch=16,
                  save=["final", "latents"], progress=False).check()
    with open(folder / "inverted" / "finished.csv", newline="") as stream:
        assert len({row[0] for row in csv.reader(stream)}) == count
    return watch.grew()


def training(folder, steps):
    """Trains the toy encoder: a log line every 50 steps, a state every 500, a validation every 1,000."""
    watch, step = Watch("training", steps), EncoderTrainer.step

    def watched(self, number):
        terms = step(self, number)
        watch.add(1)
        return terms
    EncoderTrainer.step = watched
    config = dataclasses.replace(tiny_encoder.TINY, steps=1, iterations=steps, log_every=50, save_every=500,
                                 validate_every=1000, sample_every=steps)
    tiny_encoder.train(folder / "trained", config)
    sizes = {p.name: p.stat().st_size for p in sorted((folder / "trained").iterdir()) if p.is_file()}
    print("training, files:", ", ".join(f"{name} {size / 1e3:.0f} kB" for name, size in sizes.items()))
    return watch.grew()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=20_000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        grown = inversion(Path(folder), given.images) + training(Path(folder), given.steps)
    print("\n".join(grown) or "nothing grew")
    return bool(grown)


if __name__ == "__main__":
    sys.exit(main())
