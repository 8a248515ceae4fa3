"""What a file is, by its content: the one place that decides which loader reads it."""
import zipfile
from pathlib import Path

from ..errors import UserError
from .own import read_config

NAMES = {
    "own":         "a model folder of this library",
    "safetensors": "a bare .safetensors file; give its folder, which holds config.json too",
    "torch":       "a PyTorch file",
    "pickle":      "a Python pickle, as NVIDIA publishes",
    "html":        "a web page, so the download failed (a quota or a confirmation page); fetch it again",
    "empty":       "an empty file, so the download failed; fetch it again",
    "unknown":     "a file of an unknown kind",
}


def kind_of(path):
    """'own', 'safetensors', 'torch', 'pickle', 'html', 'empty' or 'unknown'; UserError for a missing path."""
    path = Path(path)
    if path.is_dir():
        return "own" if (path / "config.json").exists() else "unknown"
    try:
        with open(path, "rb") as stream:
            head = stream.read(512)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    if not head:
        return "empty"
    if head.lstrip()[:1] == b"<":
        return "html"
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return "torch" if any(name.endswith("data.pkl") for name in archive.namelist()) else "unknown"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 100_000_000:      # a JSON header's length
        return "safetensors"
    if head[:1] == b"\x80":                    # a pickle; an old PyTorch file begins with a magic number's
        return "torch" if b"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19" in head[:32] else "pickle"
    return "unknown"


def describe(path):
    """One readable line about a file: its kind, and which network or layout it holds."""
    kind, more = kind_of(path), ""
    if kind == "own":
        more = f": {read_config(path)['kind']}"
    if kind == "torch":
        from .published import layout_of, read_file
        try:
            more = f": {layout_of(read_file(path))[0][0]}"
        except UserError as error:
            more = f" of {error}"
    return f"{path} is {NAMES[kind]}{more}"
