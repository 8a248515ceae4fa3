"""Published PyTorch files, told apart by the names of their tensors and read into our modules.

Sizes, widths and counts come from the tensors. What tensors cannot say (whether a head is progressive) comes
from the options stored beside them, or from the caller.
"""
import pickle
import zipfile
from pathlib import Path

import torch
from torch import nn

from ..errors import UserError
from ..losses import LatentDiscriminator
from ..models.backbones import build_backbone
from ..models.encoders import Encoder
from ..models.features import FaceEmbedding, Lpips, MoCo
from .generator_keys import load_rosinality

RESNET34_STAGES = (0, 3, 7, 13)     # first block of torchvision's layer1...layer4 in the encoders' `body`
WRAPPERS = ("module.encoder_q.", "module.")


class Trunk(nn.Module):
    """A pretrained backbone alone, to start an encoder from."""

    def __init__(self, name):
        super().__init__()
        self.backbone = build_backbone(name, 3)


# ---- encoders: `styles.K.convs.J`, one head after another, and ours, stacked

def _head_names(encoder):
    """(published name, own name, slice of its rows) of every tensor of the heads."""
    for group, (start, heads) in enumerate(zip(encoder.starts, encoder.heads, strict=False)):
        for index in range(heads.count):
            wide = slice(index * heads.width, (index + 1) * heads.width)
            last = slice(index * heads.w_dim, (index + 1) * heads.w_dim)
            published, own = f"styles.{start + index}", f"heads.{group}"
            for layer in range(len(heads.weights)):
                yield f"{published}.convs.{2 * layer}.weight", f"{own}.weights.{layer}", wide
                yield f"{published}.convs.{2 * layer}.bias", f"{own}.biases.{layer}", wide
            yield f"{published}.linear.weight", f"{own}.linear_weight", last
            yield f"{published}.linear.bias", f"{own}.linear_bias", last


def _body_name(own):
    """The published name of a tensor outside the heads."""
    if own.startswith("lateral."):
        _, index, kind = own.split(".")
        return f"latlayer{int(index) + 1}.{kind}"
    return own.removeprefix("backbone.")


def encoder_architecture(state, progressive=False):
    """Encoder's arguments, read from a published encoder's tensors."""
    face = "input_layer.0.weight" in state
    first = state["input_layer.0.weight" if face else "conv1.weight"]
    depth = sum(name.startswith("styles.0.convs.") and name.endswith("weight") for name in state)
    w_dim, width = state["styles.0.linear.weight"].shape
    return dict(backbone="irse50" if face else "resnet34",
                head="pyramid" if "latlayer1.weight" in state else "single", progressive=progressive,
                n_styles=1 + max(int(name.split(".")[1]) for name in state if name.startswith("styles.")),
                w_dim=w_dim, in_channels=first.shape[1], input_size=[16 * 2**depth] * 2,
                head_channels=None if width == w_dim else width)


def read_encoder(state, progressive=False):
    """A published encoder's state dict -> Encoder in eval mode; UserError for a tensor missing or left over.

    Its input is taken as square, which no tensor tells; Encoder.resize changes that."""
    left, rows = dict(state), {}
    try:
        with torch.device("meta"):
            encoder = Encoder(**encoder_architecture(state, progressive))
        for published, name, _ in _head_names(encoder):
            rows.setdefault(name, []).append(left.pop(published))
        own = {}
        for name in encoder.state_dict():
            own[name] = torch.cat(rows.pop(name)) if name in rows else left.pop(_body_name(name)).clone()
        encoder.load_state_dict(own, assign=True)
    except (KeyError, RuntimeError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise UserError(f"it holds no complete encoder of a known shape: {reason}") from None
    if left:
        raise UserError(f"the encoder holds a tensor that is none of its own: {next(iter(left))}")
    return encoder.eval().requires_grad_(False)


def published_encoder(encoder):
    """The state dict of an Encoder in the published layout (the inverse of `read_encoder`)."""
    own = encoder.state_dict()
    state = {_body_name(name): value for name, value in own.items() if not name.startswith("heads.")}
    return state | {published: own[name][rows] for published, name, rows in _head_names(encoder)}


# ---- the other networks

def _fill(module, state, optional=()):
    """`module` with a state dict of its own names; UserError for others, and for missing ones."""
    try:
        report = module.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise UserError(f"a tensor has an unknown size: {str(error).splitlines()[-1].strip()}") from None
    wrong = [name for name in report.missing_keys if name not in optional] + report.unexpected_keys
    if wrong:
        raise UserError(f"no complete network of this layout: {wrong[0]} is missing, or one too many")
    return module.eval().requires_grad_(False)


def _face(state):
    """ArcFace's IR-SE50 or CurricularFace's IR-101; without its output layer, a trunk."""
    backbone = "irse50" if "body.0.res_layer.5.fc1.weight" in state else "ir101"
    own = {name if name.startswith("output_layer.") else f"backbone.{name}": v for name, v in state.items()}
    if "output_layer.3.weight" not in state:
        return {"trunk": _fill(Trunk(backbone), own)}
    module = _fill(FaceEmbedding(backbone, affine="output_layer.4.weight" in state), own)
    return {"identity": module, "trunk": module}


def _resnet34(state):
    """torchvision's ResNet34 as the trunk of an encoder, whose PReLU after the stem starts afresh."""
    own = {}
    for name, value in state.items():
        if name.startswith("layer"):
            layer, block, rest = name.split(".", 2)
            name = f"body.{RESNET34_STAGES[int(layer[5:]) - 1] + int(block)}.{rest}"
        if not name.startswith("fc."):
            own[f"backbone.{name}"] = value
    return {"trunk": _fill(Trunk("resnet34"), own, optional=("backbone.relu.weight",))}


def _moco(state):
    return {"moco": _fill(MoCo(), {name: v for name, v in state.items() if not name.startswith("fc.")})}


def _alexnet(state):
    lpips = Lpips.from_alexnet(state).requires_grad_(False)
    return {"lpips": lpips, "perceptual": lpips}


def _latent_discriminator(state):
    width, w_dim = state["mlp.0.weight"].shape
    return {"latent_discriminator": _fill(LatentDiscriminator(w_dim, width), state)}


def _below(state, prefix):
    return {name[len(prefix):]: value for name, value in state.items() if name.startswith(prefix)}


LAYOUTS = (
    # what it is called                      a tensor that tells it            its reader -> {part: module}
    ("pSp, e4e or ReStyle inverter",         "encoder.styles.0.linear.weight", None),
    ("pSp, e4e or ReStyle encoder",          "styles.0.linear.weight",         None),
    ("StyleGAN2 generator (rosinality)",     "convs.0.conv.weight",            None),
    ("face network (ArcFace or similar)",    "body.0.res_layer.0.weight",      _face),
    ("ResNet50 (MoCo)",                      "layer1.0.conv3.weight",          _moco),
    ("ResNet34 (torchvision)",               "layer1.0.conv1.weight",          _resnet34),
    ("AlexNet (torchvision)",                "features.10.weight",             _alexnet),
    ("latent discriminator (e4e)",           "mlp.6.weight",                   _latent_discriminator),
)


def layout_of(content):
    """(its row in LAYOUTS, state dict) of a file's content; UserError, with some names, if none fits."""
    content = content if isinstance(content, dict) else {}
    nested = [content[key] for key in ("state_dict", "g_ema") if isinstance(content.get(key), dict)]
    state = nested[0] if nested else content
    state = {name: value for name, value in state.items() if isinstance(name, str) and torch.is_tensor(value)}
    for prefix in WRAPPERS:
        state = _below(state, prefix) or state
    for row in LAYOUTS:
        if row[1] in state:
            return row, state
    raise UserError(f"no known layout; known: {', '.join(row[0] for row in LAYOUTS)}; this one holds "
                    f"{', '.join(map(str, list(state or content)[:3])) or 'nothing'}, ...")


def _modules(content, row, state, progressive):
    """{part: module} of a file's content."""
    name, key, read = row
    if read is not None:
        return read(state)
    whole, parts = key.startswith("encoder."), {}
    if "styles" in key:
        parts["encoder"] = read_encoder(_below(state, "encoder.") if whole else state, progressive)
    if whole or "styles" not in key:
        decoder = _below(state, "decoder.") if whole else state
        parts["generator"] = load_rosinality(decoder, content.get("latent_avg"))
    return parts


# ---- files

def read_file(path):
    """What torch.save wrote to `path`, tensors and plain values only; UserError for anything else."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except pickle.UnpicklingError:
        raise UserError(f"{path} holds more than tensors and plain values; opening such a file can run code, "
                        "so it stays closed") from None
    except (RuntimeError, EOFError, ValueError) as error:
        raise UserError(f"{path} is damaged, or no PyTorch file: {str(error).splitlines()[0]:.100}") from None


def read_published(source, progressive=None):
    """A file's path or content -> {"layout", its parts, "latent_avg", "options"}; modules in eval mode.

    Parts: encoder, generator, identity, moco, lpips (also perceptual), trunk (has a `backbone`),
    latent_discriminator. progressive: whether heads predict offsets (None: as the options say, else no)."""
    named = isinstance(source, (str, Path))
    content = read_file(source) if named else source
    try:
        row, state = layout_of(content)
        options = content["opts"] if isinstance(content.get("opts"), dict) else {}
        if progressive is None:
            kind = str(options.get("encoder_type", ""))
            progressive = "Progressive" in kind or kind == "Encoder4Editing"
        parts = _modules(content, row, state, progressive)
    except UserError as error:
        raise UserError(f"{source}: {error}" if named else str(error)) from None
    return {"layout": row[0], **parts, "latent_avg": content.get("latent_avg"), "options": options}


def load(path, kind=None, device="cpu", progressive=None):
    """(module, config) of a published file's part `kind` (a judge is what it judges; None: the first part).

    config: kind, architecture, generator (None: these files name none), facts, and `parts`, all modules."""
    found = read_published(path, progressive)
    parts = {name: part.to(device) for name, part in found.items() if isinstance(part, nn.Module)}
    kind = next(iter(parts)) if kind is None else kind.removeprefix("judge_")
    if kind not in parts:
        raise UserError(f"{path}: a {found['layout']}; it holds {' and '.join(parts)}, no network of kind "
                        f"'{kind}'")
    config = {"kind": kind, "architecture": getattr(parts[kind], "config", {}), "generator": None,
              "facts": {"layout": found["layout"], "options": found["options"]}, "parts": parts}
    return parts[kind], config
