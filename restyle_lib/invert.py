"""The `invert` command: many files through an inverter in chunks, with constant memory; can be resumed."""
import hashlib
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from . import distributed
from .data import read_item
from .errors import UserError, suggest
from .files import writing
from .inverter import pool
from .journal import Journal
from .models.stylegan2 import fingerprint
from .pictures import Pictures, write
from .pixels import encode_png, to_pixels, to_tensor
from .sources import discover
from .splits import trained_on
from .toonify import check_pair
from .weights import find, load_network

SAVES = ("strip", "steps", "latents", "final")


@dataclass
class Summary:
    """What an `invert` did: numbers of images, and a sentence about each bad one."""
    out: Path
    passed_over: int = 0               # files without an image suffix
    finished: int = 0                  # in this run
    kept: int = 0                      # finished by an earlier run
    bad: list = field(default_factory=list)
    trained: str = ""                  # that some are images which the domain trains on

    def lines(self):
        """The summary for a reader, line by line."""
        kept = f", {self.kept} were there already" if self.kept else ""
        yield f"{self.finished} images inverted into {self.out}{kept}"
        if self.passed_over:
            yield f"{self.passed_over} files without an image suffix passed over"
        if self.trained:
            yield self.trained

    def check(self):
        """Raises a UserError that names the bad images, where there were any."""
        if self.bad:
            more = f"; and {len(self.bad) - 5} more" if len(self.bad) > 5 else ""
            raise UserError(f"{len(self.bad)} of {len(self.bad) + self.finished + self.kept} images were "
                            "skipped: "
                            f"{'; '.join(self.bad[:5])}{more}; all others are in {self.out}")


def invert(paths, inverter, out, *, steps=5, tolerance=0.0, save=("strip", "steps", "latents"),
           start_from=None, first_steps=1, batch=8, window=None, progress=True):
    """Inverts files, folders and zips into the folder `out` -> Summary (its check() raises if images were
    bad).

    Writes out/NAME/strip.png, step_K.png (full size), trajectory.npz and final.png as `save` says, NAME being
    the input's relative path, and out/metrics.csv; above 1,000 images, trajectories go into files of 1,000
    each, out/trajectories_N.npz. Bad images are named on stderr and skipped; what an earlier run of the same
    settings has finished is kept. start_from: an Inverter whose latent and image after `first_steps` are the
    start (Section 5.5); after 0 steps it is the plain start. window: see `decode`.
    Of several processes (`torchrun`) each takes every n-th image; any number of them can go on later; at the
    end the tables are joined, and checked.
    """
    save, out = [save] if isinstance(save, str) else list(save), Path(out)
    for name in save:
        if name not in SAVES:
            raise suggest(name, SAVES, "kind of output")
    if steps < 1 or batch < 1 or first_steps < 0:
        raise UserError(f"steps={steps}, batch={batch}, first_steps={first_steps}: the first two must be at "
                        "least 1, first_steps 0 or more")
    start_from = start_from if first_steps else None
    if out.resolve() in [Path(path).expanduser().resolve() for path in paths]:
        raise UserError(f"{out} is an input; write into another folder")
    items, passed = discover(paths, leave_out=out)
    measures = Measures(inverter.domain, inverter.device)
    window = _window(inverter.domain) if window is None else window
    rank, size = distributed.rank(), distributed.size()
    settings = {
        "encoder": fingerprint(inverter.encoder), "generator": inverter.fingerprint,
        "start_from": start_from and fingerprint(start_from.encoder) + f"*{first_steps}" * (first_steps > 1),
        "steps": steps, "tolerance": tolerance,
        "window": window, "save": sorted(save), **measures.names}
    with distributed.first():
        journal = Journal(out, settings, [item.name for item in items], rank, size)
    work = Work(inverter, start_from, measures, out, steps, tolerance, save, first_steps)
    waiting, summary = [], Summary(out, passed)
    summary.trained = trained_on(inverter.domain, items) if rank == 0 else ""
    items = items[rank::size]
    with tqdm(total=len(items), desc="inverting", unit="img", disable=not progress or rank > 0) as bar:
        for number, item in enumerate(items, 1):
            try:
                data = item.read()
                digest = hashlib.sha256(data).hexdigest()[:16]
                if journal.done.get(item.name) == digest:
                    summary.kept += 1
                else:
                    waiting.append((item.name, digest, read_item(item, inverter.domain, window, data)))
            except UserError as error:
                summary.bad.append(str(error))
                bar.write(f"skipped: {error}", file=sys.stderr)
            if len(waiting) == batch or waiting and number == len(items):
                names, digests, pixels = zip(*waiting, strict=True)
                with writing(out, "finished images are kept"):
                    journal.add(names, digests, work(names, to_tensor(np.stack(pixels))))
                summary.finished += len(waiting)
                waiting = []
            bar.update(number - len(waiting) - bar.n)
    with writing(out, "finished images are kept"):
        journal.finish()
    return _joined(summary, journal) if size > 1 else summary


def _joined(summary, journal):
    """The Summary of all processes, once the first one has joined their tables, and found there what each has
    finished, with the contents that it saw, and nothing twice."""
    several, counts, sums = zip(*distributed.told((summary, len(journal.done), journal.sum())), strict=True)
    if distributed.rank() == 0:
        journal.join()
        if (len(journal.done), journal.sum()) != (sum(counts), sum(sums)):
            raise UserError(f"the tables in {journal.out} are not what the processes finished; run it again")
    distributed.wait()
    return replace(several[0], finished=sum(s.finished for s in several), kept=sum(s.kept for s in several),
                   bad=sum((s.bad for s in several), []))


def _window(domain):
    """The window of the images that the domain is tested on, if it knows them."""
    try:
        return domain.dataset("test").window
    except UserError:
        return None


class Work:
    """Inverts one batch and writes its pictures and latents."""

    def __init__(self, inverter, start_from, measures, out, steps, tolerance, save, first_steps=1):
        if start_from:
            check_pair(start_from, inverter)
        self.inverter, self.start_from, self.measures, self.out = inverter, start_from, measures, out
        self.first_steps = first_steps
        self.common, self.begun = None, None            # the start that all images share; its PNG
        self.steps, self.tolerance, self.save, self.warm = steps, tolerance, save, False

    def __call__(self, names, images):
        """names of B images [B, C, H, W] -> their rows of metrics.csv, T+1 each."""
        inverter, images = self.inverter, images.to(self.inverter.device)
        folders = [self.out / name for name in names]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        latents, start_images, drawn = self._start(images)
        if not self.warm and inverter.device.type != "cpu":   # a GPU begins slowly
            one = slice(1) if latents.dim() == 3 else slice(None)       # of each image's own, or of all
            inverter(images[:1], steps=1, start=latents[one], start_images=start_images[one])
            self.warm = True
        every, last = "steps" in self.save, {}          # last: row -> its latest full-size image
        with Pictures(inverter.device) as pictures:

            def keep(t, active, full):
                for row, pixels in zip(active.tolist(), to_pixels(full), strict=True):
                    last[row] = pixels
                    if every:
                        pictures.add(folders[row] / f"step_{t}.png", pixels)

            full = keep if {"steps", "final"} & set(self.save) else None
            if every and self.common:                   # one picture for all images of the run
                self.begun = self.begun or encode_png(to_pixels(drawn)[0], level=1)
                for folder in folders:
                    write(folder / "step_0.png", self.begun)
            elif every:
                keep(0, torch.arange(len(names)), drawn)
            trajectory = inverter(images, self.steps, tolerance=self.tolerance, timed=True, full=full,
                                  start=latents, start_images=start_images)
            trajectory = trajectory.to("cpu").replace(names=tuple(names))
            for row, folder in enumerate(folders):
                if "final" in self.save and not every:
                    pictures.add(folder / "final.png", last[row], level=6)
        for row, folder in enumerate(folders):
            ended = int(trajectory.stopped_at[row])
            again = [f"step_{t}.png" for t in range(ended + 1, self.steps + 1)] + ["final.png"] * (
                "final" in self.save)
            for name in again if every else ():
                write(folder / name, (folder / f"step_{ended}.png").read_bytes())
            if "strip" in self.save:
                write(folder / "strip.png", encode_png(strip(images[row], trajectory.images[:, row])))
            if "latents" in self.save:
                trajectory.select([row]).save(folder / "trajectory.npz")
        return self.measures(names, images, trajectory)

    def _start(self, images):
        """Latents, images at encoder size, and full-size images to start from."""
        if self.start_from is None:
            if self.common is None:
                inverter = self.inverter
                full = inverter.render(inverter.start[None])
                self.common = inverter.start, pool(full, inverter.domain.encoder_size)[0], full
            return self.common
        first = self.start_from(images, steps=self.first_steps)
        return first.latents[-1], first.images[-1], self.start_from.render(first.latents[-1])


def strip(image, frames, end=None):
    """image [C, H, W] and frames [T+1, C, H, W] in [-1, 1] -> uint8 [h, w, C]: the input, apart, then start
    to end; then, apart, another input [C, H, W], if there is one.

    Small images are enlarged by a whole factor, nearest neighbour."""
    scale = max(1, 192 // image.shape[-2])
    inputs = [image[None].cpu()] + ([] if end is None else [end[None].cpu()])
    tiles = to_pixels(torch.cat([*inputs[:1], frames.cpu(), *inputs[1:]])).repeat(scale, 1).repeat(scale, 2)
    white = np.full((tiles.shape[1], 16, tiles.shape[3]), 255, np.uint8)
    row = [tiles[0], white]
    for i, tile in enumerate(tiles[1:]):
        row += [white if i == len(frames) else white[:, :4], tile]
    return np.concatenate(row, 1)


class Measures:
    """L2, perceptual distance, identity similarity; a network that is not there leaves its column blank."""

    def __init__(self, domain, device):
        self.names, self.networks = {}, {}
        for kind in ("perceptual", "identity"):
            name = domain.networks.get(f"judge_{kind}", domain.networks.get(kind))
            try:
                found = name and find(name, kind)
            except UserError:
                found = None
            self.names[kind] = name if found else None
            self.networks[kind] = load_network(name, kind, device) if found else None

    @torch.no_grad()
    def __call__(self, names, images, trajectory):
        """Rows of metrics.csv for B images [B, C, H, W] and their trajectory."""
        perceptual, identity = self.networks["perceptual"], self.networks["identity"]
        person = identity and identity(images)
        blank, steps = [""] * len(names), []
        for t, frames in enumerate(trajectory.images.to(images.device)):
            l2 = _texts((frames - images).square().mean((1, 2, 3)))
            distance = _texts(perceptual.distance(frames, images)) if perceptual else blank
            likeness = _texts((identity(frames) * person).sum(1)) if identity else blank
            seconds = _texts(trajectory.seconds[t])
            steps.append(zip(names, [t] * len(names), l2, distance, likeness, seconds, strict=True))
        return [row for rows in zip(*steps, strict=True) for row in rows]


def _texts(values):
    return [f"{value:.6g}" for value in values.tolist()]
