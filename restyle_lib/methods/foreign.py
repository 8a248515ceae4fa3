"""Somebody else's method: a Python function whose results are checked, or a folder of finished images."""
import csv
import functools
import hashlib
import importlib
import inspect
from pathlib import Path

import torch

from ..data import read_item
from ..errors import UserError, suggest
from ..pixels import to_tensor
from ..sources import discover
from ..trajectory import Trajectory


class Function:
    """A function (images, generator, domain, **settings) -> Trajectory, its result checked.

    spec: "package.module:function", or the function itself."""

    def __init__(self, spec, **settings):
        if callable(spec):
            self.function, self.name = spec, f"{spec.__module__}:{getattr(spec, '__qualname__', 'method')}"
        else:
            self.function, self.name = imported(spec), spec
        self._settings = settings

    def __call__(self, images, generator, domain):
        result = self.function(images, generator, domain, **self._settings)
        return checked(result, images, generator, self.name)

    def settings(self):
        return dict(self._settings)

    def weights(self, domain=None):
        """A digest of the file that the function stands in: an edit counts as another method."""
        try:
            source = Path(inspect.getsourcefile(inspect.unwrap(self.function))).read_bytes()
        except (TypeError, OSError):
            return []
        return [hashlib.sha256(source).hexdigest()]


def imported(spec):
    """The callable "package.module:function"; a UserError says what is not there."""
    module, _, name = spec.partition(":")
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        raise UserError(f"the method {spec} cannot be imported ({error}); install its package, or put its "
                        "folder on PYTHONPATH") from None
    function = functools.reduce(lambda value, part: getattr(value, part, None), name.split("."), found)
    if not callable(function):
        names = [n for n, value in vars(found).items() if callable(value) and not n.startswith("_")]
        raise suggest(name, names, f"function of {module}")
    return function


def checked(result, images, generator, name):
    """`result` without gradients; a UserError unless it is a Trajectory of these images, all finite."""
    if not isinstance(result, Trajectory):
        what = "nothing" if result is None else f"a {type(result).__name__}"
        raise UserError(f"the method {name} returned {what}; accepted: a restyle_lib Trajectory")
    wanted = list(images.shape)
    if list(result.images.shape[1:]) != wanted:
        raise UserError(f"the method {name} returned images {list(result.images.shape)}; accepted: "
                        f"[rows, {', '.join(map(str, wanted))}], the shape of the images it was given")
    styles = [generator.n_styles, generator.w_dim]
    if result.latents is not None and list(result.latents.shape[2:]) != styles:
        raise UserError(f"the method {name} returned latents {list(result.latents.shape)}; accepted: "
                        f"[rows, {wanted[0]}, {styles[0]}, {styles[1]}], or None")
    for field in ("images", "latents", "seconds"):
        value = getattr(result, field)
        if value is not None and not value.isfinite().all():
            row, image = (~value.isfinite()).nonzero()[0][:2].tolist()
            raise UserError(f"the method {name} returned {field} that are not finite, first in row {row} of "
                            f"image {image}; repeat the last good row there, and lower stopped_at")
    if not (result.step.diff() > 0).all():
        raise UserError(f"the method {name} recorded the steps {result.step.tolist()}; accepted: rising ones")
    moved = {f: getattr(result, f) for f in ("images", "latents") if getattr(result, f) is not None}
    return result.replace(**{f: value.detach() for f, value in moved.items()})


class Results:
    """A folder of somebody's results: FOLDER/STEP/image files, and FOLDER/times.csv (step,seconds).

    Each step's files, in the order of their names, belong to the images that the method is called with;
    `names` (file names, with or without suffix) says which belong to them otherwise. Seconds are those spent
    on one image up to a step; without times.csv there are none. There are no latents."""

    whole = True                # one call sees all images: nothing to keep

    def __init__(self, folder, names=None):
        self.folder, self.names, self.name = Path(folder).expanduser(), names, Path(folder).name
        self.steps = steps_in(self.folder)
        if not self.steps:
            raise UserError(f"{self.folder} holds no results; accepted: a sub-folder of images for each "
                            "step, named by its number (0 the start), and times.csv")

    def __call__(self, images, generator, domain):
        rows = torch.stack([self._row(step, domain, len(images)) for step in self.steps])
        return Trajectory(rows.to(images.device), step=torch.tensor(list(self.steps)),
                          seconds=self._seconds(len(images)))

    def settings(self):
        return {"names": self.names}

    def weights(self, domain=None):
        return []

    def _row(self, step, domain, count):
        folder = self.folder / self.steps[step]
        items = discover([folder])[0]
        if self.names is not None:
            table = {key: item for item in items for key in (Path(item.name).stem, item.name)}
            missing = [name for name in self.names if name not in table]
            if missing:
                raise UserError(f"{folder} lacks the image {missing[0]}")
            items = [table[name] for name in self.names]
        if len(items) != count:
            raise UserError(f"{folder} holds {len(items)} images, {count} are asked for; give one for each, "
                            "in the order of their names, or say which: names=[...]")
        return torch.cat([to_tensor(read_item(item, domain)[None]) for item in items])

    def _seconds(self, count):
        path = self.folder / "times.csv"
        if not path.exists():
            return None
        try:
            with path.open(encoding="utf-8", newline="") as stream:
                times = {int(row["step"]): float(row["seconds"]) for row in csv.DictReader(stream)}
        except (KeyError, TypeError, ValueError, OSError):
            raise UserError(f"{path} is not readable; accepted: a header step,seconds and two numbers a "
                            "line") from None
        if missing := [step for step in self.steps if step not in times]:
            raise UserError(f"{path} lacks the step {missing[0]}; accepted: a line for each of "
                            f"{', '.join(map(str, self.steps))}")
        seconds = torch.tensor([times[step] for step in self.steps], dtype=torch.float64)
        return seconds[:, None].expand(-1, count).clone()


def steps_in(folder):
    """{step: name} of the sub-folders that are named by a number, in their order."""
    folder = Path(folder).expanduser()
    names = [p.name for p in folder.iterdir() if p.is_dir() and p.name.isdecimal()] if folder.is_dir() else []
    return {int(name): name for name in sorted(names, key=int)}
