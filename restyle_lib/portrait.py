"""What notebook 04 takes: the networks of a choice, their files and terms, images, edits, a stopwatch."""
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from . import alignment, data, downloads, edit_cli, editing, registry, weights
from .directions import apply
from .domains import load_domain
from .errors import UserError
from .files import atomic
from .pixels import encode_png, to_pixels
from .sources import discover
from .tables import Table

CHOICE, INVERTER, TOON = "portrait", "restyle-e4e-ffhq", "restyle-psp-toonify"
# published file            what the portrait needs it for                             strength of the edit
PORTRAIT = {
    INVERTER:              ("inverts and redraws the face",                               0),
    "direction-age":       ("older, younger",                                             3),
    "direction-smile":     ("more and less of a smile",                                   2),
    "direction-pose":      ("turned to the left, to the right",                           2),
    TOON:                  ("redraws the face as a toon, bootstrapped",                   0),
    "yunet":               ("finds the face; not needed with landmarks of your own",      0),
}
STRENGTH, RATE = 2.0, 10e6       # units of other edits; bytes a second that a fetch is planned with
# Seconds that a portrait is planned to take on a Colab T4; nothing of it has been measured there.
PLANNED = {"fetch": 240, "load": 60, "align": 5, "check": 60, "search": 60, "edit": 20, "toon": 30,
           "save": 30}


@dataclass(frozen=True)
class Choice:
    """The names of what is used."""
    model: str                 # an encoder: shipped, published, or a path
    domain: str
    edits: dict                # {title: (attribute or published direction, strength)}
    toon: str = ""             # a second encoder, or ""
    told: tuple = ()           # sentences: what is not here, and what is done instead


def files(model):
    """The published files that a choice takes: a row for each, with size, terms, and minutes to fetch."""
    named = PORTRAIT if model == CHOICE else {model: ("inverts", 0)} if model in registry.files() else {}
    found = {name: registry.entry(name) for name in named}
    return Table({"file": name, "what for": named[name][0], "size": file.size_words,
                  "licence": file.terms.licence, "here": "yes" if file.place.exists() else "no",
                  "minutes to fetch (unmeasured)": None if file.place.exists() or file.least < 2
                  else f"{max(0.1, file.least / RATE / 60):.1f}"} for name, file in found.items())


def fetch(model, say=print):
    """Fetches what `files` lists and is not here; what cannot be had is said, and the rest goes on."""
    for row in files(model):
        try:
            downloads.fetch(row["file"], say=say)
        except UserError as error:
            say(str(error))


def choose(model, domain, wanted=()):
    """The Choice for a model: "portrait", an encoder's name or path, or "" for the domain's ReStyle-pSp.

    wanted: attributes to edit, which the domain's reader must know; a portrait brings its own. Where the
    portrait's encoder is not here, the embedded world does the same, and `told` says so."""
    if model != CHOICE:
        if model in registry.files():
            registry.find(model)
            domain = registry.entry(model).domain or domain
        edits = {name: (name, STRENGTH) for name in wanted}
        return Choice(model or f"{domain}/restyle-psp", domain, edits, _second(domain))
    lacking = [name for name in PORTRAIT if not registry.entry(name).place.exists()]
    if INVERTER in lacking:
        instead = choose("", "avatars", wanted)
        told = (f"{INVERTER} is not here (fetch = True fetches it): the embedded world does the same",)
        return Choice(instead.model, instead.domain, instead.edits, instead.toon, told)
    told = tuple(f"left out, as {name} is not here: {PORTRAIT[name][0]}" for name in lacking)
    edits = {name.removeprefix("direction-"): (name, float(strength))
             for name, (_, strength) in PORTRAIT.items() if strength and name not in lacking}
    return Choice(INVERTER, registry.entry(INVERTER).domain, edits, "" if TOON in lacking else TOON, told)


def _second(domain):
    """A shipped ReStyle-pSp that takes a domain's images and draws them with another generator, or ""."""
    own = load_domain(domain)
    encoders = [name for name in weights.shipped() if name.endswith("/restyle-psp")]
    others = {name: load_domain(name.split("/")[0]) for name in encoders}
    return next((name for name, other in others.items()
                 if other.train == own.train and other.generator != own.generator), "")


# ---- images

def inputs(source, inverter, folder, landmarks="", count=1, seed=0):
    """(names, images [B, C, H, W] at encoder size, whether they are nobody's).

    source: a file, folder or zip; "" draws `count` samples of the generator instead. landmarks: a file of
    them, or "detect" for kornia's detector; then faces are aligned into `folder` first. UserError names the
    images in which no face was found."""
    domain = inverter.domain
    if not source:
        generator = inverter.generator
        z = torch.randn(count, generator.z_dim, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            w = generator.truncate(generator.mapping(z.to(inverter.device)), 0.7)
            drawn = torch.cat([inverter.synthesize(part) for part in w.split(4)]).clamp(-1, 1)
        return [f"nobody {i}" for i in range(count)], drawn, True
    if landmarks:
        marks = None if landmarks == "detect" else landmarks
        written, bad = alignment.align_files([source], folder, marks, progress=False)
        if bad:
            raise UserError(f"{len(bad)} images have no usable face: {'; '.join(bad)}; {len(written)} are "
                            f"aligned in {folder}")
        source = folder
    return [item.name for item in discover([source])[0]], data.load_images(source, domain), False


def stranger(domain):
    """An image that a model has never seen the like of, a rendered car: [1, C, H, W] at encoder size."""
    car = data.to_tensor(data.images("minicars", "test", domain.encoder_size, count=1, progress=False))
    return car if domain.channels == 3 else car.mean(1, keepdim=True)


# ---- edits

def ways(choice, inverter, count, seed=0):
    """{title: (Direction, strength)} of a Choice's edits; attributes whose direction does not ship
    are looked for in `count` samples.

    Where nothing reads attributes, the first two components of W, which may move anything."""
    generator, domain, found, made = inverter.generator, inverter.domain, None, {}
    for title, (name, strength) in choice.edits.items():
        if name in registry.files() or name in editing.shipped(domain):
            path = registry.find(name) if name in registry.files() else name
            made[title] = editing.get(str(path), generator, domain), strength
            continue
        found = found or editing.samples(generator, domain, count=count, seed=seed)
        if not found.values:
            break
        made[title] = editing.get(name, generator, domain, found), strength
    if not made:
        found = found or editing.samples(generator, domain, count=count, seed=seed)
        made = {one.name: (one, STRENGTH) for one in editing.ganspace(found, 2)}
    return made


def save(folder, names, inverter, latents, ways, frames):
    """Writes, for each image, NAME/inversion.png, NAME/EDIT_STRENGTH.png and NAME/EDIT.gif at full size, and
    NAME/latents.npz -> list of the paths. latents [B, k, d]."""
    written = []
    for name, w in zip(names, latents.split(1), strict=True):
        place = Path(folder) / "".join(c if c.isalnum() or c in "._-" else "_" for c in name)
        shown, pictures = {"inversion": w}, {"inversion": inverter.render(w)}
        for title, (way, most) in ways.items():
            sweep = torch.linspace(-most, most, frames)
            moved = apply(w.expand(frames, -1, -1), way, sweep, inverter.fingerprint)
            drawn = torch.cat([inverter.render(part) for part in moved.split(4)])
            for end in (0, -1):
                stem = f"{title}_{sweep[end]:+g}"
                shown[stem], pictures[stem] = moved[end][None], drawn[end][None]
            written.append(place / f"{title}.gif")
            edit_cli.animate(to_pixels(drawn), written[-1])
        for stem, picture in pictures.items():
            written.append(place / f"{stem}.png")
            with atomic(written[-1]) as stream:
                stream.write(encode_png(to_pixels(picture)[0]))
        written.append(place / "latents.npz")
        with atomic(written[-1]) as stream:
            np.savez(stream, generator=np.array(inverter.fingerprint),
                     **{stem: moved.cpu().numpy() for stem, moved in shown.items()})
    return written


class Stopwatch:
    """Seconds of named stages: `with watch("load"): ...`."""

    def __init__(self):
        self.seconds = {}

    @contextmanager
    def __call__(self, stage):
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0) + time.perf_counter() - begun

    def table(self):
        """A row for each stage: its seconds here, and what a portrait is planned to take on a Colab T4."""
        return Table({"stage": stage, "seconds here": round(self.seconds.get(stage, 0), 1),
                      "a portrait on a T4, s (planned, unmeasured)": planned}
                     for stage, planned in PLANNED.items())
