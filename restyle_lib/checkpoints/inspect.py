"""What a file is, by its content: the one place that decides which loader reads it, and what it holds."""
import re
import zipfile
from pathlib import Path

from ..errors import UserError
from ..files import ZIP_ERRORS, is_zip
from .own import read_config

AGAIN = "so the download failed; fetch it again"
NAMES = {
    "own":         "a model folder of this library",
    "safetensors": "a bare .safetensors file; give its folder, which holds config.json too",
    "torch":       "a PyTorch file",
    "pickle":      "a Python pickle",
    "html":        f"a web page (a quota or a confirmation page), {AGAIN}",
    "json":        f"a text in JSON (perhaps a server's message), {AGAIN}",
    "empty":       f"an empty file, {AGAIN}",
    "cut":         "a part of an archive: the download stopped early; fetch it again",
    "script":      "a TorchScript archive, which holds code; take the network's state_dict",
    "archive":     "a packed archive; unpack it first",
    "numpy":       "a NumPy array; accepted where a direction is (edit --direction)",
    "npz":         "NumPy arrays; accepted where a direction or a trajectory is",
    "image":       "a picture; give it to invert",
    "hdf5":        "an HDF5 file (Keras, TensorFlow); take the network as a PyTorch file",
    "folder":      "a folder without config.json; accepted: a model folder of this library, or a file",
    "unknown":     "a file of an unknown kind",
}
MAGIC = {b"\x93NUMPY": "numpy", b"\x89PNG": "image", b"\xff\xd8\xff": "image", b"\x89HDF": "hdf5",
         b"\x1f\x8b": "archive", b"BZh": "archive", b"7z\xbc\xaf": "archive", b"Rar!": "archive"}


def kind_of(path):
    """A key of NAMES; UserError for a missing path."""
    path = Path(path)
    if path.is_dir():
        return "own" if (path / "config.json").exists() else "folder"
    try:
        with open(path, "rb") as stream:
            head = stream.read(512)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    if not head:
        return "empty"
    if head.lstrip()[:1] in (b"<", b"{"):
        return "html" if head.lstrip()[:1] == b"<" else "json"
    if is_zip(path):
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        except ZIP_ERRORS:
            return "cut"
        if any(name.endswith("/constants.pkl") for name in names):
            return "script"
        tells = {"torch": "data.pkl", "npz": ".npy"}
        return next((kind for kind, end in tells.items() if any(n.endswith(end) for n in names)), "archive")
    if head[:4] == b"PK\x03\x04":
        return "cut"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 100_000_000:      # a JSON header's length
        return "safetensors"
    if head[:1] == b"\x80":
        from .published import is_torch
        return "torch" if is_torch(head) else "pickle"
    return next((kind for magic, kind in MAGIC.items() if head.startswith(magic)), "unknown")


def describe(path):
    """Readable lines about a file: its kind and size, each network in it, what matched, what is not read.

    UserError where a network is there but does not fit, with what matched and what did not."""
    path, kind = Path(path), kind_of(path)
    if kind == "own":
        config = read_config(path)
        size = config["file"].get("bytes", 0)
        rest = [f"  {words(config['kind'], config['architecture'])}",
                *([f"  generator {config['generator'][:12]}"] if config.get("generator") else [])]
        return [f"{path} is {NAMES[kind]}: {config['kind']}, {size / 1e6:.1f} MB", *rest]
    if kind in ("torch", "numpy", "npz") and (found := _direction(path)):
        return [f"{path} is {found}"]
    if kind not in ("torch", "pickle"):
        return [f"{path} is {NAMES[kind]}"]
    from torch import nn

    from .published import read_published
    found, told = read_published(path), {}
    parts = {name: part for name, part in found.items() if isinstance(part, nn.Module)}
    lines = [f"{path} is {NAMES[kind]}: {found['layout']}, {path.stat().st_size / 1e6:.1f} MB"]
    for name, part in parts.items():
        told.setdefault(id(part), name)
        also = "" if told[id(part)] == name else f" (the same network as {told[id(part)]})"
        lines.append(f"  {words(name, part.config) if not also else name + also}")
        if not also:
            lines.append(f"    {len(part.state_dict())} tensors match, 0 missing, 0 unexpected")
    lines += [f"  {what.replace('_', ' ')}: {told}" for what, told in found["facts"].items()]
    lines += [f"  not read: {', '.join(found['unread'])}"] if found["unread"] else []
    return lines + ([f"  {misfit}"] if (misfit := mismatch(parts)) else [])


def words(kind, config):
    """A network's sizes in words, by its kind and configuration."""
    c = config
    if kind == "generator":
        widths = ", ".join(f"{side}: {width}" for side, width in c["channels"].items())
        clamp = f", clamped at {c['conv_clamp']:g}" if c.get("conv_clamp") else ""
        return (f"generator: {c['resolution']} x {c['resolution']}, {c['image_channels']} channels, "
                f"{2 * len(c['channels'])} styles of {c['w_dim']}, z of {c['z_dim']}, {c['mapping_layers']} "
                f"mapping layers{clamp}; widths {widths}")
    if kind == "encoder" and "backbone" in c:
        sees = "an image (single pass)" if c["in_channels"] in (1, 3) else "an image and its reconstruction"
        return (f"encoder: {c['backbone']}, {c['head']} head{', progressive' * bool(c['progressive'])}, "
                f"{c['n_styles']} styles of {c['w_dim']}, {c['in_channels']} channels: sees {sees}, "
                f"{' x '.join(map(str, c['input_size']))}")
    plain = {name: value for name, value in c.items() if isinstance(value, (str, int, float, bool))}
    return f"{kind}: " + (", ".join(f"{name} {value}" for name, value in plain.items()) or "no options")


def mismatch(parts):
    """A sentence where a file's encoder and generator have other sizes, else ''."""
    if not {"encoder", "generator"} <= parts.keys():
        return ""
    sizes = [(part.n_styles, part.w_dim) for part in (parts["encoder"], parts["generator"])]
    return "" if sizes[0] == sizes[1] else (
        f"they do not fit: the encoder gives {sizes[0][0]} styles of {sizes[0][1]}, the generator takes "
        f"{sizes[1][0]} of {sizes[1][1]}")


def _direction(path):
    """What a small file of latent directions is, in words, or ''."""
    if path.stat().st_size > 50e6:
        return ""
    from .. import directions
    try:
        found = directions.load(path)
    except UserError:
        return ""
    first = next(iter(found.values()))
    kinds = re.sub(r", component.*", " components", first.found) or "a direction"
    return (f"{len(found)} direction{'s' * (len(found) > 1)} for latents {list(first.vector.shape)} "
            f"({kinds}); give it to edit --direction")
