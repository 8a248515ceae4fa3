"""Layers of StyleGAN2 (Karras et al. 2020): equalised weights, modulated convolution, resampling.

Every activation is sqrt(2) * leaky_relu(x, 0.2). It is positively homogeneous, so its gain is folded into
whatever scales its input (weights, demodulation, bias, noise) at no cost. Activations are channels-last.
"""
import math

import torch
import torch.nn.functional as F
from torch import nn

from .products import rowwise

GAIN = math.sqrt(2)
SLOPE = 0.2


def filter_kernel(x):
    """The [4, 4] kernel of [1, 3, 3, 1], of sum 1, in the type and on the device of x."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=x.dtype, device=x.device) / 8
    return torch.outer(taps, taps)


def blur(x, pad, stride=1):
    """[B, C, H, W] filtered by [1, 3, 3, 1] / 8 along both axes after zero padding by `pad` on every side.

    One 4x4 pass: on channels-last activations it is faster than two separable ones, which move x twice."""
    kernel = filter_kernel(x).expand(x.shape[1], 1, 4, 4)
    return F.conv2d(x, kernel, padding=pad, stride=stride, groups=x.shape[1])


def upsample(x):
    """[B, C, H, W] -> [B, C, 2H, 2W]: zero insertion and [1, 3, 3, 1], gain 4."""
    kernel = 4 * filter_kernel(x).expand(x.shape[1], 1, 4, 4)
    return F.conv_transpose2d(x, kernel, padding=1, stride=2, groups=x.shape[1])


def downsample(x):
    """[B, C, H, W] -> [B, C, H/2, W/2]: [1, 3, 3, 1] and every second pixel."""
    return blur(x, 1, stride=2)


def activate(x):
    """Leaky ReLU in place, without its gain (see the module's note)."""
    return F.leaky_relu_(x, SLOPE)


class EqualLinear(nn.Module):
    """[..., fan_in] -> [..., fan_out]; unit-variance weights scaled at run time (Karras et al. 2018, 4.1)."""

    def __init__(self, fan_in, fan_out, *, bias=0.0, rate=1.0, active=False):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(fan_out, fan_in) / rate)
        self.bias = nn.Parameter(torch.full((fan_out,), float(bias) / rate))
        self.active, gain = active, rate * (GAIN if active else 1.0)
        self.weight_gain, self.bias_gain = gain / math.sqrt(fan_in), gain

    def forward(self, x):
        x = F.linear(x, self.weight * self.weight_gain, self.bias * self.bias_gain)
        return activate(x) if self.active else x


class EqualConv(nn.Module):
    """Convolution of [B, fan_in, H, W], equalised weights; `down` blurs and halves, `active` activates.

    `clamp` bounds the absolute values of what it returns, before `gain`."""

    def __init__(self, fan_in, fan_out, kernel, *, down=False, bias=True, active=True, clamp=None):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(fan_out, fan_in, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(fan_out)) if bias else None
        self.down, self.active, self.kernel, self.clamp = down, active, kernel, clamp
        self.gain = GAIN if active else 1.0
        self.scale = self.gain / math.sqrt(fan_in * kernel**2)

    def forward(self, x, gain=1.0):
        """`gain` multiplies the result; it is folded into the weights."""
        weight = self.weight * (self.scale * gain)
        bias = None if self.bias is None else self.bias * (self.gain * gain)
        if not self.down:
            x = F.conv2d(x, weight, bias, padding=self.kernel // 2)
        elif self.kernel == 1:
            x = F.conv2d(downsample(x), weight, bias)
        else:
            x = F.conv2d(blur(x, 2), weight, bias, stride=2)
        x = activate(x) if self.active else x
        return x if self.clamp is None else x.clamp(-self.clamp * gain, self.clamp * gain)


class ModulatedConv(nn.Module):
    """Weight modulation and demodulation (StyleGAN2, Section 2.2, equations 1-3).

    The style scales the input's channels and the demodulation the output's, so that a batch shares one
    convolution. `clamp` bounds the absolute values of what the layer returns."""

    def __init__(self, fan_in, fan_out, kernel, w_dim, *, clamp=None):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(fan_out, fan_in, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(fan_out))
        self.affine = EqualLinear(w_dim, fan_in, bias=1.0)
        self.fan_out, self.clamp, self.scale = fan_out, clamp, 1 / math.sqrt(fan_in * kernel**2)

    def style(self, w):
        """w: [B, w_dim] -> the scales of the input's channels, [B, fan_in]."""
        return self.affine(w) * self.scale

    def bound(self, x):
        return x if self.clamp is None else x.clamp(-self.clamp, self.clamp)


class StyledConv(ModulatedConv):
    """Modulated 3x3 convolution, noise, bias, activation: [B, fan_in, H, W], w [B, d] -> [B, fan_out, R, R].

    `up` doubles the size by a transposed convolution and a blur. `noise`: [1 or B, 1, R, R] or None."""

    def __init__(self, fan_in, fan_out, w_dim, resolution, *, up=False, clamp=None):
        super().__init__(fan_in, fan_out, 3, w_dim, clamp=clamp)
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.register_buffer("noise_const", torch.randn(resolution, resolution))
        self.resolution, self.up = resolution, up

    def forward(self, x, w, noise=None):
        style, gain = self.scales(w)
        x = x * style[:, :, None, None].to(x.dtype)
        if self.up:
            x = blur(F.conv_transpose2d(x, self.weight.transpose(0, 1) * 4, stride=2), 1)
        else:
            x = F.conv2d(x, self.weight, padding=1)
        bias = (self.bias[:, None, None] * GAIN).to(x.dtype)
        x = torch.addcmul(bias, x, gain[:, :, None, None].to(x.dtype))
        if noise is not None:
            x.add_(noise * (self.noise_strength * GAIN))
        return self.bound(activate(x))

    def scales(self, w):
        """w: [B, w_dim] -> scales of the input's channels [B, fan_in] and of the output's [B, fan_out]."""
        style, energy = self.style(w), self.weight.square().sum((2, 3))
        return style, torch.rsqrt(style.square() @ energy.t() + 1e-8) * GAIN

    def folded(self, w):
        """w: [1, w_dim] -> the weights with style, demodulation and gain in them, [fan_out, fan_in, 3, 3]."""
        weight = self.weight * self.style(w)[0, :, None, None]
        energy = torch.linalg.vector_norm(weight, dim=(1, 2, 3), keepdim=True).square()
        return weight.mul_(torch.rsqrt(energy + 1e-8) * GAIN)


class ToImage(ModulatedConv):
    """Modulated 1x1 convolution to the image's channels, not demodulated, on top of the upsampled image."""

    def __init__(self, fan_in, image_channels, w_dim, *, clamp=None):
        super().__init__(fan_in, image_channels, 1, w_dim, clamp=clamp)

    def forward(self, x, w, image=None):
        # the style goes into the weights: [B, image_channels, fan_in] is far smaller than x
        weight = (self.weight[None, :, :, 0, 0] * self.style(w)[:, None]).to(x.dtype)
        pixels = rowwise(x.permute(0, 2, 3, 1).flatten(1, 2), weight) + self.bias.to(x.dtype)
        x = pixels.transpose(1, 2).unflatten(2, x.shape[2:]).contiguous()
        x = self.bound(x)
        return x if image is None else x + upsample(image)

    def folded(self, w):
        """w: [1, w_dim] -> the weights with the style in them, [image_channels, fan_in, 1, 1]."""
        return self.weight * self.style(w)[0, :, None, None]


def minibatch_deviation(x, group=4):
    """[B, C, H, W] -> [B, C + 1, H, W]: one more channel, the mean deviation within groups of images.

    A group is `group` images, or the largest smaller number that divides the batch (Karras 2018, 3)."""
    batch, _, height, width = x.shape
    size = next(n for n in range(min(group, batch), 0, -1) if batch % n == 0)
    groups = x.unflatten(0, (size, batch // size))
    deviation = (groups.var(0, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3))
    return torch.cat([x, deviation.repeat(size).view(batch, 1, 1, 1).expand(batch, 1, height, width)], 1)
