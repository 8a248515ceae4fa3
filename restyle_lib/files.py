"""Writing files so that a final name never holds half a file, and the folders that the library uses."""
import contextlib
import io
import json
import math
import os
import tempfile
import zipfile
from pathlib import Path

from .errors import UserError

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parent
ASSETS = PACKAGE / "assets"
# what zipfile raises at a damaged archive
ZIP_ERRORS = (zipfile.BadZipFile, NotImplementedError, OSError, ValueError, LookupError, EOFError)


def cache_dir():
    """The cache folder: RESTYLE_CACHE, or ~/.cache/restyle."""
    path = Path(os.environ.get("RESTYLE_CACHE") or Path.home() / ".cache" / "restyle")
    with writing(path, "set RESTYLE_CACHE to a writable folder"):
        path.mkdir(parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def atomic(path, mode="wb"):
    """Opens a temporary neighbour of `path`; it takes the final name only when the block ends well."""
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.fchmod(handle, 0o644)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}; choose a writable folder") from None
    try:
        encoding = None if "b" in mode else "utf-8"
        with os.fdopen(handle, mode, encoding=encoding) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        _discard(temporary)
        raise UserError(f"cannot write {path}: {error.strerror or error}; finished work is kept") from None
    except BaseException:
        _discard(temporary)
        raise


@contextlib.contextmanager
def writing(place, kept):
    """A full or read-only disk, met in the block, is a UserError that says what is `kept`."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write into {place}: {error.strerror or error}; {kept}") from None


def write_array(stream, array):
    """An array as .npy by Python's own writes: numpy's, into a file, do not notice a full disk."""
    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    stream.write(buffer.getbuffer())


def _discard(path):
    with contextlib.suppress(OSError):
        os.unlink(path)


def is_zip(path):
    """Whether a file is a zip; one that is too damaged to tell is none."""
    try:
        return zipfile.is_zipfile(path)
    except ZIP_ERRORS:                                    # spanning several disks, it says
        return False


def check_archive(path, growth=1):
    """Refuses a zip whose members say that they unpack to more than `growth` times its size, and 64 MiB."""
    if is_zip(path):
        try:
            with zipfile.ZipFile(path) as archive:
                size = sum(member.file_size for member in archive.infolist())
        except ZIP_ERRORS as error:
            raise UserError(f"{path} is a damaged archive ({error})") from None
        if size > max(growth * os.path.getsize(path), 64 * 2**20):
            raise UserError(f"{path} would unpack to {size:,} bytes, far more than it has; such archives are "
                            "refused")


def read_arrays(path):
    """{name: array} of an .npz of plain arrays, each as large as its file says. Raises what numpy raises, and
    UserError for one that grows too much."""
    import numpy as np

    check_archive(path, 200)
    found = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            with archive.open(member) as stream:
                version = np.lib.format.read_magic(stream)
                head = np.lib.format.read_array_header_1_0 if version == (1, 0) else \
                    np.lib.format.read_array_header_2_0
                shape, _, kind = head(stream)
                if math.prod(shape) * kind.itemsize > member.file_size:
                    raise ValueError(f"{member.filename} is shorter than its header says")
            with archive.open(member) as stream:
                found[member.filename.removesuffix(".npy")] = np.lib.format.read_array(stream)
    return found


def write_json(path, value):
    """Writes `value` as indented JSON, atomically."""
    with atomic(path, "w") as stream:
        json.dump(value, stream, indent=1, sort_keys=False)
        stream.write("\n")
