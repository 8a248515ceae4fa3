"""Our own format: a folder with model.safetensors (fp16) and config.json, which rebuild the network."""
import contextlib
import copy
import hashlib
import importlib
import json
import os
from pathlib import Path

import safetensors
import torch
from safetensors.torch import load as read_tensors
from safetensors.torch import save as pack_tensors

from ..errors import UserError, suggest
from ..files import atomic, write_json

KINDS = {
    "generator":     "restyle_lib.models.stylegan2:Generator",
    "discriminator": "restyle_lib.models.stylegan2:Discriminator",
    "encoder":       "restyle_lib.models.encoders:Encoder",
    "identity":      "restyle_lib.models.features:IdentityNet",
    "perceptual":    "restyle_lib.models.features:PerceptualNet",
    "attributes":    "restyle_lib.models.features:AttributeReader",
    "moco":          "restyle_lib.models.features:ContrastNet",
    "lpips":         "restyle_lib.models.lpips:Lpips",
    "trunk":         "restyle_lib.models.backbones:Trunk",
    "latent_discriminator": "restyle_lib.losses:LatentDiscriminator",
}
PUBLISHED = {"FaceEmbedding": "identity", "MoCo": "moco"}          # classes beside a kind's own one
FILES = ("model.safetensors", "next.safetensors")        # the second between two states of a folder
EXACT = ("running_mean", "running_var", "num_batches_tracked", "w_mean")     # kept in float32


def model_class(kind, name=None):
    """The class that a kind of network is built with, or the published one of that name."""
    if kind not in KINDS:
        raise suggest(kind, KINDS, "kind of network")
    module, default = KINDS[kind].split(":")
    if name is not None and PUBLISHED.get(name) != kind:
        raise suggest(name, [n for n, of in PUBLISHED.items() if of == kind], f"network of kind '{kind}'")
    return getattr(importlib.import_module(module), name or default)


def halved(model):
    """A float32 copy of `model` rounded as save_model does: what config.json says is measured on this one."""
    model = copy.deepcopy(model).float()
    model.load_state_dict(_tensors(model, half=True))
    return model.eval()


def _tensors(model, half):
    """State dict on the CPU, contiguous and unshared; where `half`, floats as fp16 except those in EXACT."""
    tensors = {}
    for name, tensor in model.state_dict().items():
        tensor = tensor.detach().cpu()
        if tensor.is_floating_point():
            small = half and name.rsplit(".", 1)[-1] not in EXACT
            if not tensor.isfinite().all() or small and tensor.abs().max() > 65504:
                raise UserError(f"the tensor {name} holds values that cannot be saved (infinite, NaN or "
                                "beyond fp16)")
            tensor = tensor.to(torch.float16 if small else torch.float32)
        tensors[name] = tensor.clone().contiguous()
    return tensors


def save_model(folder, model, kind, *, generator=None, half=True, **facts):
    """Writes `model` (with .config, its constructor's arguments) into `folder`; returns the config.

    generator: the fingerprint of the generator that an encoder was trained with; a generator's own is that of
    the tensors as written. half: fp16. facts: anything JSON can hold (domain, seed, command, measured
    numbers).
    """
    from ..models.stylegan2 import fingerprint
    model_class(kind)
    data = pack_tensors(_tensors(model, half))
    if kind == "generator":
        generator = fingerprint(halved(model) if half else model)
    config = {"kind": kind, "architecture": model.config, "generator": generator, "facts": facts,
              "file": {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}}
    if type(model).__name__ in PUBLISHED:
        config["network"] = type(model).__name__
    folder = Path(folder)
    new = folder / (FILES[1] if (folder / "config.json").exists() else FILES[0])
    with atomic(new) as stream:
        stream.write(data)
    write_json(folder / "config.json", config)
    os.replace(new, folder / FILES[0])
    return config


def read_config(folder):
    """config.json of one of our folders, as a dict."""
    path = Path(folder) / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; a model's folder holds config.json and "
                        "model.safetensors") from None
    except ValueError:
        raise UserError(f"{path} is not valid JSON; the folder is damaged or not of this library") from None
    for key in ("kind", "architecture", "file"):
        if not isinstance(config, dict) or key not in config:
            raise UserError(f"{path} lacks '{key}'; it does not describe a model of this library")
    return config


def _modest(value):
    """A network's arguments, if no number in them is beyond any real network's."""
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _modest(item)
    if isinstance(value, int) and abs(value) > 4096 or isinstance(value, list) and len(value) > 1000:
        raise ValueError(f"its config.json asks for {value!r:.30}")
    return value


@contextlib.contextmanager
def _bounded(limit):
    """Ends the building of a network that grows past `limit` parameters: a config may describe anything."""
    left = [limit]

    def count(module, name, parameter):
        left[0] -= 0 if parameter is None else parameter.numel()
        if left[0] < 0:
            raise ValueError("its config.json describes a far larger network than its file holds")
    hook = torch.nn.modules.module.register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def load_model(folder, kind=None, device="cpu"):
    """Rebuilds a network from its folder -> (network in float32 and eval mode, without gradients; config).

    UserError when the folder is incomplete or damaged, or holds another kind of network than `kind`."""
    folder, config = Path(folder), read_config(folder)
    if kind is not None and config["kind"] != kind:
        raise UserError(f"{folder} holds a network of kind '{config['kind']}', not '{kind}'")
    if "blend" in config:
        from ..toonify import from_recipe
        return from_recipe(config, folder, device), config
    wanted = config["file"].get("sha256") if isinstance(config["file"], dict) else None
    for name in FILES:
        try:
            data = (folder / name).read_bytes()
        except OSError as error:
            if name == FILES[0]:
                raise UserError(f"cannot read {folder / name}: {error.strerror}") from None
            continue
        if hashlib.sha256(data).hexdigest() == wanted:
            break
    else:
        raise UserError(f"{folder / 'model.safetensors'} is not the file that config.json "
                        f"describes ({wanted}); the folder is damaged, copy it "
                        "again")
    try:
        tensors = read_tensors(data)
        with _bounded(2 * sum(t.numel() for t in tensors.values())):
            model = model_class(config["kind"], config.get("network"))(
                **_modest(config["architecture"]))
        model.load_state_dict(tensors)
    except (TypeError, ValueError, RuntimeError, LookupError, AttributeError, ArithmeticError,
            AssertionError, safetensors.SafetensorError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1].strip()
        raise UserError(f"{folder} cannot be rebuilt: {reason}") from None
    return model.float().to(device).eval().requires_grad_(False), config
