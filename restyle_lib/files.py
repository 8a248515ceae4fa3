"""Writing files so that a final name never holds half a file, and the folders that the library uses."""
import contextlib
import json
import os
import tempfile
from pathlib import Path

from .errors import UserError

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parent
ASSETS = PACKAGE / "assets"


def cache_dir():
    """The cache folder: RESTYLE_CACHE, or ~/.cache/restyle."""
    path = Path(os.environ.get("RESTYLE_CACHE") or Path.home() / ".cache" / "restyle")
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


def _discard(path):
    with contextlib.suppress(OSError):
        os.unlink(path)


def write_json(path, value):
    """Writes `value` as indented JSON, atomically."""
    with atomic(path, "w") as stream:
        json.dump(value, stream, indent=1, sort_keys=False)
        stream.write("\n")
