"""Per-image scores of reconstructions against their targets: one tidy table that says how it was measured.

Columns of networks carry the network's name, so that numbers of different judges never mix. The official
protocol repeats the published scripts' choices; all else is measured unrounded, at the images' own size."""
import csv
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from .domains import load_domain
from .errors import UserError
from .files import atomic, cache_dir
from .metrics import identity, l2, perceptual, psnr
from .models.features import FaceEmbedding
from .models.lpips import Lpips
from .pixels import fitted, to_pixels, to_tensor
from .provenance import hardware
from .ssim import WINDOW, ms_ssim, scales
from .tables import Table
from .trajectory import Trajectory
from .weights import load_network

KINDS = ("perceptual", "identity")
KEYS = ("method", "image", "step", "seconds", "l2", "psnr", "ms_ssim")
PUBLISHED_SIZE, PUBLISHED_BATCH = (256, 256), 4


# ---- the networks that judge

class Judge(NamedTuple):
    """A network and its name, or None and why there is none."""
    network: object
    name: str


def judges(domain=None, device="cpu", official_protocol=False):
    """{"perceptual": Judge, "identity": Judge}: a domain's judges, else its other networks, else LPIPS where
    its weights are. Officially only the published ones: LPIPS (AlexNet), and a face network of the domain."""
    named = load_domain(domain).networks if domain is not None else {}
    accepted = {"perceptual": Lpips, "identity": FaceEmbedding} if official_protocol else {}
    found = {}
    for kind in KINDS:
        tried = [(named[k], kind) for k in (f"judge_{kind}", kind) if k in named]
        if kind == "perceptual":
            tried += [(name, "lpips") for name in (named.get("lpips"), alexnet()) if name]
        found[kind] = _first(tried, accepted.get(kind), device)
    return found


def _first(tried, accepted, device):
    """The first network that is there and of an accepted class, as a Judge."""
    missing = "no network named" if not tried else ""
    for name, kind in tried:
        try:
            network = load_network(name, kind, device)
        except UserError:
            missing = missing or f"{name} is not there"
            continue
        variant = network.config["network"] if isinstance(network, Lpips) else ""
        if accepted is None or isinstance(network, accepted) and variant in ("", "alex"):
            return Judge(network, f"lpips-{variant}" if variant else str(name))
        missing = missing or f"{name} is no published network"
    return Judge(None, missing)


def alexnet():
    """The AlexNet file that LPIPS needs, in this library's cache or torch's; None where there is none."""
    for folder in (cache_dir() / "weights", cache_dir(), Path(torch.hub.get_dir()) / "checkpoints"):
        if files := sorted(folder.glob("alexnet*.pth")):
            return str(files[0])
    return None


# ---- what comes out

@dataclass(frozen=True)
class Protocol:
    """How a table's numbers came about; str() is the line that stands below it."""
    official: bool
    sizes: tuple                 # the [height, width] that occurred, sorted
    channels: int
    count: int                   # images
    networks: dict               # {kind: (column, why it is blank or "")}
    hardware: str
    notes: tuple = ()

    def __str__(self):
        size = " to ".join(f"{h}x{w}" for h, w in sorted({self.sizes[0], self.sizes[-1]}))
        ssim = f"MS-SSIM blank (needs {WINDOW} pixels a side)"
        if min(map(min, self.sizes)) >= WINDOW:
            counts = sorted({scales(*size) for size in self.sizes})
            ssim = f"MS-SSIM over {' to '.join(map(str, counts))} of 5 scales"
        words = [f"{self.count} images of {size} pixels, {self.channels} channels", "L2 and PSNR on [-1, 1]",
                 ssim]
        words += [f"{column}{f' blank ({why})' if why else ''}" for column, why in self.networks.values()]
        if self.official:
            used = self.count - self.count % PUBLISHED_BATCH or self.count
            words = ["official protocol: resized to 256x256 squares whatever the domain, 8-bit (outputs "
                     "that are no files yet truncated), mean and deviation to two decimals",
                     f"summary over {used} of {self.count} images (batches of {PUBLISHED_BATCH}, an "
                     "incomplete last one left out)", "MS-SSIM on unshifted [-1, 1]",
                     "identity by a fixed crop, without the scripts' face detection", *words]
        return "; ".join([*words, *self.notes, self.hardware])


@dataclass(frozen=True)
class Scores:
    """`rows`: a dict for each image and step (method, image, step, seconds, metrics); and their Protocol."""
    rows: Table
    protocol: Protocol

    def values(self, kind, **where):
        """The column `kind` (l2, psnr, ms_ssim, perceptual, identity, seconds) of the rows whose fields are
        as in `where` (step=5, method=...): float64 [n], nan where blank."""
        column = self.protocol.networks.get(kind, (kind,))[0]
        rows = [r for r in self.rows if all(r[k] == v for k, v in where.items())]
        return np.array([np.nan if r[column] is None else r[column] for r in rows], dtype=np.float64)

    def summary(self):
        """A Table of means for each method and step (median seconds); officially as "mean±deviation"."""
        table, columns = Table(), self.protocol_columns()
        for (method, step), rows in groupby(self.rows, key=lambda r: (r["method"], r["step"])):
            rows = list(rows)
            line = {"method": method, "step": step, "n": len(rows)}
            if self.protocol.official:
                rows = rows[:len(rows) - len(rows) % PUBLISHED_BATCH] or rows
                line["n"] = len(rows)
            for column in columns:
                values = [r[column] for r in rows if r[column] is not None]
                line[column] = self._mean(column, values) if values else None
            table.append(line)
        return table

    def protocol_columns(self):
        """The measured columns in order: seconds, then metrics."""
        return [*KEYS[3:], *(column for column, _ in self.protocol.networks.values())]

    def _mean(self, column, values):
        if column == "seconds":
            return float(np.median(values))
        if self.protocol.official:
            return f"{np.mean(values):.2f}±{np.std(values):.2f}"
        return float(np.mean(values))

    def write(self, path):
        """Writes the rows as CSV; the last column is the protocol, the same in each."""
        line = str(self.protocol)
        with atomic(path, "w") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow([*KEYS, *(column for column, _ in self.protocol.networks.values()), "protocol"])
            for row in self.rows:
                writer.writerow([*map(_text, row.values()), line])


def _text(value):
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else value


# ---- measuring

def score(outputs, targets, *, names=None, method="", step=None, seconds=None, judges=None,
          official_protocol=False):
    """Scores of `outputs` (images [B, C, H, W], or a Trajectory, all of its steps) against targets
    [B, C, H, W], both in [-1, 1] -> Scores. names: the images' names; seconds: [B]; judges: see `judges`."""
    scorer = Scorer(judges, official_protocol)
    scorer.add(outputs, targets, names, method=method, step=step, seconds=seconds)
    return scorer.scores()


class Scorer:
    """Collects scores, batch by batch and method by method; `scores()` hands out the table."""

    def __init__(self, judges=None, official_protocol=False):
        judges = judges or {}
        self.judges = {kind: judges.get(kind, Judge(None, "no network named")) for kind in KINDS}
        self.columns = {k: f"{k}:{j.name}" if j.network else k for k, j in self.judges.items()}
        self.official, self.rows, self.sizes, self.channels = official_protocol, [], set(), 0

    def add(self, outputs, targets, names=None, *, method="", step=None, seconds=None, prepared=False):
        """Measures images (see `score`). prepared: they have already gone through the official resizing."""
        if isinstance(outputs, Trajectory):
            names = outputs.names if names is None else names
            if self.official:
                targets, prepared = as_published(targets, truncate=False), True
            for t, frames in enumerate(outputs.images):
                frames = as_published(frames) if self.official else frames
                time = None if outputs.seconds is None else outputs.seconds[t].tolist()
                self.add(frames, targets, names, method=method, step=int(outputs.step[t]), seconds=time,
                         prepared=prepared)
            return
        names = [str(i) for i in range(len(targets))] if names is None else list(names)
        if outputs.shape != targets.shape or outputs.dim() != 4 or len(names) != len(targets):
            raise UserError(f"scores need outputs and targets of one shape [B, C, H, W] and B names, got "
                            f"{list(outputs.shape)}, {list(targets.shape)} and {len(names)} names")
        if self.official and not prepared:
            outputs, targets = as_published(outputs), as_published(targets, truncate=False)
        self.sizes.add(tuple(targets.shape[-2:]))
        self.channels = targets.shape[1]
        columns = [column.tolist() for column in self._measure(outputs, targets)]
        seconds = [None] * len(names) if seconds is None else list(seconds)
        for row in zip(names, seconds, *columns, strict=True):
            row = [None if value is None or value != value else value for value in row]
            self.rows.append(dict(zip((*KEYS, *self.columns.values()), (method, row[0], step, *row[1:]),
                                      strict=True)))

    @torch.no_grad()
    def _measure(self, outputs, targets):
        """The metrics' columns [B], in order; nan where one cannot be measured."""
        blank = torch.full([len(targets)], torch.nan)
        small = min(targets.shape[-2:]) < WINDOW
        yield l2(outputs, targets)
        yield psnr(outputs, targets)
        yield blank if small else ms_ssim(outputs, targets, 0.0 if self.official else -1.0)
        for kind, measure in (("perceptual", perceptual), ("identity", identity)):
            network, name = self.judges[kind]
            wanted = getattr(network, "config", {}).get("input_size", targets.shape[-2:])
            if kind == "identity" and tuple(wanted) != tuple(targets.shape[-2:]):
                raise UserError(f"{name} takes images of {list(wanted)} pixels, got "
                                f"{list(targets.shape[-2:])}; score at the size of the network's domain")
            yield blank if network is None else measure(network, outputs, targets)

    def scores(self, notes=()):
        """Scores of all that was added, by method and step; UserError where nothing was."""
        if not self.rows:
            raise UserError("there is nothing to score: no image was added")
        order = {method: i for i, method in enumerate(dict.fromkeys(r["method"] for r in self.rows))}
        rows = sorted(self.rows, key=lambda r: (order[r["method"]], -1 if r["step"] is None else r["step"]))
        why = {kind: "" if judge.network else judge.name for kind, judge in self.judges.items()}
        return Scores(Table(rows), Protocol(
            self.official, tuple(sorted(self.sizes)), self.channels, len({r["image"] for r in rows}),
            {kind: (self.columns[kind], why[kind]) for kind in KINDS}, hardware(), tuple(notes)))


def as_published(images, truncate=True):
    """Images [B, C, H, W] in [-1, 1] as the published scripts read them from disk: 8-bit colour (truncated,
    as they save outputs, else rounded), resized to 256 x 256 -> [B, 3, 256, 256] in [-1, 1]."""
    if truncate:
        levels = ((images.detach().float().cpu() + 1) / 2).clamp(0, 1) * 255
        pixels = levels.to(torch.uint8).permute(0, 2, 3, 1).numpy()
    else:
        pixels = to_pixels(images)
    colour = (Image.fromarray(np.broadcast_to(p, (*p.shape[:2], 3)).copy()) for p in pixels)
    squares = np.stack([np.asarray(fitted(image, PUBLISHED_SIZE, "stretch")) for image in colour])
    return to_tensor(squares).to(images.device)
