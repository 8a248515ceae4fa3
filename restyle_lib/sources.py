"""Where images come from: files in folders and zips, or a rendered world; found, split, read one by one."""
import csv
import functools
import hashlib
import io
import os
import re
import stat
import zipfile
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from .domains import RenderedSource
from .errors import UserError
from .pixels import decode
from .rendered import draws

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".gif")
MAX_FILE = 512 * 2**20


@dataclass(frozen=True)
class Item:
    """One image file; `name` is its relative path, with slashes; `member` its place inside the zip `path`."""
    name: str
    path: Path
    member: str = ""

    def read(self):
        """Its bytes. UserError when they cannot be had."""
        try:
            if not self.member:
                if self.path.stat().st_size > MAX_FILE:
                    raise UserError(f"{self.name} is larger than {MAX_FILE >> 20} MiB")
                return self.path.read_bytes()
            archive = _archive(self.path)
            if archive.getinfo(self.member).file_size > MAX_FILE:
                raise UserError(f"{self.name} is larger than {MAX_FILE >> 20} MiB")
            return archive.read(self.member)
        except OSError as error:
            raise UserError(f"{self.name} cannot be read ({error.strerror or error})") from None
        except (zipfile.BadZipFile, RuntimeError, EOFError, ValueError, KeyError, zlib.error) as error:
            raise UserError(f"{self.name} cannot be read from {self.path.name} ({error})") from None


def _archive(path):
    """An open zip, kept; one a process, as forked readers must not share a file position."""
    return _opened(path, path.stat().st_mtime_ns, os.getpid())


@functools.lru_cache(maxsize=8)
def _opened(path, changed, process):
    return zipfile.ZipFile(path)


def discover(paths, leave_out=None):
    """Image files of files, folders and zips, nested -> (list of Items in order, number of files passed
    over).

    Names are relative to the folder or zip they were found in; where two inputs give the same name, both get
    the name of their folder before it. Hidden files count as passed over. UserError for a path that is not
    there, for a zip with a member that leaves it, and where there is no image at all. leave_out: a folder not
    to look into.
    """
    groups, passed = [], 0
    leave_out = Path(leave_out).resolve() if leave_out is not None else None
    for path in map(Path, paths):
        path = path.expanduser()
        if not path.exists():
            raise UserError(f"there is no file or folder {path}")
        items, over = _folder(path, leave_out) if path.is_dir() else _file(path, path.name, zips_named=False)
        passed += over
        groups.append((path.resolve().name if path.is_dir() else path.resolve().parent.name, items))
    counts = Counter(item.name for _, items in groups for item in items)
    items = [item if counts[item.name] == 1 else Item(f"{where}/{item.name}", item.path, item.member)
             for where, group in groups for item in group]
    items = list({(item.path.resolve(), item.member): item for item in items}.values())
    counts, seen = Counter(item.name for item in items), Counter()
    for i, item in enumerate(items):
        if counts[item.name] > 1:                         # folders of the same name, too: number them
            seen[item.name] += 1
            items[i] = Item(f"{seen[item.name]}/{item.name}", item.path, item.member)
    if not items:
        raise UserError(f"no images in {', '.join(map(str, paths))} ({passed} files without an image suffix "
                        "passed over); "
                        f"accepted suffixes: {' '.join(SUFFIXES)}")
    return items, passed


def _folder(folder, leave_out):
    items, passed = [], 0

    def refuse(error):
        raise UserError(f"cannot look into {error.filename}: {error.strerror}")

    for root, folders, files in os.walk(folder, onerror=refuse):
        shown = sorted(f for f in folders if not f.startswith("."))
        folders[:] = [f for f in shown if (Path(root) / f).resolve() != leave_out]
        for name in sorted(files):
            path = Path(root) / name
            found, over = _file(path, path.relative_to(folder).as_posix(), zips_named=True)
            items += found
            passed += over
    return items, passed


def _file(path, name, zips_named):
    name = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if path.name.startswith("."):
        return [], 1
    if path.suffix.lower() == ".zip":
        return _members(path, f"{name}/" if zips_named else "")
    return ([Item(name, path)], 0) if path.suffix.lower() in SUFFIXES else ([], 1)


def _members(path, prefix):
    """The image files in a zip; refuses all of it when a member has an absolute path, '..' or is a link."""
    items, passed = [], 0
    try:
        members = _archive(path).infolist()
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is not a readable zip file ({error})") from None
    for member in members:
        name = PurePosixPath(member.filename.replace("\\", "/"))
        leaves = name.is_absolute() or ".." in name.parts or re.match("[A-Za-z]:", str(name))
        if leaves or stat.S_ISLNK(member.external_attr >> 16):
            raise UserError(f"{path}: the member '{member.filename}' is a link or leaves the zip; such files "
                            "are refused")
        if member.is_dir():
            continue
        hidden = any(part.startswith(".") or part == "__MACOSX" for part in name.parts)
        if hidden or name.suffix.lower() not in SUFFIXES:
            passed += 1
        else:
            items.append(Item(f"{prefix}{name}", path, member.filename))
    return sorted(items, key=lambda item: item.name), passed


# ---- splits of a dataset: len, names, groups, read, load, attributes, table

def open_split(dataset, name):
    """The ImageSource of one split of a Dataset."""
    kind = RenderedImages if isinstance(dataset.source, RenderedSource) else FileImages
    return kind(dataset, dataset.splits[name], name)


class ImageSource:
    """Numbered images: len(), `names`, `groups` (int array [N], equal for what belongs together)."""

    def load(self, index, size=None, fit="stretch"):
        """Image `index` -> uint8 [H, W, C] at `size` [H, W], by default the dataset's or the file's own."""
        return self.read([index], size, fit)[0]

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
        self.names = [f"{identity:07d}_{instance}" for identity, instance in pairs]
        self.groups = index // split.instances

    def __len__(self):
        return len(self.names)

    def scene(self, indices):
        """What the world's render() takes, for some images."""
        return self.world.attributes(self.dataset.source.seed, self.identity[indices], self.instance[indices],
                                     correlated=self.split.correlated, hard=self.split.hard)

    def codes(self, indices):
        """The standard normals [n, m] that some images were drawn from (see training.warm)."""
        seed = self.dataset.source.seed
        return draws.codes(seed, self.identity[indices], self.instance[indices], self.world.CODES)

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


def luma(pixels):
    """uint8 [..., 3] -> uint8 [..., 1], ITU-R 601."""
    return np.rint(pixels @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)[..., None]


class FileImages(ImageSource):
    """A split of a folder or zip."""

    def __init__(self, dataset, split, name):
        self.dataset, self.split, self.name = dataset, split, name
        root = (dataset.path.parent / Path(dataset.source.path).expanduser()).resolve()
        self.items, _ = discover([root])
        self.labels = _labels(dataset, root)
        self.items = [item for item in self.items if self._belongs(item.name)]
        if not self.items:
            raise UserError(f"{dataset.path}: the split '{name}' of {dataset.name} holds no image of {root}")
        self.names = [item.name for item in self.items]
        number = {group: i for i, group in enumerate(dict.fromkeys(map(self._group, self.names)))}
        self.groups = np.array([number[self._group(name)] for name in self.names])

    def __len__(self):
        return len(self.items)

    def _group(self, name):
        """What must not straddle splits: the file, its folder, or the value of a column of the attributes."""
        group = self.dataset.group
        if group in (None, "folder"):
            return name if group is None else str(PurePosixPath(name).parent)
        if group not in self.labels.get(name, {}):
            raise UserError(f"{self.dataset.path}: group '{group}' is not a column of the attributes for "
                            f"{name}")
        return self.labels[name][group]

    def _belongs(self, name):
        split = self.split
        if split.folder is not None and not PurePosixPath(name).is_relative_to(split.folder):
            return False
        if split.list is not None and name not in _listed(self.dataset.path.parent / split.list):
            return False
        if split.part is not None:
            digest = hashlib.sha256(self._group(name).encode()).digest()
            return split.part[0] <= int.from_bytes(digest[:8]) / 2**64 < split.part[1]
        return True

    def read(self, indices, size=None, fit="stretch"):
        """uint8 [n, H, W, C]; images without a common size need `size`."""
        look = self.dataset.channels, self.dataset.window, size or self.dataset.size, fit
        return np.stack([decode(self.items[i].read(), self.items[i].name, *look) for i in indices])

    def table(self, indices=None):
        """{column: array [n]} of the attributes' CSV, as numbers where all are; None without one."""
        if not self.labels:
            return None
        names = self.names if indices is None else [self.names[i] for i in indices]
        rows = [self.labels.get(name, {}) for name in names]
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
    """{image name: {column: text}} of the attributes' CSV, beside the YAML file or in the folder or zip."""
    if dataset.attributes is None:
        return {}
    path = dataset.path.parent / dataset.attributes
    try:
        if not path.exists() and root.is_dir():
            path = root / dataset.attributes
        data = path.read_bytes() if path.exists() else _archive(root).read(dataset.attributes)
        rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"))))
        first = next(iter(rows[0]))
        return {row[first]: {key: row[key] for key in row if key not in (first, None)} for row in rows}
    except (OSError, KeyError, UnicodeDecodeError, csv.Error, IndexError, zipfile.BadZipFile):
        raise UserError(f"{dataset.path}: attributes {dataset.attributes} is not a readable CSV beside the "
                        "file or "
                        f"in {root}, with a header and the image's name first") from None
