"""StyleGAN2-ADA's .pkl files (NVIDIA, PyTorch), read without running anything that is in them.

Such a file holds its networks as source text to execute. Here that text is never looked at: an unpickler
that knows a handful of names rebuilds tensors and plain values, and leaves every network an inert Record. Any
other name refuses the file. The networks' own sizes then come from the tensors.
"""
import io
import math
import pickle
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import torch

from ..errors import UserError

NUMBERS = {f"{kind}{size}" for kind in "iuf" for size in (1, 2, 4, 8)} | {"b1"}
SETTINGS = {"conv_clamp", "architecture", "activation", "group_size", "num_channels", "use_noise",
            "bias_gain", "c_dim"}
TENSORFLOW = ("dnnlib.tflib", "tflib", "tensorflow")


@dataclass(frozen=True, eq=False, slots=True)
class Record:
    """A pickled object as data: its class's name, and its attributes."""
    name: str
    state: dict


class _Named:
    """Stands for a name of the file: can be called, and cannot be changed by the file."""
    __slots__ = ("function",)

    def __init__(self, function):
        object.__setattr__(self, "function", function)

    def __call__(self, *args):
        return self.function(*args)

    def __setattr__(self, *_):
        raise pickle.UnpicklingError("it tries to change a name")

    __setstate__ = __setattr__


def _record(meta):
    return Record(str(meta["class_name"]), dict(meta["state"]))


def _storage(data):
    """The bytes of one torch.save -> the flat tensor in them."""
    storage = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return torch.empty(0, dtype=storage.dtype).set_(storage._untyped_storage)


def _tensor(flat, offset, size, stride, *_):
    if math.prod(size) > flat.numel():
        raise pickle.UnpicklingError("a tensor is larger than its storage")
    return flat.as_strided(size, stride, offset)


class _Kind:
    """A numpy dtype by its name, or an array, whose values no network of ours needs."""
    __slots__ = ("name",)

    def __init__(self, name="", *_):
        self.name = str(name)

    def __setstate__(self, state):
        pass


def _number(kind, data):
    if kind.name not in NUMBERS:
        raise pickle.UnpicklingError(f"a number of kind {kind.name}")
    return np.frombuffer(data, f"<{kind.name}", 1)[0].item()


def _bytes(text, encoding):
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes as {encoding}")
    return text.encode("latin1")


KNOWN = {
    "torch_utils.persistence._reconstruct_persistent_obj": _record,
    "collections.OrderedDict": OrderedDict,
    "torch.storage._load_from_bytes": _storage,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
    "numpy.dtype": _Kind,
    "numpy.ndarray": _Kind,
    "numpy.core.multiarray._reconstruct": _Kind,
    "numpy._core.multiarray._reconstruct": _Kind,
    "numpy.core.multiarray.scalar": _number,
    "numpy._core.multiarray.scalar": _number,
    "_codecs.encode": _bytes,                                  # how protocol 2 writes bytes
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if f"{module}.{name}" == "dnnlib.util.EasyDict":
            return dict                                        # made by __new__, so a class it must be
        if f"{module}.{name}" in KNOWN:
            return _Named(KNOWN[f"{module}.{name}"])
        if module.startswith(TENSORFLOW):
            raise UserError("a TensorFlow pickle of StyleGAN or StyleGAN2, which holds code; take the same "
                            "network as a .pkl of stylegan2-ada-pytorch, or a .pt in rosinality's layout")
        raise UserError(f"a pickle that calls {module}.{name}; opening it could run code, so it stays "
                        "closed; accepted: networks of stylegan2-ada-pytorch, files of plain tensors")


def read_pickle(path):
    """{name: state dict} of the networks of a .pkl, with their "settings" -> {"G_ema", "D", ..., "settings"}.

    UserError for a file that names anything else than tensors, plain values and NVIDIA's persistent objects,
    and for a damaged one. Nothing of the file runs."""
    try:
        with open(path, "rb") as stream:
            content = _Unpickler(stream).load()
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except Exception as error:                                 # whatever bytes can make an unpickler raise
        words = " ".join(str(error).split())[:100]
        raise UserError(f"{path} is a damaged pickle, or none that can be read without running it: {words}; "
                        "fetch it again") from None
    content = content if isinstance(content, dict) else {"G_ema": content}
    networks = {name: part for name, part in content.items() if isinstance(part, Record)}
    if not networks:
        raise UserError(f"{path}: a pickle without networks of stylegan2-ada-pytorch; it holds "
                        f"{', '.join(map(str, content)) or 'nothing'}")
    return {**{name: tensors_of(part) for name, part in networks.items()},
            "settings": {name: settings_of(part) for name, part in networks.items()}}


def _walk(record, prefix=""):
    """Yields (dotted name, Record) of a network and all its parts, as torch's named_modules."""
    yield prefix, record
    for name, part in (record.state.get("_modules") or {}).items():
        if isinstance(part, Record):
            yield from _walk(part, f"{prefix}{name}.")


def tensors_of(record):
    """The state dict of a Record."""
    return {f"{prefix}{name}": value for prefix, part in _walk(record)
            for table in ("_parameters", "_buffers") for name, value in (part.state.get(table) or {}).items()
            if torch.is_tensor(value)}


def settings_of(record):
    """{attribute: its values over all parts} of plain attributes that change what is computed."""
    found = {"class": {record.name}}
    for _, part in _walk(record):
        for name in SETTINGS & part.state.keys():
            if isinstance(value := part.state[name], (str, int, float, type(None))):
                found.setdefault(name, set()).add(value)
    return found
