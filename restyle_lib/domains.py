"""Datasets and domains: YAML files read into frozen dataclasses. Nothing in the library knows one by name."""
from dataclasses import dataclass, field
from pathlib import Path

from .errors import UserError, suggest
from .files import ROOT, cache_dir
from .schema import FLAG, NATURAL, POSITIVE, RANGE, SIZE, TEXT, _build, _choice, _field, _integers
from .schema import _number, _range, _read, _table

MANIFESTS = ROOT / "data_manifests"
LOSSES = ("l2", "perceptual", "lpips", "identity", "moco", "attributes", "w_norm", "delta_norm",
          "adversarial")
NETWORKS = ("identity", "perceptual", "lpips", "attributes", "moco", "judge_identity", "judge_perceptual",
            "judge_attributes", "trunk")
WHOLE = {"train": {"part": [0, 0.9]}, "test": {"part": [0.9, 1]}, "all": {}}       # of files, unless told


# ---- the classes

@dataclass(frozen=True)
class RenderedSource:
    """Images drawn by a rendered world."""
    kind: str = _field(_choice("rendered"))
    world: str = _field(TEXT)
    seed: int = _field(NATURAL, 0)


@dataclass(frozen=True)
class FileSource:
    """Images in a folder, zip or LMDB, nested as they may be. `path` is relative to the YAML file; null: they
    lie outside the repository, where `data link` has said."""
    kind: str = _field(_choice("folder", "zip", "lmdb"))
    path: str = _field(((lambda v: v is None or TEXT[0](v)), "a text, or null"))


@dataclass(frozen=True)
class RenderedSplit:
    """identities [first, count], `instances` images of each; see the world for `correlated` and `hard`."""
    identities: tuple = _field((_integers(2, 0), "two integers [first, count]"))
    instances: int = _field(POSITIVE, 1)
    correlated: bool = _field(FLAG, True)
    hard: bool = _field(FLAG, False)


@dataclass(frozen=True)
class FileSplit:
    """Files below `folder`, named in the file `list`, of a `part` [low, high) of 0...1 (by group or name),
    `where` columns of the attributes lie in [low, high); of those, shuffled, `draw` [seed, first, count]."""
    folder: str = _field(TEXT, None)
    list: str = _field(TEXT, None)
    part: tuple = _field(RANGE, None)
    where: dict = _field(((lambda v: isinstance(v, dict) and bool(v) and all(map(_range, v.values()))),
                          "a table {column: [low, high]}"), None)
    draw: tuple = _field((_integers(3, 0), "three integers [seed, first, count]"), None)
    images: int = _field(POSITIVE, None)              # how many there must be; see `data verify`


@dataclass(frozen=True)
class Dataset:
    """Where images come from, and under which terms. `split(name)` opens one of its splits."""
    name: str = _field(TEXT)
    source: object = _field(((lambda v: isinstance(v, (RenderedSource, FileSource))), "a source"))
    licence: str = _field(TEXT)
    title: str = _field(TEXT, "")
    description: str = _field(TEXT, "")
    terms: str = _field(TEXT, "")
    channels: int = _field(_choice(1, 3), 3)
    obtain: str = _field(TEXT, "")                    # where it comes from today ...
    layout: str = _field(TEXT, "")                    # ... and what its folder must look like
    size: tuple = _field(SIZE, None)                  # [height, width]; null: each file its own
    stored: tuple = _field(SIZE, None)                # [height, width] of the files as published; null: any
    splits: dict = _field(((lambda v: isinstance(v, dict) and v), "a table of splits"), dict)
    attributes: str = _field(TEXT, None)              # a CSV whose first column names the images
    group: str = _field(TEXT, None)                   # "folder", or a column: what must not straddle splits
    window: tuple = _field(RANGE, None)               # [low, high]: stored values for black and white
    path: Path = field(default=Path("."), compare=False)

    @property
    def root(self):
        """Where the images of files are."""
        if self.source.path is None:
            return cache_dir() / "datasets" / self.name
        return (self.path.parent / Path(self.source.path).expanduser()).absolute()

    def split(self, name):
        """An ImageSource of the split `name`; UserError names the splits there are."""
        from .splits import open_split
        if name not in self.splits:
            raise suggest(name, self.splits, f"split of {self.name}")
        return open_split(self, name)


@dataclass(frozen=True)
class Domain:
    """An inversion task: datasets, generator, geometry, networks and losses."""
    name: str = _field(TEXT)
    train: str = _field(TEXT)                         # datasets, by name or path
    resolution: int = _field(POSITIVE)                # of the generator's square
    encoder_size: tuple = _field(SIZE)
    title: str = _field(TEXT, "")
    test: str = _field(TEXT, None)                    # null: the training dataset
    generator: str = _field(TEXT, None)               # shipped name or path
    channels: int = _field(_choice(1, 3), 3)
    crop: tuple = _field((_integers(4, 0), "four integers [top, bottom, left, right]"), None)
    fit: str = _field(_choice("stretch", "center", "pad"), "stretch")
    flip: bool = _field(FLAG, False)                  # whether a mirrored image is as good
    backbone: str = _field(TEXT, "irse50")
    head_channels: int = _field(POSITIVE, None)
    losses: dict = _field((_table(LOSSES, lambda v: _number(v) and v >= 0), f"weights from 0 on, of "
                                                                            f"{', '.join(LOSSES)}"), dict)
    networks: dict = _field((_table(NETWORKS, TEXT[0]), f"names or paths, of {', '.join(NETWORKS)}"), dict)
    iterations: dict = _field(((lambda v: isinstance(v, dict) and all(map(POSITIVE[0], v.values()))),
                               "a table {method: iterations}"), dict)         # published lengths of training
    path: Path = field(default=Path("."), compare=False)

    def __post_init__(self):
        if self.crop is None:
            object.__setattr__(self, "crop", (0, self.resolution, 0, self.resolution))
        top, bottom, left, right = self.crop
        if not (top < bottom <= self.resolution and left < right <= self.resolution):
            raise UserError(f"{self.path}: crop {list(self.crop)} does not lie in a square of "
                            f"{self.resolution} pixels; "
                            "accepted: [top, bottom, left, right], bottom and right past the end")
        if any(full % small for full, small in zip(self.crop_size, self.encoder_size, strict=True)):
            raise UserError(f"{self.path}: encoder_size {list(self.encoder_size)} does not divide the "
                            "cropped size "
                            f"{list(self.crop_size)}; accepted: whole fractions of it, so that pooling is "
                            "exact")

    @property
    def called(self):
        """What a command line calls this domain: its name, or the path of a YAML file of your own."""
        own = self.path.suffix and self.path.parent != MANIFESTS / "domains"
        return str(self.path) if own else self.name

    @property
    def crop_size(self):
        """(height, width) of the domain's images at full size."""
        top, bottom, left, right = self.crop
        return bottom - top, right - left

    def dataset(self, role="test"):
        """The Dataset that the domain trains ("train") or tests ("test") on."""
        return load_dataset(self.train if role == "train" or self.test is None else self.test)


# ---- reading them

def load_domain(name):
    """A Domain by name (data_manifests/domains) or YAML path. UserError: file, field, what is accepted."""
    if isinstance(name, Domain):
        return name
    path = _find(name, "domains")
    values = _read(path)
    for key in {"train", "test", "generator"} & values.keys():
        values[key] = _beside(path, values[key])
    if isinstance(networks := values.get("networks"), dict):
        values["networks"] = {key: _beside(path, value) for key, value in networks.items()}
    return _build(Domain, values, path)


def load_dataset(name):
    """A Dataset by name (data_manifests/datasets) or a YAML file's path. UserError as for `load_domain`."""
    if isinstance(name, Dataset):
        return name
    path = _find(name, "datasets")
    values = _read(path)
    source = values.get("source")
    kind = source.get("kind") if isinstance(source, dict) else None
    if kind not in ("rendered", "folder", "zip", "lmdb"):
        raise UserError(f"{path}: source must have a kind; accepted: rendered, folder, zip, lmdb")
    rendered = kind == "rendered"
    values["source"] = _build(RenderedSource if rendered else FileSource, source, path, "source.")
    splits = values.get("splits", {} if rendered else WHOLE)
    if isinstance(splits, dict):
        cls = RenderedSplit if rendered else FileSplit
        values["splits"] = {str(k): _build(cls, v, path, f"splits.{k}.") for k, v in splits.items()}
    if rendered and "size" not in values:
        raise UserError(f"{path}: size is missing; accepted: {SIZE[1]}")
    return _build(Dataset, values, path)


def available(what):
    """Names of the "domains" or "datasets" in data_manifests."""
    return sorted(p.stem for p in (MANIFESTS / what).glob("*.yaml"))


def _find(name, what):
    path = Path(name).expanduser()
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise UserError(f"there is no file {path}; {what} known by name: "
                            f"{', '.join(available(what)) or 'none'}")
        return path
    if name not in available(what):
        raise suggest(name, available(what), f"{what[:-1]}")
    return MANIFESTS / what / f"{name}.yaml"


def _beside(path, value):
    """A path that is relative to a YAML file, or the name that it is."""
    near = path.parent / value if isinstance(value, str) and ("/" in value or "." in value) else None
    return str(near) if near is not None and near.exists() else value
