"""Image files wherever they lie, in folders, zips and LMDBs: found, named, and read one by one."""
import functools
import os
import re
import stat
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from .errors import UserError
from .files import ZIP_ERRORS

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".gif")
LMDB_SUFFIXES, LMDB_FILE = (".lmdb", ".mdb"), "data.mdb"    # an LMDB in one file; what its folder holds
MAX_FILE, MIN_VALUE = 512 * 2**20, 32                       # bytes; no encoded image is smaller than that


@dataclass(frozen=True)
class Item:
    """One image file; `name` is its relative path, with slashes; `member` its place inside `path`: a name in
    a zip, a key (in hexadecimal digits) in an LMDB."""
    name: str
    path: Path
    member: str = ""

    def read(self):
        """Its bytes. UserError when they cannot be had."""
        try:
            return entry(self.path, self.member)
        except OSError as error:
            raise UserError(f"{self.name} cannot be read ({error.strerror or error})") from None
        except UserError:
            raise
        except Exception as error:                          # archives raise many types where they are damaged
            where = f" from {self.path.name}" if self.member else ""
            raise UserError(f"{self.name} cannot be read{where} ({error})") from None


def entry(path, member=""):
    """The bytes of a file, or of a member of a zip or an LMDB. Raises what their readers raise."""
    if not member:
        size, read = path.stat().st_size, path.read_bytes
    elif path.suffix.lower() == ".zip":
        archive = _archive(path)
        size, read = archive.getinfo(member).file_size, functools.partial(archive.read, member)
    else:
        with _database(path).begin() as values:
            data = values.get(bytes.fromhex(member))
        if data is None:
            raise KeyError(f"no such key: {bytes.fromhex(member)!r}")
        size, read = len(data), lambda: data
    if size > MAX_FILE:
        raise ValueError(f"larger than {MAX_FILE >> 20} MiB")
    return read()


def _archive(path):
    """An open zip, kept; one a process, as forked readers must not share a file position."""
    return _opened(path, path.stat().st_mtime_ns, os.getpid())


@functools.lru_cache(maxsize=8)
def _opened(path, changed, process):
    return zipfile.ZipFile(path)


def _database(path):
    """An open LMDB (a folder, or one file), kept: a process may open it only once. Nothing is locked, so one
    that somebody has locked can be read, and a forked worker goes on with what it inherits."""
    return _environment(path.resolve())


@functools.lru_cache(maxsize=8)
def _environment(path):
    try:
        import lmdb
    except ImportError:
        raise UserError(f"{path} is an LMDB; reading it needs a package: pip install lmdb") from None
    try:
        database = lmdb.open(str(path), readonly=True, lock=False, readahead=False, subdir=path.is_dir())
    except lmdb.Error as error:
        raise UserError(f"{path} is not a readable LMDB ({error})") from None
    size = (path / LMDB_FILE if path.is_dir() else path).stat().st_size
    whole = (database.info()["last_pgno"] + 1) * database.stat()["psize"]
    if size < whole:                                      # reading past the end would kill the process
        database.close()
        raise UserError(f"{path} is cut short: {size:,} of {whole:,} bytes; copy or fetch it again")
    return database


def discover(paths, leave_out=None):
    """Image files of files, folders, zips and LMDBs -> (list of Items in order, number of files passed over).

    Names are relative to the folder, zip or LMDB they were found in; where two inputs give the same name,
    both get the name of their folder before it. Hidden files count as passed over. UserError for a path that
    is not there, for a zip or LMDB with a member that leaves it, and where there is no image at all.
    leave_out: a folder not to look into.
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
    if (folder / LMDB_FILE).is_file():
        return _values(folder, "")
    items, passed = [], 0

    def refuse(error):
        raise UserError(f"cannot look into {error.filename}: {error.strerror}")

    for root, folders, files in os.walk(folder, onerror=refuse):
        shown = sorted(f for f in folders if not f.startswith("."))
        folders[:] = [f for f in shown if (Path(root) / f).resolve() != leave_out]
        for inner in [f for f in folders if (Path(root) / f / LMDB_FILE).is_file()]:
            folders.remove(inner)
            path = Path(root) / inner
            found, over = _values(path, f"{path.relative_to(folder).as_posix()}/")
            items += found
            passed += over
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
    if path.suffix.lower() in LMDB_SUFFIXES:
        return _values(path, f"{name}/" if zips_named else "")
    return ([Item(name, path)], 0) if path.suffix.lower() in SUFFIXES else ([], 1)


def _members(path, prefix):
    """The image files in a zip; refuses all of it when a member has an absolute path, '..' or is a link."""
    items, passed = [], 0
    try:
        members = _archive(path).infolist()
    except ZIP_ERRORS as error:
        raise UserError(f"{path} is not a readable zip file ({error})") from None
    for member in members:
        name = PurePosixPath(member.filename.replace("\\", "/"))
        if _leaves(name) or stat.S_ISLNK(member.external_attr >> 16):
            raise UserError(f"{path}: the member '{member.filename:.80}' is a link or leaves the zip, or its "
                            "name is too long; such files are refused")
        if member.filename.endswith("/"):                   # is_dir() fails where there is no name
            continue
        hidden = any(part.startswith(".") or part == "__MACOSX" for part in name.parts)
        if hidden or name.suffix.lower() not in SUFFIXES:
            passed += 1
        else:
            items.append(Item(f"{prefix}{name}", path, member.filename))
    return sorted(items, key=lambda item: item.name), passed


def _leaves(name):
    """Whether a member's name would lie outside of its archive's folder, or can be no file's name."""
    long = len(str(name)) > 1000 or any(len(part.encode("utf-8", "replace")) > 240 for part in name.parts)
    return long or name.is_absolute() or ".." in name.parts or re.match("[A-Za-z]:", str(name))


def _values(path, prefix):
    """The values of an LMDB, by key; keys that are no text are named in hexadecimal digits. Values of a few
    bytes (counts, as some writers leave beside the images) are passed over."""
    items, passed = [], 0
    with _database(path).begin(buffers=True) as values:
        for key, value in values.cursor():
            key = bytes(key)
            if len(value) < MIN_VALUE:
                passed += 1
                continue
            name = key.decode("utf-8", "replace").replace("\\", "/")
            name = name if name.isprintable() and "\ufffd" not in name else key.hex()
            if _leaves(PurePosixPath(name)):
                raise UserError(f"{path}: the key '{name:.80}' leaves the LMDB or is too long; such keys "
                                "are refused")
            items.append(Item(f"{prefix}{name}", path, key.hex()))
    return items, passed
