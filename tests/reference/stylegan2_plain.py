"""StyleGAN2 synthesis the slow and obvious way, from a state dict of Generator: for tests and bench.

Every image gets its own weights (a grouped convolution, one group an image), resampling inserts zeros, pads
and filters with the whole 4x4 kernel; noise, bias, activation and gain are separate passes.
"""
import math

import torch
import torch.nn.functional as F

TAPS = torch.tensor([1.0, 3.0, 3.0, 1.0])


def upfirdn(x, up, down, pad, gain):
    """x: [B, C, H, W]: zeros inserted (`up`), padded by (before, after), filtered, every `down`th kept."""
    batch, channels, height, width = x.shape
    spread = x.new_zeros(batch, channels, height, up, width, up)
    spread[:, :, :, 0, :, 0] = x
    spread = F.pad(spread.reshape(batch, channels, height * up, width * up), (pad[0], pad[1], pad[0], pad[1]))
    kernel = torch.outer(TAPS, TAPS).to(x) / TAPS.sum() ** 2 * gain
    return F.conv2d(spread, kernel.expand(channels, 1, 4, 4), groups=channels)[:, :, ::down, ::down]


def linear(x, weight, bias, rate=1.0):
    return x @ (weight * rate / math.sqrt(weight.shape[1])).t() + bias * rate


def leaky(x):
    return F.leaky_relu(x, 0.2) * math.sqrt(2)


def mapping(state, z):
    """z: [B, z_dim] -> w [B, w_dim]."""
    x = z / (z.square().mean(1, keepdim=True) + 1e-8).sqrt()
    for layer in range(sum(key.startswith("mapping.") and key.endswith("weight") for key in state)):
        x = leaky(linear(x, state[f"mapping.{layer}.weight"], state[f"mapping.{layer}.bias"], 0.01))
    return x


def modulated(x, w, state, name, up, demodulate):
    """Equations 1-3 of StyleGAN2: weights scaled by the style, then normalised, one set an image."""
    weight = state[f"{name}.weight"]
    fan_out, fan_in, kernel, _ = weight.shape
    batch, _, height, width = x.shape
    style = linear(w, state[f"{name}.affine.weight"], state[f"{name}.affine.bias"])
    weight = weight[None] * style[:, None, :, None, None] / math.sqrt(fan_in * kernel**2)
    if demodulate:
        weight = weight / (weight.square().sum((2, 3, 4), keepdim=True) + 1e-8).sqrt()
    x = x.reshape(1, batch * fan_in, height, width)
    if up:
        weight = weight.transpose(1, 2).reshape(batch * fan_in, fan_out, kernel, kernel)
        x = F.conv_transpose2d(x, weight, stride=2, groups=batch)
        return upfirdn(x.reshape(batch, fan_out, *x.shape[2:]), 1, 1, (1, 1), 4.0)
    weight = weight.reshape(batch * fan_out, fan_in, kernel, kernel)
    return F.conv2d(x, weight, padding=kernel // 2, groups=batch).reshape(batch, fan_out, height, width)


def synthesize(state, w, noise="const", clamp=None):
    """A Generator's state dict, w [B, k, d], noise "const", "none" or a list of maps -> [B, C, R, R]."""
    def bound(x):
        return x if clamp is None else x.clamp(-clamp, clamp)

    def styled(x, layer, up):
        name = f"convs.{layer}"
        x = modulated(x, w[:, layer], state, name, up, demodulate=True)
        if noise != "none":
            maps = state[f"{name}.noise_const"][None, None] if noise == "const" else noise[layer]
            x = x + state[f"{name}.noise_strength"] * maps
        return bound(leaky(x + state[f"{name}.bias"].view(1, -1, 1, 1)))

    def to_image(x, block):
        name = f"to_images.{block}"
        x = modulated(x, w[:, 2 * block + 1], state, name, up=False, demodulate=False)
        return bound(x + state[f"{name}.bias"].view(1, -1, 1, 1))

    x = styled(state["constant"][None].repeat(len(w), 1, 1, 1), 0, up=False)
    image = to_image(x, 0)
    blocks = sum(key.startswith("to_images.") and key.endswith(".affine.bias") for key in state)
    for block in range(1, blocks):
        x = styled(x, 2 * block - 1, up=True)
        x = styled(x, 2 * block, up=False)
        image = upfirdn(image, 2, 1, (2, 1), 4.0) + to_image(x, block)
    return image
