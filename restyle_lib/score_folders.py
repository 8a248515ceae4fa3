"""Two folders of images, paired by relative name and scored; whatever has no partner or is bad is named."""
import csv
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import torch
from tqdm.auto import tqdm

from .domains import load_domain
from .errors import UserError
from .inverter import pool
from .pixels import decode, to_tensor
from .scoring import PUBLISHED_SIZE, Scorer, Scores, judges
from .sources import SUFFIXES, Item, discover
from .splits import trained_on

BATCH = 16
STEP = re.compile(r"(.+)/step_(\d+)\.png")       # what `invert` writes beside strip.png and final.png


class Pair(NamedTuple):
    """An output and its target; step is None where outputs have none."""
    image: str
    step: int | None
    output: Item
    target: Item


@dataclass
class Summary:
    """Scores of two folders, and a sentence about each bad image."""
    scores: Scores | None
    layout: str
    passed_over: int = 0
    pairs: int = 0
    bad: list = field(default_factory=list)

    def check(self):
        """Raises a UserError that names the bad images, where there were any."""
        if self.bad:
            more = f"; and {len(self.bad) - 5} more" if len(self.bad) > 5 else ""
            rest = "the other pairs are scored" if self.scores else "nothing could be scored"
            raise UserError(f"{len(self.bad)} images cannot be read: {'; '.join(self.bad[:5])}{more}; {rest}")


def score_folders(outputs, targets, domain=None, *, official_protocol=False, device="cpu"):
    """Scores of the images in `outputs` against those of the same names in `targets` -> Summary.

    outputs: image files named as the targets are, whatever their suffixes; or sub-folders 0, 1, ... of such
    files, one for each step; or what `invert` wrote. domain: at which size both are compared (by default
    their own, which must be equal), and whose networks judge. UserError: an image without a partner."""
    domain = None if domain is None else load_domain(domain)
    pairs, layout, passed = pair(outputs, targets)
    scorer = Scorer(judges(domain, device, official_protocol), official_protocol)
    read, times = Reader(domain, official_protocol), seconds(outputs)
    method, steps = Path(outputs).resolve().name, list(dict.fromkeys(p.step for p in pairs))
    count = len(pairs) // len(steps)
    for first in tqdm(range(0, count, BATCH), desc="scoring", unit="batch", disable=None):
        for index, step in enumerate(steps):
            chosen = pairs[index * count:][first:min(first + BATCH, count)]
            rows = [(p, *images) for p in chosen if (images := read(p)) is not None]
            for group in _alike(rows):
                some, made, wanted = zip(*group, strict=True)
                spent = [times.get((_stem(p.image), step), times.get((None, step))) for p in some]
                scorer.add(torch.stack(made).to(device), torch.stack(wanted).to(device),
                           [p.image for p in some], method=method, step=step, seconds=spent, prepared=True)
        read.targets.clear()
    notes = () if domain is None else (f"domain {domain.name}", trained_on(domain, [p.target for p in pairs]))
    scores = scorer.scores(tuple(filter(None, notes))) if scorer.rows else None
    return Summary(scores, layout, passed, len(pairs), list(read.bad.values()))


def _alike(waiting):
    """Groups of one image size each, in order."""
    groups = {}
    for row in waiting:
        groups.setdefault(row[2].shape, []).append(row)
    return groups.values()


# ---- pairing

def pair(outputs, targets):
    """(Pairs by step and name, the layout in words, number of files passed over); UserError names the first
    five images of each side that have no partner."""
    made, passed = discover([outputs])
    wanted, over = discover([targets])
    wanted = _keys([(None, item.name, item) for item in wanted], targets)
    names = {key for _, key in wanted}
    found, layout = [(None, item.name, item) for item in made], "images by name"
    inner = [(int(m[2]), m[1], item) for item in made if (m := STEP.fullmatch(item.name))]
    if inner and not names & {_stem(item.name) for item in made}:
        found, layout = inner, "folders that invert wrote (strip.png and final.png are not compared)"
    elif all(re.match(r"\d+/", item.name) for item in made) and not names & {_stem(i.name) for i in made}:
        found = [(int(n), rest, i) for n, _, rest, i in ((*i.name.partition("/"), i) for i in made)]
        layout = "a sub-folder for each step"
    found = _keys(found, outputs)
    steps = sorted({step for step, _ in found}, key=lambda s: -1 if s is None else s)
    lone = [(f"in {outputs} but not in {targets}", [i.name for (_, k), i in found.items() if k not in names]),
            (f"in {targets} but not in {outputs}",
             [item.name if step is None else f"{item.name} (step {step})" for step in steps
              for (_, key), item in wanted.items() if (step, key) not in found])]
    if any(rows for _, rows in lone):
        told = [f"{len(rows)} {where}: {', '.join(rows[:5])}{', ...' if len(rows) > 5 else ''}"
                for where, rows in lone if rows]
        raise UserError(f"images without a partner, {'; '.join(told)}; names must be equal but for their "
                        "suffix")
    pairs = [Pair(wanted[None, key].name, step, found[step, key], wanted[None, key])
             for step in steps for _, key in sorted(wanted)]
    return pairs, layout, passed + over


def _stem(name):
    """A relative name without its image suffix."""
    path = PurePosixPath(name)
    return str(path.with_suffix("")) if path.suffix.lower() in SUFFIXES else name


def _keys(found, folder):
    """{(step, name without suffix): Item}; UserError where two files would be one."""
    keys = [(step, _stem(name)) for step, name, _ in found]
    if double := [key for key, count in Counter(keys).items() if count > 1]:
        both = [item.name for key, (_, _, item) in zip(keys, found, strict=True) if key == double[0]]
        raise UserError(f"{folder} holds {' and '.join(both[:2])}; names are compared without their suffix, "
                        "so only one of them can be scored: move the other away")
    return {key: item for key, (_, _, item) in zip(keys, found, strict=True)}


def seconds(outputs):
    """{(image without suffix, step): seconds} from metrics.csv, as `invert` writes it, or times.csv in the
    outputs: columns seconds and, where they vary, image and step (else None in the key); {} without them."""
    for path in (Path(outputs) / "metrics.csv", Path(outputs) / "times.csv"):
        if path.is_file():
            try:
                with open(path, encoding="utf-8", newline="") as stream:
                    rows = [row for row in csv.DictReader(stream) if row["seconds"]]
                return {(_stem(row["image"]) if row.get("image") else None,
                         int(row["step"]) if row.get("step") else None): float(row["seconds"])
                        for row in rows}
            except (KeyError, ValueError, TypeError, OSError) as error:
                raise UserError(f"cannot read the times in {path} ({error}); accepted: a CSV with the column "
                                "seconds and, where they vary, image and step") from None
    return {}


# ---- reading

class Reader:
    """Pairs -> (output, target), each [C, H, W] in [-1, 1]; None for a bad one, which `bad` keeps by name."""

    def __init__(self, domain, official):
        self.domain, self.official, self.bad = domain, official, {}
        self.targets, self.window = {}, None             # targets: those read for the present batch
        if domain is not None:
            try:
                self.window = domain.dataset("test").window
            except UserError:
                pass                                     # a domain of which only the networks are here

    def __call__(self, pair):
        made = self._try(pair.output, self._output)
        if pair.target not in self.targets:
            self.targets[pair.target] = self._try(pair.target, self._target)
        wanted = self.targets[pair.target]
        if made is None or wanted is None:
            return None
        if made.shape != wanted.shape:
            raise UserError(f"{pair.output.name} has {made.shape[2]}x{made.shape[1]} pixels, its target "
                            f"{wanted.shape[2]}x{wanted.shape[1]}; name a domain at whose size to compare "
                            "them (--domain), or use the published scripts' (--official)")
        return made, wanted

    def _try(self, item, read):
        try:
            return read(item.read(), item.name)
        except UserError as error:
            self.bad[item.path, item.member] = str(error)
            return None

    def _target(self, data, name):
        return self._fitted(data, name, self.window)

    def _output(self, data, name):
        """An output of the domain's full size is pooled exactly, as the loop does; others as a target."""
        if self.official or self.domain is None:
            return self._fitted(data, name, None)
        pixels = decode(data, name, self.domain.channels)
        if pixels.shape[:2] == self.domain.crop_size:
            return pool(to_tensor(pixels[None]), self.domain.encoder_size)[0]
        return self._fitted(data, name, None)

    def _fitted(self, data, name, window):
        if self.official:
            pixels = decode(data, name, 3, window, PUBLISHED_SIZE)
        elif self.domain is None:
            pixels = decode(data, name)
        else:
            pixels = decode(data, name, self.domain.channels, window, self.domain.encoder_size,
                            self.domain.fit)
        return to_tensor(np.asarray(pixels)[None])[0]
