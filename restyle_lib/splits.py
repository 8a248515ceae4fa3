"""The splits of a dataset, image by image: drawn by a rendered world, or files of a folder, zip or LMDB."""
import contextlib
import csv
import functools
import hashlib
import io
from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np

from .domains import FileSplit, RenderedSource
from .errors import UserError
from .pixels import decode
from .rendered import draws
from .sources import discover, entry

def open_split(dataset, name):
    """The ImageSource of one split of a Dataset."""
    kind = RenderedImages if isinstance(dataset.source, RenderedSource) else FileImages
    return kind(dataset, dataset.splits[name], name)


class ImageSource:
    """Numbered images: len(), `names`, `keys` (what each one's group is called in all splits) and `groups`
    (int array [N], equal for what belongs together)."""

    classes = {}                                          # {attribute: words}, where a table holds indices

    def load(self, index, size=None, fit="stretch"):
        """Image `index` -> uint8 [H, W, C] at `size` [H, W], by default the dataset's or the file's own."""
        return self.read([index], size, fit)[0]

    def spread(self, count=None):
        """`count` indices (by default all) over the whole split, evenly: int array."""
        return np.unique(np.linspace(0, len(self) - 1, min(count or len(self), len(self))).astype(int))

    def attributes(self, index):
        """{name: value} of image `index`, or None where the dataset has none."""
        table = self.table([index])
        return {name: column[0].item() for name, column in table.items()} if table else None


class RenderedImages(ImageSource):
    """A split of a rendered world: image i is instance i % instances of identity first + i // instances."""

    def __init__(self, dataset, split, name):
        from .rendered import world
        self.dataset, self.split, self.name, self.world = dataset, split, name, world(dataset.source.world)
        index = np.arange(split.identities[1] * split.instances)
        self.identity, self.instance = split.identities[0] + index // split.instances, index % split.instances
        pairs = zip(self.identity.tolist(), self.instance.tolist(), strict=True)
        self.names, self.keys = [f"{who:07d}_{instance}" for who, instance in pairs], self.identity.tolist()
        self.groups = index // split.instances
        self.classes = {spec.name: spec.classes for spec in self.world.NAMES if spec.classes}

    def __len__(self):
        return len(self.names)

    def scene(self, indices):
        """What the world's render() takes, for some images."""
        return self.world.attributes(self.dataset.source.seed, self.identity[indices], self.instance[indices],
                                     correlated=self.split.correlated, hard=self.split.hard)

    def codes(self, indices):
        """The standard normals [n, m] that some images were drawn from (see training.warm)."""
        seed = self.dataset.source.seed
        wraps = getattr(self.world, "WRAPS", ())
        return draws.codes(seed, self.identity[indices], self.instance[indices], self.world.CODES, wraps)

    def table(self, indices=None):
        """{attribute: array [n]}: real values, 0 or 1, or class indices."""
        scene = self.scene(slice(None) if indices is None else np.asarray(indices, dtype=int))
        return {spec.name: scene[spec.name] for spec in self.world.NAMES}

    def read(self, indices, size=None, fit="stretch"):
        """uint8 [n, H, W, C], drawn at `size` (the renderer knows no resolution)."""
        images = self.world.render(self.scene(np.asarray(indices, dtype=int)), *(size or self.dataset.size))
        images = images.permute(0, 2, 3, 1).numpy()
        return images if self.dataset.channels == 3 else luma(images)

    def masks(self, indices, size=None):
        """{region: float32 [n, H, W] in [0, 1]}."""
        size = size or self.dataset.size
        masks = self.world.render(self.scene(np.asarray(indices, dtype=int)), *size, masks=True)[1]
        return {region: mask.numpy() for region, mask in masks.items()}

    def focus(self, indices, size):
        """uint8 [n, H, W]: how much a pixel matters, by the world's FOCUS {region: share}, coarsely."""
        scene = self.scene(np.asarray(indices, dtype=int))
        masks = self.world.render(scene, *size, masks=True, supersample=1)[1]
        shares = sum(share * masks[region] for region, share in self.world.FOCUS.items())
        return (255 * shares.clamp(0, 1)).round().byte().numpy()


def luma(pixels):
    """uint8 [..., 3] -> uint8 [..., 1], ITU-R 601."""
    return np.rint(pixels @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)[..., None]


class FileImages(ImageSource):
    """A split of a folder, zip or LMDB. UserError: there is nothing, or a group lies in two splits."""

    def __init__(self, dataset, split, name):
        self.dataset, self.split, self.name = dataset, split, name
        root = dataset.root.resolve()
        told = f"; layout: {dataset.layout}" if dataset.layout else ""
        if not root.exists():
            raise UserError(f"{dataset.path}: there is no file or folder {root}; say where the images are: "
                            f"python -m restyle_lib data link {dataset.name} PATH{told}")
        everything, _ = discover([root])
        self.labels = _labels(dataset, root)
        self.items = self._members(everything, split)
        if not self.items:
            raise UserError(f"{dataset.path}: the split '{name}' of {dataset.name} holds no image of {root}"
                            f"{told}")
        self.names = [item.name for item in self.items]
        self.keys = [self._group(name) for name in self.names]
        number = {key: i for i, key in enumerate(dict.fromkeys(self.keys))}
        self.groups = np.array([number[key] for key in self.keys])
        if dataset.group is not None:
            self._check_groups(everything)

    def __len__(self):
        return len(self.items)

    def _check_groups(self, everything):
        """Refuses a group that lies in this split and another, but for splits made to share images: one
        without bounds beside train and test, or one inside another that is not trained on."""
        own = set(self.names)
        for other, split in self.dataset.splits.items():
            names = {item.name for item in self._members(everything, split)}
            whole = {n for n, s in ((self.name, self.split), (other, split))
                     if replace(s, images=None) == FileSplit()}
            nested = (names <= own or names >= own) and "train" not in (self.name, other)
            if other == self.name or whole - {"train", "test"} or nested:
                continue
            if shared := set(self.keys) & set(map(self._group, names)):
                named = ", ".join(sorted(shared)[:5]) + (", ..." if len(shared) > 5 else "")
                raise UserError(f"{self.dataset.path}: {len(shared)} groups by '{self.dataset.group}' lie in "
                                f"the split '{self.name}' and in '{other}': {named}; all images of a group "
                                "must be in one split (splits by `part` see to it)")

    def _group(self, name):
        """What must not straddle splits: the file, its folder, or the value of a column of the attributes."""
        group = self.dataset.group
        if group in (None, "folder"):
            return name if group is None else str(PurePosixPath(name).parent)
        return self._value(name, group, "group")

    def _row(self, name):
        """An image's attributes, found by its name or by the name's last part without suffix."""
        return self.labels.get(name) or self.labels.get(PurePosixPath(name).stem, {})

    def _value(self, name, column, what):
        row = self._row(name)
        if column not in row:
            raise UserError(f"{self.dataset.path}: {what} '{column}' is not a column of the attributes for "
                            f"{name}")
        return row[column]

    def _members(self, everything, split):
        """The Items of a split; those of a draw do not depend on folders and suffixes, as mirrors differ."""
        items = [item for item in everything if self._belongs(item.name, split)]
        if split.draw is None:
            return items
        seed, first, count = split.draw
        order = sorted(items, key=lambda item: hashlib.sha256(
            f"{seed}:{PurePosixPath(item.name).stem}".encode()).digest())
        drawn = {item.name for item in order[first:first + count]}
        return [item for item in items if item.name in drawn]

    def _belongs(self, name, split):
        if split.folder is not None and not PurePosixPath(name).is_relative_to(split.folder):
            return False
        if split.list is not None and name not in _listed(self.dataset.path.parent / split.list):
            return False
        if split.part is not None:
            digest = hashlib.sha256(self._group(name).encode()).digest()
            if not split.part[0] <= int.from_bytes(digest[:8]) / 2**64 < split.part[1]:
                return False
        for column, (low, high) in (split.where or {}).items():
            value = _numbers([self._value(name, column, "where")])[0]
            if isinstance(value, str) or not low <= value < high:
                return False
        return True

    def original(self, index):
        """Image `index` as its file has it: uint8 [H, W, C]."""
        item = self.items[index]
        return decode(item.read(), item.name, self.dataset.channels, self.dataset.window)

    def read(self, indices, size=None, fit="stretch"):
        """uint8 [n, H, W, C]; images without a common size need `size`."""
        look = self.dataset.channels, self.dataset.window, size or self.dataset.size, fit
        return np.stack([decode(self.items[i].read(), self.items[i].name, *look) for i in indices])

    def table(self, indices=None):
        """{column: array [n]} of the attributes' CSV, as numbers where all are; None without one."""
        if not self.labels:
            return None
        names = self.names if indices is None else [self.names[i] for i in indices]
        rows = [self._row(name) for name in names]
        columns = next(iter(self.labels.values()))
        return {column: _numbers([row.get(column, "") for row in rows]) for column in columns}


def _numbers(values):
    try:
        return np.array([float(value) if value != "" else np.nan for value in values])
    except ValueError:
        return np.array(values)


@functools.lru_cache(maxsize=8)
def _listed(path):
    try:
        return frozenset(line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read a split's list {path}: {getattr(error, 'strerror', error)}") from None


def _labels(dataset, root):
    """{image name: {column: text}} of the attributes, with commas or else spaces between columns, beside the
    YAML file or in the folder or zip."""
    if dataset.attributes is None:
        return {}
    path = dataset.path.parent / dataset.attributes
    path = root / dataset.attributes if not path.exists() and root.is_dir() else path
    inside = not path.exists() and root.suffix.lower() == ".zip"
    try:
        data = entry(root, dataset.attributes) if inside else entry(path)
    except (OSError, KeyError):
        raise UserError(f"{dataset.path}: there is no attributes file {dataset.attributes} beside the YAML "
                        f"file or in {root}") from None
    try:
        text = data.decode("utf-8-sig")
        spaced = {} if "," in text.partition("\n")[0] else {"delimiter": " ", "skipinitialspace": True}
        rows = list(csv.DictReader(io.StringIO(text), **spaced))
        first = next(iter(rows[0]))
        return {row[first]: {key: row[key] for key in row if key not in (first, None)} for row in rows}
    except (UnicodeDecodeError, csv.Error, IndexError):
        raise UserError(f"{dataset.path}: attributes {dataset.attributes} is not a CSV with a header and the "
                        "image's name first") from None


def trained_on(domain, items):
    """A sentence on how many of some Items a domain trains on, being files of its training split; or ""."""
    with contextlib.suppress(UserError):
        dataset = domain.dataset("train")
        if isinstance(dataset.source, RenderedSource):
            return ""
        root, places = dataset.root.resolve(), [(item.path.resolve(), item.member) for item in items]
        if any(path.is_relative_to(root) for path, _ in places):
            known = {(item.path.resolve(), item.member) for item in dataset.split("train").items}
            if count := sum(place in known for place in places):
                return (f"{count} of {len(places)} images are in the training split of {dataset.name}, which "
                        f"the domain {domain.name} trains on: not held out")
    return ""
