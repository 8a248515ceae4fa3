"""The layout of rosinality's StyleGAN2 generators (`g_ema`, `decoder.` of pSp, e4e, ReStyle) and ours."""
import re

import torch

from ..errors import UserError
from ..models.stylegan2 import Generator

# published name (number, rest), what to add to the number, own name
RULES = [
    (r"style\.(\d+)\.(weight|bias)",                    -1, "mapping.{n}.{rest}"),
    (r"input\.input()()",                                0, "constant"),
    (r"conv(1)\.(.+)",                                  -1, "convs.{n}.{rest}"),
    (r"convs\.(\d+)\.(.+)",                             +1, "convs.{n}.{rest}"),
    (r"to_rgb(1)\.(.+)",                                -1, "to_images.{n}.{rest}"),
    (r"to_rgbs\.(\d+)\.(.+)",                           +1, "to_images.{n}.{rest}"),
    (r"noises\.noise_(\d+)()",                           0, "convs.{n}.noise_const"),
]
PARTS = {"conv.weight": "weight", "activate.bias": "bias", "noise.weight": "noise_strength",
         "conv.modulation.weight": "affine.weight", "conv.modulation.bias": "affine.bias"}
FILTERS = ("blur.kernel", "upsample.kernel")


def own_name(name):
    """Our name of a published tensor, or None for the resampling filters, which our layers do not store."""
    if name.endswith(FILTERS):
        return None
    for pattern, shift, target in RULES:
        if match := re.fullmatch(pattern, name):
            number, rest = match.groups()
            return target.format(n=int(number or 0) + shift, rest=PARTS.get(rest, rest))
    raise UserError(f"'{name}' is not a tensor of a StyleGAN2 generator in rosinality's layout")


def rosinality_generator(state):
    """A published state dict -> (Generator's keyword arguments, own state dict without `w_mean`).

    Widths, depth, channels, resolution and image channels are read from the tensors; a filter other than
    [1, 3, 3, 1] and a tensor that is missing or left over raise a UserError."""
    own = {}
    for name, tensor in state.items():
        target = own_name(name)
        if target is None:
            taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 4
            if not torch.allclose(tensor.float().cpu(), torch.outer(taps, taps), atol=1e-5):
                raise UserError(f"'{name}' holds another resampling filter than [1, 3, 3, 1]")
        else:
            own[target] = tensor
    try:
        config = read_config(own)
    except KeyError as error:
        raise UserError(f"the file holds no complete generator: {error} is missing") from None
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in Generator(**config).state_dict().items()}
    del shapes["w_mean"]
    stream = torch.Generator().manual_seed(0)
    for name, shape in shapes.items():
        if name not in own and name.endswith("noise_const"):  # early files did not keep their noise
            own[name] = torch.randn(shape, generator=stream)
    if wrong := sorted(shapes.keys() ^ own.keys()):
        raise UserError(f"the file's generator and its own sizes disagree, first about '{wrong[0]}'")
    return config, {name: own[name].reshape(shape) for name, shape in shapes.items()}


def read_config(own):
    """The sizes of a generator, from its tensors under our names."""
    image_layers = sum(name.startswith("to_images.") and name.endswith("affine.bias") for name in own)
    sides = [4 * 2**block for block in range(image_layers)]
    depth = sum(name.startswith("mapping.") and name.endswith("weight") for name in own)
    w_dim, z_dim = own["mapping.0.weight"].shape if depth else [own["convs.0.affine.weight"].shape[1]] * 2
    return dict(resolution=sides[-1], z_dim=z_dim, w_dim=w_dim, mapping_layers=depth,
                channels={side: own[f"convs.{2 * i}.weight"].shape[-4] for i, side in enumerate(sides)},
                image_channels=own["to_images.0.bias"].numel())


def load_rosinality(state, latent_avg=None):
    """A published state dict (and its `latent_avg`, [d] or [k, d]) -> Generator; no average: estimated."""
    config, own = rosinality_generator(state)
    generator = Generator(**config)
    generator.load_state_dict(own | {"w_mean": generator.w_mean})
    if latent_avg is None:
        generator.estimate_w_mean()
    else:
        generator.set_w_mean(latent_avg)
    return generator.eval().requires_grad_(False)
