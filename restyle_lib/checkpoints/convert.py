"""`convert FILE OUT`: a published file in this library's own format, tensor for tensor."""
import hashlib
import json
from pathlib import Path

from torch import nn

from ..errors import UserError
from ..models.stylegan2 import fingerprint
from .own import save_model
from .published import read_published


def convert(path, out):
    """Writes a published file's networks as our folders -> [(kind, folder)], the first one first.

    One network goes into `out` itself, several into `out`/encoder, `out`/generator, ...; both can be given
    wherever a model is asked for. Tensors stay as they are (float32) and so does the generator's fingerprint.
    What the file lacked and how it was drawn, its options and its sha256 are kept as facts."""
    path, out = Path(path), Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is there already; give a new folder, so that nothing is overwritten")
    found = read_published(path)
    parts = {}
    for kind, part in found.items():
        if isinstance(part, nn.Module) and part not in parts.values():
            parts[kind] = part
    with open(path, "rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    facts = {"layout": found["layout"], **found["facts"], "source": path.name, "source_sha256": digest,
             "options": json.loads(json.dumps(found["options"], default=str))}
    mark = fingerprint(parts["generator"]) if "generator" in parts else None
    written = []
    for kind, part in parts.items():
        folder = out / kind if len(parts) > 1 else out
        save_model(folder, part, kind, generator=mark, half=False, **facts)
        written.append((kind, folder))
    return written
