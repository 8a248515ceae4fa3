"""Names of StyleGAN2's tensors: rosinality's (`g_ema`, `d`; `decoder.` of pSp and others), NVIDIA's, ours."""
import re

import torch

from ..errors import UserError
from ..models.stylegan2 import Discriminator, Generator
from .fit import fit, on_meta

FILTERS = ("blur.kernel", "upsample.kernel", "conv2.0.kernel", "skip.0.kernel", "resample_filter")
MODULATED = {"conv.weight": "weight", "activate.bias": "bias", "noise.weight": "noise_strength",
             "conv.modulation.weight": "affine.weight", "conv.modulation.bias": "affine.bias"}
SEED, DRAWS = 0, 10_000           # of an average style, or of noise maps, that a file does not hold


def _plus(step):
    return lambda number: int(number) + step


def _log(side):
    return int(side).bit_length() - 1


# published name (number, rest), our number, own name
ROSINALITY = [
    (r"style\.(\d+)\.(weight|bias)",                 _plus(-1), "mapping.{n}.{rest}"),
    (r"()input\.input()",                            str,       "constant"),
    (r"conv(1)\.(.+)",                               _plus(-1), "convs.{n}.{rest}"),
    (r"convs\.(\d+)\.(.+)",                          _plus(+1), "convs.{n}.{rest}"),
    (r"to_rgb(1)\.(.+)",                             _plus(-1), "to_images.{n}.{rest}"),
    (r"to_rgbs\.(\d+)\.(.+)",                        _plus(+1), "to_images.{n}.{rest}"),
    (r"noises\.noise_(\d+)()",                       _plus(0),  "convs.{n}.noise_const"),
]
ROSINALITY_D = [
    (r"()convs\.0\.[01]\.(weight|bias)",             str,       "from_image.{rest}"),
    (r"convs\.(\d+)\.conv1\.[01]\.(weight|bias)",    _plus(-1), "blocks.{n}.first.{rest}"),
    (r"convs\.(\d+)\.conv2\.[12]\.(weight|bias)",    _plus(-1), "blocks.{n}.second.{rest}"),
    (r"convs\.(\d+)\.skip\.1\.(weight)",             _plus(-1), "blocks.{n}.skip.{rest}"),
    (r"()final_conv\.[01]\.(weight|bias)",           str,       "last.{rest}"),
    (r"()final_linear\.0\.(weight|bias)",            str,       "hidden.{rest}"),
    (r"()final_linear\.1\.(weight|bias)",            str,       "logit.{rest}"),
]
NVIDIA = [
    (r"mapping\.fc(\d+)\.(weight|bias)",             _plus(0),  "mapping.{n}.{rest}"),
    (r"()synthesis\.b4\.const()",                    str,       "constant"),
    (r"synthesis\.b(\d+)\.conv0\.(.+)",              lambda side: 2 * _log(side) - 5, "convs.{n}.{rest}"),
    (r"synthesis\.b(\d+)\.conv1\.(.+)",              lambda side: 2 * _log(side) - 4, "convs.{n}.{rest}"),
    (r"synthesis\.b(\d+)\.torgb\.(.+)",              lambda side: _log(side) - 2,     "to_images.{n}.{rest}"),
]


def _nvidia_d(resolution):
    def below(side):
        return _log(resolution) - _log(side)
    return [
        (rf"()b{resolution}\.fromrgb\.(weight|bias)", str,   "from_image.{rest}"),
        (r"b(\d+)\.conv0\.(weight|bias)",             below, "blocks.{n}.first.{rest}"),
        (r"b(\d+)\.conv1\.(weight|bias)",             below, "blocks.{n}.second.{rest}"),
        (r"b(\d+)\.skip\.(weight)",                   below, "blocks.{n}.skip.{rest}"),
        (r"()b4\.conv\.(weight|bias)",                str,   "last.{rest}"),
        (r"()b4\.fc\.(weight|bias)",                  str,   "hidden.{rest}"),
        (r"()b4\.out\.(weight|bias)",                 str,   "logit.{rest}"),
    ]


def own_name(name, rules=ROSINALITY):
    """Our name of a published tensor, or None for the resampling filters, which our layers do not store."""
    if name.endswith(FILTERS):
        return None
    for pattern, count, target in rules:
        if match := re.fullmatch(pattern, name):
            return target.format(n=count(match[1]), rest=MODULATED.get(match[2], match[2]))
    raise UserError(f"'{name}' is not a tensor of an unconditional StyleGAN2 in this layout")


def renamed(state, rules):
    """A published state dict under our names; UserError for a strange one, or a filter not [1, 3, 3, 1]."""
    own, taps = {}, torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    for name, tensor in state.items():
        target = own_name(name, rules)
        if target is not None:
            own[target] = tensor
        else:
            kernel = tensor.float().cpu()
            kernel = kernel / (4 if kernel.sum() > 2 else 1)   # upsampling layers store it with their gain
            if kernel.shape != (4, 4) or not torch.allclose(kernel, torch.outer(taps, taps), atol=1e-5):
                raise UserError(f"'{name}' holds another resampling filter than [1, 3, 3, 1]")
    return own


# ---- generators

def read_config(own):
    """The sizes of a generator, from its tensors under our names."""
    image_layers = sum(name.startswith("to_images.") and name.endswith("affine.bias") for name in own)
    sides = [4 * 2**block for block in range(image_layers)]
    depth = sum(name.startswith("mapping.") and name.endswith("weight") for name in own)
    w_dim = own["convs.0.affine.weight"].shape[1]
    return dict(resolution=sides[-1], z_dim=own["mapping.0.weight"].shape[1] if depth else w_dim, w_dim=w_dim,
                mapping_layers=depth, image_channels=own["to_images.0.bias"].numel(),
                channels={side: own[f"convs.{2 * i}.weight"].shape[-4] for i, side in enumerate(sides)})


def assembled(own, w_mean=None, conv_clamp=None):
    """Tensors under our names, and the average style [d], [k, d] or None -> (Generator, facts).

    What the file lacks is drawn with a seed, as facts say: the average style, early files' noise maps."""
    facts, own = {}, dict(own)
    try:
        config = read_config(own) | {"conv_clamp": conv_clamp}
        network = on_meta(Generator, **config)
    except (KeyError, IndexError) as error:
        raise UserError(f"the file holds no complete generator: {error} is missing") from None
    shapes, stream = network.state_dict(), torch.Generator().manual_seed(SEED)
    if lacking := [name for name in shapes if name.endswith("noise_const") and name not in own]:
        facts["noise"] = f"drawn with seed {SEED}: the file holds no maps"
        own |= {name: torch.randn(shapes[name].shape, generator=stream) for name in lacking}
    wanted = tuple(shapes["w_mean"].shape)
    average = torch.zeros(wanted) if w_mean is None else torch.as_tensor(w_mean).float().squeeze()
    if average.shape not in (wanted, wanted[1:]):
        raise UserError(f"its average style is {list(average.shape)}; the generator takes {list(wanted)} or "
                        f"{list(wanted[1:])}")
    network = fit("generator", network, own | {"w_mean": average.expand(wanted)})
    if w_mean is None:
        network.estimate_w_mean(DRAWS, SEED)
    facts["w_mean"] = ("of the file" if w_mean is not None else
                       f"the file holds none: the mean of {DRAWS:,} mapped draws of seed {SEED}")
    return network, facts


def load_rosinality(state, latent_avg=None):
    """A state dict of rosinality's layout, its `latent_avg` ([d], [k, d] or None) -> (Generator, facts)."""
    return assembled(renamed(state, ROSINALITY), latent_avg)


def load_nvidia(state, settings=None):
    """The tensors of NVIDIA's G_ema, and its settings (see `nvidia.settings_of`) -> (Generator, facts)."""
    clamp = checked(settings or {}, "skip")
    if labels := [name for name in state if name.startswith("mapping.embed")]:
        raise UserError(f"a generator with class labels ({labels[0]} {list(state[labels[0]].shape)}), which "
                        "this library does not draw; take an unconditional one")
    own = renamed({name: tensor for name, tensor in state.items() if name != "mapping.w_avg"}, NVIDIA)
    if settings and settings.get("use_noise") == {False}:
        own |= {name.replace(".weight", ".noise_strength"): torch.zeros([]) for name in list(own)
                if re.fullmatch(r"convs\.\d+\.weight", name)}
    return assembled(own, state.get("mapping.w_avg"), clamp)


# ---- discriminators

def load_discriminator(state, settings=None):
    """A published discriminator, rosinality's `d` or NVIDIA's `D` (with its settings) -> Discriminator."""
    clamp, group = None, 4
    if nvidia := [int(name[1:].split(".")[0]) for name in state if re.match(r"b\d+\.fromrgb\.weight", name)]:
        clamp, group = checked(settings or {}, "resnet"), next(iter((settings or {}).get("group_size", {4})))
    own = renamed(state, _nvidia_d(max(nvidia)) if nvidia else ROSINALITY_D)
    try:
        blocks = 1 + max((int(name.split(".")[1]) for name in own if name.startswith("blocks.")), default=-1)
        sides = [4 * 2**power for power in range(blocks, -1, -1)]
        widths = [own["from_image.weight"].shape[0]]
        widths += [own[f"blocks.{block}.second.weight"].shape[0] for block in range(blocks)]
        channels = dict(zip(sides, widths, strict=True))
        network = on_meta(Discriminator, sides[0], channels=channels, conv_clamp=clamp,
                          image_channels=own["from_image.weight"].shape[1], mbstd_group=group or 1_000_000)
    except (KeyError, IndexError) as error:
        raise UserError(f"the file holds no complete discriminator: {error} is missing") from None
    return fit("discriminator", network, own)


def checked(settings, architecture):
    """conv_clamp of NVIDIA's settings; UserError for settings that another network than ours would need."""
    for name, accepted in [("activation", {"lrelu", "linear"}), ("architecture", {architecture}),
                           ("bias_gain", {0.01, 1}), ("c_dim", {0}), ("num_channels", {1})]:
        if wrong := settings.get(name, set()) - accepted:
            raise UserError(f"a network whose {name} is {wrong.pop()}, which this library cannot build; "
                            f"accepted: {' or '.join(map(str, sorted(accepted)))}")
    clamps = settings.get("conv_clamp", set()) - {None}
    if len(clamps) > 1:
        raise UserError(f"its layers are clamped at different values: {sorted(clamps)}")
    return clamps.pop() if clamps else None
