"""Layers of StyleGAN2 (Karras et al. 2020): equalised weights, modulated convolution, resampling by [1, 3, 3, 1].

Every activation is sqrt(2) * leaky_relu(x, 0.2). It is positively homogeneous, so its gain is folded into whatever
scales its input (weights, demodulation, bias, noise) and costs nothing.
"""
import math

import torch
import torch.nn.functional as F
from torch import nn

GAIN = math.sqrt(2)
SLOPE = 0.2


def blur(x, pad, stride=1):
    """[B, C, H, W] filtered by [1, 3, 3, 1] / 8 along both axes after zero padding by `pad` on every side."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=x.dtype, device=x.device) / 8
    # one 4x4 pass: on channels-last activations faster than two separable ones, which read and write x twice
    kernel = torch.outer(taps, taps).expand(x.shape[1], 1, 4, 4)
    return F.conv2d(x, kernel, padding=pad, stride=stride, groups=x.shape[1])


def upsample(x):
    """[B, C, H, W] -> [B, C, 2H, 2W]: zero insertion and [1, 3, 3, 1], gain 4.

    Away from the border that is bilinear interpolation; a border of zeros makes it so everywhere."""
    return F.interpolate(F.pad(x, (1, 1, 1, 1)), scale_factor=2, mode="bilinear")[:, :, 2:-2, 2:-2]


def downsample(x):
    """[B, C, H, W] -> [B, C, H/2, W/2]: [1, 3, 3, 1] and every second pixel."""
    return blur(x, 1, stride=2)


def activate(x):
    """Leaky ReLU without its gain (see the module's note)."""
    return F.leaky_relu_(x, SLOPE)


class EqualLinear(nn.Module):
    """[..., fan_in] -> [..., fan_out] with weights of unit variance scaled at run time (Karras et al. 2018, 4.1)."""

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
    """A convolution of [B, fan_in, H, W] with equalised weights; `down` blurs and halves first; optional activation."""

    def __init__(self, fan_in, fan_out, kernel, *, down=False, bias=True, active=True):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(fan_out, fan_in, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(fan_out)) if bias else None
        self.down, self.active, self.kernel = down, active, kernel
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
        return activate(x) if self.active else x


class ModulatedConv(nn.Module):
    """Weight modulation and demodulation (StyleGAN2, Section 2.2, equations 1-3), optionally upsampling by two.

    x: [B, fan_in, H, W], w: [B, w_dim] -> [B, fan_out, H', W'] times `gain`. The style scales the input's channels and
    the demodulation the output's, so that the whole batch shares one convolution."""

    def __init__(self, fan_in, fan_out, kernel, w_dim, *, up=False, demodulate=True):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(fan_out, fan_in, kernel, kernel))
        self.affine = EqualLinear(w_dim, fan_in, bias=1.0)
        self.up, self.demodulate = up, demodulate
        self.scale = 1 / math.sqrt(fan_in * kernel**2)

    def style(self, w):
        """w: [B, w_dim] -> the input scales [B, fan_in] and the output scales [B, fan_out] or None."""
        style = self.affine(w) * self.scale
        if not self.demodulate:
            return style, None
        energy = self.weight.square().sum((2, 3))
        return style, torch.rsqrt(style.square() @ energy.t() + 1e-8)

    def convolve(self, x, weight):
        """x * weight [fan_out, fan_in, k, k]; when upsampling, a transposed convolution of stride 2, then the blur."""
        if not self.up:
            return F.conv2d(x, weight, padding=weight.shape[2] // 2)
        return blur(F.conv_transpose2d(x, weight.transpose(0, 1) * 4, stride=2), 1)

    def forward(self, x, w):
        """-> the convolution before demodulation, and the output scales [B, fan_out] still to be applied (or None)."""
        style, demodulation = self.style(w)
        return self.convolve(x * style[:, :, None, None], self.weight), demodulation


class StyledConv(ModulatedConv):
    """Modulated 3x3 convolution, noise, bias, activation. `noise`: [1 or B, 1, R, R] or None; `clamp` bounds |output|."""

    def __init__(self, fan_in, fan_out, w_dim, resolution, *, up=False, clamp=None):
        super().__init__(fan_in, fan_out, 3, w_dim, up=up)
        self.bias = nn.Parameter(torch.zeros(fan_out))
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.register_buffer("noise_const", torch.randn(resolution, resolution))
        self.resolution, self.clamp = resolution, clamp

    def forward(self, x, w, noise=None):
        x, demodulation = super().forward(x, w)
        x = torch.addcmul(self.bias[:, None, None] * GAIN, x, demodulation[:, :, None, None] * GAIN)
        if noise is not None:
            x.add_(noise * (self.noise_strength * GAIN))
        x = activate(x)
        return x if self.clamp is None else x.clamp(-self.clamp, self.clamp)


class ToImage(ModulatedConv):
    """Modulated 1x1 convolution to the image's channels (no demodulation), added to the upsampled image so far."""

    def __init__(self, fan_in, image_channels, w_dim, *, clamp=None):
        super().__init__(fan_in, image_channels, 1, w_dim, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(image_channels))
        self.clamp = clamp

    def forward(self, x, w, image=None):
        style, _ = self.style(w)
        # the fold goes into the weights: [B, channels, fan_in] is far smaller than x
        weight = self.weight[:, :, 0, 0].t() * style[:, :, None]
        pixels = x.permute(0, 2, 3, 1).flatten(1, 2)
        x = torch.baddbmm(self.bias, pixels, weight).unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)
        x = x if self.clamp is None else x.clamp(-self.clamp, self.clamp)
        return x if image is None else x + upsample(image)


def minibatch_deviation(x, group=4):
    """[B, C, H, W] -> [B, C + 1, H, W]: the mean standard deviation within groups of images as one more channel.

    Groups have `group` images, or the largest smaller number that divides the batch (Karras et al. 2018, Section 3)."""
    batch, _, height, width = x.shape
    size = next(n for n in range(min(group, batch), 0, -1) if batch % n == 0)
    groups = x.unflatten(0, (size, batch // size))
    deviation = (groups.var(0, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3))
    return torch.cat([x, deviation.repeat(size).view(batch, 1, 1, 1).expand(batch, 1, height, width)], 1)
