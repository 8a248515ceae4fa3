"""What every inversion method returns: latents and images step by step; saved as one .npz of plain arrays."""
import dataclasses
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import torch

from .errors import UserError
from .files import atomic, read_arrays

VERSION = 1
SPACES = ("w", "w+")
TYPES = {"latents": torch.float32, "images": torch.float32, "step": torch.int64, "seconds": torch.float64,
         "stopped_at": torch.int64}
LARGE = {"latents", "images"}
SMALL = {"seconds": 1, "stopped_at": 0, "names": 0}   # the axis of the images


@dataclass(frozen=True, eq=False)
class Trajectory:
    """T recorded steps after the start, of B images; rows of `latents`, `images` and `seconds` belong
    together.

    noise is "const", a seed, or a list of maps: [1 or B, 1, r, r], or [T+1, B, 1, r, r], each row's own.
    generator is the fingerprint of the one that drew the images ("" if unknown). Shapes and types are
    checked; UserError names the field.
    """
    images: torch.Tensor                       # [T+1, B, C, H, W] in [-1, 1], encoder size; row 0: start
    latents: torch.Tensor | None = None        # [T+1, B, k, d]; None for methods without W+ codes
    step: torch.Tensor | None = None           # [T+1] recorded step numbers, by default 0...T
    seconds: torch.Tensor | None = None        # [T+1, B] spent on each image so far, when timed
    stopped_at: torch.Tensor | None = None     # [B] last step computed; later rows repeat
    space: str = "w+"
    noise: object = "const"
    generator: str = ""
    names: tuple | None = None                 # B names of the images, where they have any

    def __post_init__(self):
        if not isinstance(self.images, torch.Tensor) or self.images.dim() != 5:
            raise UserError("a trajectory's images must have the shape [T+1, B, C, H, W]")
        rows, batch = self.images.shape[:2]
        if self.step is None:
            object.__setattr__(self, "step", torch.arange(rows))
        if self.stopped_at is None:
            object.__setattr__(self, "stopped_at", torch.full([batch], int(self.step[-1])))
        shapes = {"latents": (rows, batch, None, None), "images": (rows, batch, None, None, None),
                  "step": (rows,), "seconds": (rows, batch), "stopped_at": (batch,)}
        for field, shape in shapes.items():
            value = getattr(self, field)
            if value is None and field in ("latents", "seconds"):
                continue
            sizes = zip(shape, value.shape, strict=False)
            wrong = value.dim() != len(shape) or any(s not in (None, v) for s, v in sizes)
            if wrong or value.dtype != TYPES[field]:
                shape = ["any" if s is None else s for s in shape]
                raise UserError(f"a trajectory's {field} is {value.dtype} {list(value.shape)}; with {rows} "
                                "rows of "
                                f"{batch} images it must be {TYPES[field]} {shape}")
        if self.space not in SPACES:
            raise UserError(f"a trajectory's space is '{self.space}'; accepted: {', '.join(SPACES)}")
        if self.names is not None and len(self.names) != batch:
            raise UserError(f"a trajectory of {batch} images has {len(self.names)} names")

    def __len__(self):
        return self.images.shape[1]

    def to(self, device):
        """The same trajectory with latents and images on `device`."""
        move = {f: getattr(self, f).to(device) for f in ("latents", "images") if getattr(self, f) is not None}
        return dataclasses.replace(self, **move)

    def replace(self, **changes):
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def select(self, rows):
        """The trajectory of some of its images; `rows`: a list of indices or a slice."""
        fields = [f for f in ("latents", "images", "seconds") if getattr(self, f) is not None]
        names = self.names and tuple(np.array(self.names, dtype=object)[rows])
        noise = self.noise
        if not isinstance(noise, (str, int)):
            noise = [m[:, rows] if m.dim() == 5 else m if len(m) == 1 else m[rows] for m in noise]
        return self.replace(stopped_at=self.stopped_at[rows], names=names, noise=noise,
                            **{f: getattr(self, f)[:, rows] for f in fields})

    def noise_at(self, row):
        """The noise that a row's images were drawn with, as a generator takes it."""
        if isinstance(self.noise, (str, int)):
            return self.noise
        return [m[row] if m.dim() == 5 else m for m in self.noise]

    def save(self, path):
        """Writes one .npz, atomically."""
        with atomic(path) as stream:
            np.savez(stream, **_arrays(self))

    @staticmethod
    def load(path):
        """Reads what `save` or `merge` wrote. UserError for a missing, damaged or foreign file."""
        return _trajectory(_read(path), path)


def join(trajectories):
    """One trajectory of all images of several that differ in nothing else, in memory; see `merge` for files.
    """
    first = trajectories[0]
    for other in trajectories[1:]:
        same = torch.equal(other.step, first.step) and (other.latents is None) == (first.latents is None)
        if not same or (other.space, other.generator) != (first.space, first.generator):
            raise UserError("trajectories of other steps, spaces or generators cannot be joined")

    def together(field):
        parts = [getattr(t, field) for t in trajectories]
        return None if any(part is None for part in parts) else torch.cat(parts, 1)

    noise, named = first.noise, all(t.names is not None for t in trajectories)
    if not isinstance(noise, (str, int)):
        maps = list(zip(*(t.noise for t in trajectories), strict=True))
        shared = all(m.dim() == 4 and len(m) == 1 and torch.equal(m, those[0])
                     for those in maps for m in those)
        noise = noise if shared else [torch.cat(those, those[0].dim() - 4) for those in maps]
    fields = {field: together(field) for field in ("latents", "images", "seconds")}
    return first.replace(**fields, noise=noise,
                         stopped_at=torch.cat([t.stopped_at for t in trajectories]),
                         names=sum((t.names for t in trajectories), ()) if named else None)


def _arrays(trajectory):
    """Field name -> numpy array, none of them of objects."""
    arrays = {"restyle_trajectory": np.array(VERSION)}
    for field in TYPES:
        if (value := getattr(trajectory, field)) is not None:
            arrays[field] = value.detach().cpu().numpy()
    noise = trajectory.noise
    if isinstance(noise, (str, int)):
        arrays["noise"] = np.array(noise)
    else:
        arrays |= {f"noise_{i:02d}": m.detach().cpu().numpy() for i, m in enumerate(noise)}
    if trajectory.names is not None:
        arrays["names"] = np.array(trajectory.names, dtype=str)
    return arrays | {"space": np.array(trajectory.space), "generator": np.array(trajectory.generator)}


def _read(path):
    try:
        arrays = read_arrays(path)
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file") from None
    except UserError:
        raise
    except Exception as e:                                    # zipfile and numpy raise many types on damage
        raise UserError(f"{path} is not a readable trajectory file ({type(e).__name__})") from None
    if "restyle_trajectory" not in arrays or "images" not in arrays:
        raise UserError(f"{path} is not a trajectory: it holds {', '.join(sorted(arrays)[:6]) or 'nothing'}")
    if (version := arrays["restyle_trajectory"].tolist()) != VERSION:
        raise UserError(f"{path} is a trajectory of format {version!r:.20}; this library reads {VERSION}")
    return arrays


def _trajectory(arrays, path):
    try:
        fields = {f: torch.from_numpy(arrays[f]) for f in TYPES if f in arrays}
        maps = [torch.from_numpy(arrays[key]) for key in sorted(arrays) if key.startswith("noise_")]
        names = tuple(arrays["names"].tolist()) if "names" in arrays else None
        text = {f: arrays[f].item() for f in ("space", "generator")}
        return Trajectory(**fields, **text, noise=maps or arrays["noise"].item(), names=names)
    except (LookupError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{path} is an incomplete trajectory file ({error})") from None
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def names_in(path):
    """The names of a saved trajectory's images, without reading the rest."""
    with np.load(path, allow_pickle=False) as file:
        return file["names"].tolist() if "names" in file.files else []


def merge(paths, path):
    """Joins saved trajectories of one kind into one file, in their order, holding one at a time in memory."""
    first, small, total = None, {}, 0
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=Path(path).parent, prefix=".merge.", suffix=".part") as folder:
        def rows(key, t):
            return Path(folder) / f"{key}.{t}"

        for source in paths:
            arrays = _arrays(Trajectory.load(source))
            first = first or arrays
            if _kind(arrays) != _kind(first):
                raise UserError(f"{source} cannot be joined: its steps, shapes, noise or generator differ")
            total += arrays["images"].shape[1]
            for key in LARGE & arrays.keys():
                for t, row in enumerate(arrays[key]):
                    with open(rows(key, t), "ab") as part:
                        part.write(row.tobytes())
            for key in SMALL.keys() & arrays.keys():
                small.setdefault(key, []).append(arrays[key])
        with atomic(path) as stream, ZipFile(stream, "w") as archive:
            for key, value in first.items():
                with archive.open(f"{key}.npy", "w", force_zip64=True) as member:
                    if key not in LARGE:
                        value = np.concatenate(small[key], axis=SMALL[key]) if key in small else value
                        np.lib.format.write_array(member, value, allow_pickle=False)
                        continue
                    header = {"descr": np.lib.format.dtype_to_descr(value.dtype), "fortran_order": False,
                              "shape": (len(value), total, *value.shape[2:])}
                    np.lib.format.write_array_header_1_0(member, header)
                    for t in range(len(value)):
                        with open(rows(key, t), "rb") as part:
                            shutil.copyfileobj(part, member)


def _kind(arrays):
    """What must agree between trajectories that are joined."""
    shapes = {key: (len(arrays[key]), *arrays[key].shape[2:]) for key in LARGE & arrays.keys()}
    same = {key: value.tobytes() for key, value in arrays.items() if key not in LARGE and key not in SMALL}
    return shapes, same, arrays.keys()
