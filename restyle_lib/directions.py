"""Directions of edits in W and W+ (Section 5.4): their fields and files, published files, applying one."""
import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import torch

from .errors import UserError
from .files import atomic, check_archive, is_zip, read_arrays
from .models.stylegan2 import fingerprint
from .trajectory import SPACES, Trajectory

VERSION = 1
PCA = ("comp", "std"), ("lat_comp", "lat_stdev"), ("act_comp", "act_stdev")      # e4e's, GANSpace's own


@dataclass(frozen=True, eq=False)
class Direction:
    """A way through latents that changes one thing. One unit of strength adds unit x vector to the styles in
    `layers`. UserError for fields that do not fit together."""
    name: str
    vector: torch.Tensor         # [d], the same for every style, or [k, d]
    space: str = "w"             # where it was found: "w" or "w+"
    layers: tuple = ()           # the styles that move, numbered from 0, coarse to fine; empty: all
    unit: float = 1.0            # length of a unit of strength, in multiples of the vector
    attribute: str = ""          # what it is meant to change, by a reader's name
    generator: str = ""          # fingerprint of the generator; "" if its file does not tell
    found: str = ""              # how it was found
    accuracy: float = math.nan   # on held-out samples, where it separates two classes
    meaning: str = ""            # what a unit was measured to change

    def __post_init__(self):
        vector = torch.as_tensor(self.vector).detach().float().cpu()
        object.__setattr__(self, "vector", vector)
        object.__setattr__(self, "layers", tuple(int(layer) for layer in self.layers))
        if vector.dim() not in (1, 2) or not vector.isfinite().all() or not vector.any():
            raise UserError(f"the direction '{self.name}' has a vector {list(vector.shape)}; it must be [d] "
                            "or [k, d], of finite numbers, not all zero")
        if self.space not in SPACES or self.space == "w" and vector.dim() == 2:
            raise UserError(f"the direction '{self.name}' is of space '{self.space}' with a vector "
                            f"{list(vector.shape)}; accepted: 'w' with [d], 'w+' with [d] or [k, d]")
        if not (math.isfinite(self.unit) and self.unit > 0):
            raise UserError(f"the direction '{self.name}' has the unit {self.unit}; it must be above 0")

    def replace(self, **changes):
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def step(self, styles, width):
        """What one unit adds to latents of that many styles: [styles, width]. UserError if it cannot fit."""
        shape = list(self.vector.shape)
        if shape[-1] != width or shape[:-1] not in ([], [styles]):
            raise UserError(f"the direction '{self.name}' is {shape}, the latents have {styles} styles of "
                            f"width {width}; it belongs to a generator of another size")
        if wrong := [layer for layer in self.layers if not 0 <= layer < styles]:
            raise UserError(f"the direction '{self.name}' moves style {wrong[0]}, the latents have the "
                            f"styles 0 to {styles - 1}; it belongs to a generator of another size")
        chosen = torch.zeros(styles, 1)
        chosen[list(self.layers) if self.layers else slice(None)] = 1
        return self.unit * chosen * self.vector

    def check(self, generator):
        """Refuses a generator, or its fingerprint, other than the one that the direction was found in."""
        theirs = generator if isinstance(generator, str) else fingerprint(generator)
        if self.generator and theirs and theirs != self.generator:
            raise UserError(f"the direction '{self.name}' was found in generator {self.generator[:12]}, this "
                            f"is {theirs[:12]}; latents of two generators do not mean the same: find it anew")
        if not isinstance(generator, str):
            self.step(generator.n_styles, generator.w_dim)

    def save(self, path):
        """Writes one .npz of plain arrays, atomically."""
        facts = dataclasses.asdict(self) | {"restyle_direction": VERSION}
        vector = facts.pop("vector").numpy()
        facts["accuracy"] = None if math.isnan(self.accuracy) else self.accuracy
        with atomic(path) as stream:
            np.savez(stream, vector=vector, facts=np.array(json.dumps(facts)))

    @staticmethod
    def load(path):
        """Reads what `save` wrote. UserError for a missing, damaged or foreign file."""
        try:
            arrays = read_arrays(path)
            vector, facts = torch.from_numpy(arrays["vector"]), json.loads(arrays["facts"].item())
            if facts.pop("restyle_direction") != VERSION:
                raise UserError(f"{path} is a direction of another format; this library reads {VERSION}")
            facts["accuracy"] = math.nan if facts["accuracy"] is None else facts["accuracy"]
            return Direction(vector=vector, **facts)
        except FileNotFoundError:
            raise UserError(f"{path}: there is no such file") from None
        except UserError:
            raise
        except Exception as error:                            # zipfile, numpy and json raise many types
            raise UserError(f"{path} is no direction of this library ({type(error).__name__}); accepted: an "
                            ".npz that Direction.save wrote, or a published .pt file") from None


def load(path, generator=""):
    """Directions of a file {name: Direction}, told apart by content: our .npz, InterFaceGAN's vectors ([d],
    [1, d], [k, d], .pt or .npy), or GANSpace's principal components (.pt, .npz). Published files do not name
    their generator: say its fingerprint.

    A published vector keeps its length as the unit; a component's unit is its standard deviation."""
    path = Path(path).expanduser()
    if not path.is_file():
        raise UserError(f"{path}: there is no such file")
    value = _arrays(path)
    if isinstance(value, Direction):
        return {value.name: value}
    for rows, units in PCA:
        if isinstance(value, dict) and {rows, units} <= value.keys():
            return _components(path, value[rows], value[units], generator)
    value = torch.as_tensor(value) if isinstance(value, np.ndarray) else value
    if not torch.is_tensor(value) or not 1 <= value.squeeze().dim() <= 2:
        shape = list(value.shape) if torch.is_tensor(value) else type(value).__name__
        raise UserError(f"{path} holds {shape}; accepted: a tensor or array [d], [1, d] or [k, d], "
                        f"or principal components ({', or '.join(' with '.join(pair) for pair in PCA)})")
    vector = value.squeeze()
    return {path.stem: Direction(path.stem, vector, "w" if vector.dim() == 1 else "w+", generator=generator,
                                 found=f"published file {path.name}", attribute=path.stem)}


def _arrays(path):
    """A Direction of ours, an array, or {name: array}; nothing of the file is executed."""
    with open(path, "rb") as stream:
        head = stream.read(6)
    check_archive(path, 200)
    zipped = head[:2] == b"PK" and is_zip(path) and not _is_torch(path)
    if head == b"\x93NUMPY" or zipped:
        try:
            arrays = read_arrays(path) if zipped else np.load(path, allow_pickle=False)
        except UserError:
            raise
        except Exception as error:                            # zipfile and numpy raise many types
            raise UserError(f"{path} is no file of plain arrays ({type(error).__name__})") from None
        return arrays if not zipped or any(rows in arrays for rows, _ in PCA) else Direction.load(path)
    if path.suffix == ".npz":
        return Direction.load(path)
    check_archive(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:                                # unpickling raises many types
        raise UserError(f"{path} is not a file of plain tensors ({type(error).__name__}); accepted: an array "
                        "[d], [1, d] or [k, d], or a dictionary with comp and std") from None


def _is_torch(path):
    with ZipFile(path) as archive:
        return any(name.endswith("data.pkl") for name in archive.namelist())


def _components(path, rows, units, generator):
    rows, units = torch.as_tensor(rows).float(), torch.as_tensor(units).float().flatten()
    rows = rows.reshape(len(rows), -1)
    if len(units) != len(rows):
        raise UserError(f"{path} holds {len(rows)} components and {len(units)} deviations")
    return {f"pc{i}": Direction(f"pc{i}", row, unit=float(unit), generator=generator,
                                found=f"GANSpace, component {i} of {path.name}")
            for i, (row, unit) in enumerate(zip(rows, units, strict=True)) if unit > 0}


def number(strength):
    """A finite number from what somebody wrote, or a UserError."""
    try:
        value = float(strength)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"the strength '{strength}' is not a number; accepted: numbers such as -3, 0 or 1.5")
    return value


def apply(latents, direction, strength, generator=""):
    """Moves latents [B, k, d], or a Trajectory's last, by strength (a number, or [B]) units -> [B, k, d].

    generator: the one that will draw them, or its fingerprint; a Trajectory knows its own. UserError where
    the direction belongs to another."""
    if isinstance(latents, Trajectory):
        if latents.latents is None:
            raise UserError("these inversions hold no latents to edit, only images")
        generator, latents = generator or latents.generator, latents.latents[-1]
    if latents.dim() != 3:
        raise UserError(f"latents to edit must be [B, k, d], not {list(latents.shape)}")
    direction.check(generator)
    step = direction.step(*latents.shape[1:]).to(latents)
    if torch.is_tensor(strength):
        return latents + strength.to(latents).reshape(-1, 1, 1) * step
    return latents + number(strength) * step


def interpolate(first, second, frames=9):
    """The straight way between two latents [k, d] in W+, both ends included -> [frames, k, d]."""
    if first.shape != second.shape or frames < 2:
        raise UserError(f"latents {list(first.shape)} and {list(second.shape)} in {frames} frames: give two "
                        "of one shape, and at least 2 frames")
    share = torch.linspace(0, 1, frames, dtype=first.dtype, device=first.device).reshape(-1, 1, 1)
    return torch.lerp(first[None], second[None], share)
