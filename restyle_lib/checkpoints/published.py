"""Published files, told apart by the names of their tensors and read into our modules.

Sizes, widths and counts come from the tensors. What tensors cannot say (whether a head is progressive) comes
from the options stored beside them, or from the caller.
"""
import argparse
import contextlib
import pickle
import re
import zipfile
from pathlib import Path

import torch
from torch import nn

from ..errors import UserError
from ..files import check_archive, is_zip
from ..losses import LatentDiscriminator
from ..models.backbones import Trunk
from ..models.features import FaceEmbedding, MoCo
from ..models.lpips import Lpips, lpips_weights
from .encoder_keys import read_encoder
from .fit import fit
from .generator_keys import load_discriminator, load_nvidia, load_rosinality
from .nvidia import read_pickle

RESNET34_STAGES = (0, 3, 7, 13)     # first block of torchvision's layer1...layer4 in the encoders' `body`
WRAPPERS = ("module.encoder_q.", "module.")
MAIN = ("state_dict", "g_ema", "G_ema", "g", "G")             # where a file keeps its network, the best first
BESIDE = ("d", "D", "discriminator_state_dict")               # and a second one


# ---- readers: (state dict, what else the file says) -> {part: module}; facts go into given["facts"]

def _inverter(state, given):
    return _encoder(_below(state, "encoder."), given) | _rosinality(_below(state, "decoder."), given)


def _encoder(state, given):
    return {"encoder": read_encoder(state, given["progressive"])}


def _rosinality(state, given):
    network, facts = load_rosinality(state, given["latent_avg"])
    given["facts"] |= facts
    return {"generator": network}


def _nvidia(state, given):
    network, facts = load_nvidia(state, given["settings"].get("G_ema") or given["settings"].get("G"))
    given["facts"] |= facts
    return {"generator": network}


def _discriminator(state, given):
    return {"discriminator": load_discriminator(state, given["settings"].get("D"))}


def _face(state, given):
    """ArcFace's IR-SE50 or CurricularFace's IR-101; without its output layer, a trunk."""
    backbone = "irse50" if "body.0.res_layer.5.fc1.weight" in state else "ir101"
    own = {name if name.startswith("output_layer.") else f"backbone.{name}": v for name, v in state.items()}
    if "output_layer.3.weight" not in state:
        return {"trunk": fit("trunk", Trunk(backbone), own)}
    network = FaceEmbedding(backbone, affine="output_layer.4.weight" in state)
    network = fit(f"face network ({backbone})", network, own)
    return {"identity": network, "trunk": network}


def _resnet34(state, given):
    """torchvision's ResNet34 as the trunk of an encoder, whose PReLU after the stem starts afresh."""
    own = {}
    for name, value in _without(state, "fc.").items():
        if match := re.fullmatch(r"layer([1-4])\.(\d+)\.(.+)", name):
            name = f"body.{RESNET34_STAGES[int(match[1]) - 1] + int(match[2])}.{match[3]}"
        own[f"backbone.{name}"] = value
    return {"trunk": fit("ResNet34", Trunk("resnet34"), own, optional=("backbone.relu.weight",))}


def _moco(state, given):
    return {"moco": fit("ResNet50", MoCo(), _without(state, "fc."))}


def _lpips(network):
    def read(state, given):
        own = {name: value for name, value in state.items() if name.startswith("features.")}
        own |= {f"weights.{i}": weight for i, weight in enumerate(lpips_weights(network))}
        module = fit(f"LPIPS backbone ({network})", Lpips(network), own)
        return {"lpips": module, "perceptual": module}
    return read


def _latent_discriminator(state, given):
    width, w_dim = state["mlp.0.weight"].shape
    return {"latent_discriminator": fit("latent discriminator", LatentDiscriminator(w_dim, width), state)}


def _below(state, prefix):
    return {name[len(prefix):]: value for name, value in state.items() if name.startswith(prefix)}


def _without(state, prefix):
    return {name: value for name, value in state.items() if not name.startswith(prefix)}


LAYOUTS = (
    # what it is called                      a tensor that tells it            its reader
    ("pSp, e4e or ReStyle inverter",         "encoder.styles.0.linear.weight", _inverter),
    ("pSp, e4e or ReStyle encoder",          "styles.0.linear.weight",         _encoder),
    ("StyleGAN2 generator (rosinality)",     "convs.0.conv.weight",            _rosinality),
    ("StyleGAN2-ADA generator (NVIDIA)",     "synthesis.b4.const",             _nvidia),
    ("StyleGAN2 discriminator (rosinality)", "final_linear.1.weight",          _discriminator),
    ("StyleGAN2-ADA discriminator (NVIDIA)", "b4.out.weight",                  _discriminator),
    ("face network (ArcFace or similar)",    "body.0.res_layer.0.weight",      _face),
    ("ResNet50 (MoCo)",                      "layer1.0.conv3.weight",          _moco),
    ("ResNet34 (torchvision)",               "layer1.0.conv1.weight",          _resnet34),
    ("VGG16 (torchvision)",                  "features.28.weight",             _lpips("vgg")),
    ("AlexNet (torchvision)",                "features.10.weight",             _lpips("alex")),
    ("SqueezeNet (torchvision)",             "features.12.squeeze.weight",     _lpips("squeeze")),
    ("latent discriminator (e4e)",           "mlp.6.weight",                   _latent_discriminator),
)
FOREIGN = (
    # names of its tensors, and what it is, with what to do instead
    (r"(decoder\.)?synthesis\.(input\.(freqs|weight)|L\d+_).*",
     "a StyleGAN3 network, whose latents and layers are of another kind; its encoders and edits are in "
     "yuval-alaluf/stylegan3-editing, here take a StyleGAN2"),
    (r"synthesis\.layer\d+\.epilogue\..*",
     "a StyleGAN1 generator (IDInvert, genforce); take the domain's StyleGAN2, and train a domain-guided "
     "encoder on it (notebook 12)"),
    (r"block\d+\.(conv\d?|fc|wscale\d)\.(weight|bias)",
     "IDInvert's encoder, for a StyleGAN1; train a domain-guided encoder on a StyleGAN2 (notebook 12)"),
    (r"(hypernet|residue|grid_align)\..*",
     "a HyperStyle or HFGI file, which changes the generator's weights or maps as well; take a ReStyle, pSp "
     "or e4e file"),
    (r"(encoder\.)?(linear|output_layer_2\.\d)\.weight",
     "an encoder into W, with one style for all layers; take the W+ encoder of the same project"),
    (r"lin\d\.model\.1\.weight",
     "the linear layers of LPIPS, which are in the package lpips already; give the file of its backbone "
     "(AlexNet, VGG16 or SqueezeNet)"),
)
STRANGE = (                         # bytes inside a closed PyTorch file, and what it is
    (b"synthesis.input.freqs", FOREIGN[0][1]),
    (b"synthesis.L0_", FOREIGN[0][1]),
    (b"hypernet.", FOREIGN[3][1]),
)


def _tensors(content, prefix=""):
    found = {k: value for k, value in content.items() if isinstance(k, str) and torch.is_tensor(value)}
    for wrapper in WRAPPERS:
        found = _below(found, wrapper) or found
    return {f"{prefix}{name.removeprefix(prefix)}": value for name, value in found.items()}


def _recognise(state):
    return next((row for row in LAYOUTS if row[1] in state), None)


def layout_of(content):
    """(its row in LAYOUTS, state dict) of a file's content; UserError, with some names, if none fits."""
    content = content if isinstance(content, dict) else {}
    nested = [content[key] for key in (*MAIN, *BESIDE) if isinstance(content.get(key), dict) and content[key]]
    if all(isinstance(content.get(key), dict) for key in ("encoder", "decoder")):     # GANInverter's way
        state = _tensors(content["encoder"], "encoder.") | _tensors(content["decoder"], "decoder.")
        state.pop("encoder.latent_avg", None)
    else:
        state = _tensors(nested[0] if nested else content)
    if row := _recognise(state):
        return row, state
    for pattern, words in FOREIGN:
        if any(re.fullmatch(pattern, name) for name in state):
            raise UserError(words)
    raise UserError(f"no known layout; known: {', '.join(row[0] for row in LAYOUTS)}; this one holds "
                    f"{', '.join(map(str, list(state or content)[:3])) or 'nothing'}, ...")


# ---- files

def read_file(path):
    """A file's content, tensors and plain values only; UserError for anything else. Nothing of it runs."""
    head = _head(path)
    if head[:1] == b"\x80" and not is_torch(head):
        return read_pickle(path)
    torch.serialization.add_safe_globals([argparse.Namespace])       # rosinality's options: names and values
    check_archive(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip(path))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except pickle.UnpicklingError as error:
        known = next((words for mark, words in STRANGE if mark in _names(path)), None)
        name = re.search(r"GLOBAL (\S+)", str(error))
        raise UserError(f"{path} holds {known}" if known else
                        f"{path} holds more than tensors and plain values"
                        f"{f' ({name[1]})' if name else ''}; opening such a file can run code, so it stays "
                        "closed; ask for its state_dict alone") from None
    except Exception as error:                                       # damaged bytes raise many types
        words = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{path} is damaged, or no PyTorch file: {words:.100}; fetch it again") from None


def _head(path):
    try:
        with open(path, "rb") as stream:
            return stream.read(64)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None


def is_torch(head):
    """Whether a pickle begins with the magic number of torch.save's old format."""
    return b"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19" in head[:32]


def _names(path):
    """The bytes of a PyTorch archive's pickle, in which the names of its tensors stand."""
    if is_zip(path):
        with contextlib.suppress(Exception), zipfile.ZipFile(path) as archive:        # damaged: no names
            return b"".join(archive.read(n) for n in archive.namelist() if n.endswith("/data.pkl"))
    return b""


def read_published(source, progressive=None):
    """A file's path or content -> {"layout", its parts, "options", "facts"}; modules in eval mode.

    Parts: encoder, generator, discriminator, identity, moco, lpips (also perceptual), trunk (has a
    `backbone`), latent_discriminator. progressive: whether heads predict offsets (None: as the options say,
    else no). facts: what the file lacked and how it was drawn; `unread`: what else it holds."""
    named = isinstance(source, (str, Path))
    content = read_file(source) if named else source
    try:
        row, state = layout_of(content)
        options = content["opts"] if isinstance(content.get("opts"), dict) else {}
        if progressive is None:
            kind = str(options.get("encoder_type", ""))
            progressive = "Progressive" in kind or kind == "Encoder4Editing"
        inside = content["encoder"] if isinstance(content.get("encoder"), dict) else {}
        given = {"progressive": progressive, "settings": content.get("settings", {}), "facts": {},
                 "latent_avg": content.get("latent_avg", inside.get("latent_avg"))}
        parts = row[2](state, given)
        for key in BESIDE:
            beside = _tensors(content[key]) if isinstance(content.get(key), dict) else {}
            if (second := _recognise(beside)) and second != row:
                parts |= second[2](beside, given)
    except UserError as error:
        raise UserError(f"{source}: {error}" if named else str(error)) from None
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise UserError(f"{source if named else 'it'} holds no complete network of a known layout "
                        f"({type(error).__name__}: {' '.join(str(error).split()):.80})") from None
    read = (*MAIN, *BESIDE, "latent_avg", "opts", "settings", "encoder", "decoder")
    unread = [] if row[1] in content else [str(key) for key in content if key not in read]
    if row[2] is _inverter:
        unread += sorted({name.split(".")[0] for name in state} - {"encoder", "decoder"})
    return {"layout": row[0], **parts, "options": options, "facts": given["facts"], "unread": unread}


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
              "facts": {"layout": found["layout"], "options": found["options"], **found["facts"]},
              "parts": parts}
    return parts[kind], config
