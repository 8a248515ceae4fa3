"""Trunks: the published IR-SE50, IR-101 and ResNet34 shapes, and small ones of the same families.

A trunk maps x [B, C, H, W] in [-1, 1] to three feature maps, fine to coarse. Its parameters have the names of
the published files (ArcFace's `input_layer`, `body.N`; ReStyle's `conv1`, `body.N`), which so load unchanged.
"""
from itertools import pairwise

import torch
from torch import nn

from ..errors import suggest


class SqueezeExcite(nn.Module):
    """Channel gates from each channel's mean (Hu et al. 2018), reduced by 16."""

    def __init__(self, channels):
        super().__init__()
        hidden = max(channels // 16, 4)
        self.fc1 = nn.Conv2d(channels, hidden, 1, bias=False)
        self.fc2 = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, x):
        gate = self.fc2(self.fc1(x.mean((2, 3), keepdim=True)).relu())
        return x * gate.sigmoid()


class IRUnit(nn.Module):
    """Improved residual unit of ArcFace: BN, conv, PReLU, conv, BN [, SE]; a shortcut; nothing after the sum.

    The second convolution strides, at full width; in a `thin` unit the first, before the width grows."""

    def __init__(self, fan_in, fan_out, stride, *, excite=True, thin=False):
        super().__init__()
        middle, strides = (fan_in, (stride, 1)) if thin else (fan_out, (1, stride))
        self.stride = stride
        pool = [nn.AvgPool2d(stride, ceil_mode=True)] if thin else []
        self.shortcut_layer = None if fan_in == fan_out else nn.Sequential(
            *pool, nn.Conv2d(fan_in, fan_out, 1, 1 if thin else stride, bias=False),
            nn.BatchNorm2d(fan_out))
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(fan_in),
            nn.Conv2d(fan_in, middle, 3, strides[0], 1, bias=False), nn.PReLU(middle),
            nn.Conv2d(middle, fan_out, 3, strides[1], 1, bias=False), nn.BatchNorm2d(fan_out),
            *([SqueezeExcite(fan_out)] if excite else []))

    def forward(self, x):
        step, shortcut = self.stride, self.shortcut_layer
        return self.res_layer(x) + (x[:, :, ::step, ::step] if shortcut is None else shortcut(x))


class BasicBlock(nn.Module):
    """The two-convolution block of ResNet34 (He et al. 2016), in torchvision's names."""

    def __init__(self, fan_in, fan_out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(fan_in, fan_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(fan_out)
        self.conv2 = nn.Conv2d(fan_out, fan_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(fan_out)
        self.downsample = None if (stride, fan_in) == (1, fan_out) else nn.Sequential(
            nn.Conv2d(fan_in, fan_out, 1, stride, bias=False), nn.BatchNorm2d(fan_out))

    def forward(self, x):
        kept = x if self.downsample is None else self.downsample(x)
        return (self.bn2(self.conv2(self.bn1(self.conv1(x)).relu_())) + kept).relu()


class Backbone(nn.Module):
    """Stem, then `body`; the three maps are taken after the units numbered `taps`.

    channels, strides: of the three maps. head_channels: the width of its style heads (None: w_dim)."""

    def __init__(self, name, stem, units, taps, channels, strides, head_channels=None):
        super().__init__()
        self.name, self.taps, self.channels, self.strides = name, taps, channels, strides
        self.head_channels = head_channels
        for key, module in stem.items():
            self.add_module(key, module)
        self.stem_names = tuple(stem)
        self.body = nn.Sequential(*units)

    def forward(self, x):
        """x: [B, C, H, W] -> [c1, c2, c3], each ceil(H / stride) x ceil(W / stride)."""
        x = x.contiguous(memory_format=torch.channels_last)  # a fifth faster on a CPU
        for name in self.stem_names:
            x = getattr(self, name)(x)
        maps = []
        for index, unit in enumerate(self.body):
            x = unit(x)
            if index in self.taps:
                maps.append(x)
        return maps


def _stages(widths, depths, unit):
    """Units of every stage; the first of each halves the size."""
    return [unit(a if i == 0 else b, b, 2 if i == 0 else 1)
            for (a, b), depth in zip(pairwise(widths), depths, strict=True) for i in range(depth)]


def _ir(name, in_channels, depths, taps, excite):
    layers = nn.Conv2d(in_channels, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64)
    units = _stages((64, 64, 128, 256, 512), depths, lambda *sizes: IRUnit(*sizes, excite=excite))
    stem = {"input_layer": nn.Sequential(*layers)}
    return Backbone(name, stem, units, taps, (128, 256, 512), (4, 8, 16))


def irse50(in_channels=3):
    """ArcFace IR-SE50, 24 units: the trunk of the published face encoders and of their identity loss."""
    return _ir("irse50", in_channels, (3, 4, 14, 3), (6, 20, 23), excite=True)


def ir101(in_channels=3):
    """CurricularFace IR-101, 49 units without squeeze-excite: the published judge of identity."""
    return _ir("ir101", in_channels, (3, 13, 30, 3), (15, 45, 48), excite=False)


def resnet34(in_channels=3):
    """The ReStyle encoders' ResNet34 for other domains: PReLU in the stem, no max-pool, 16 blocks."""
    conv1 = nn.Conv2d(in_channels, 64, 7, 2, 3, bias=False)
    stem = {"conv1": conv1, "bn1": nn.BatchNorm2d(64), "relu": nn.PReLU(64)}
    first = [BasicBlock(64, 64, 1) for _ in range(3)]
    units = first + _stages((64, 128, 256, 512), (4, 6, 3), BasicBlock)
    return Backbone("resnet34", stem, units, (6, 12, 15), (128, 256, 512), (4, 8, 16))


def _small(name, in_channels, channels, depths, unit):
    stem = {"stem": nn.Conv2d(in_channels, channels[0], 3, 1, 1), "activation": nn.PReLU(channels[0])}
    taps = tuple(sum(depths[:i + 1]) - 1 for i in range(3))
    units = _stages(channels, depths, unit)
    return Backbone(name, stem, units, taps, tuple(channels[1:]), (2, 4, 8), head_channels=64)


def irse_small(in_channels=3, channels=(16, 48, 72, 128), depths=(2, 2, 1)):
    """Three stages of thin IR-SE units for images of about 64 px: 0.35 M parameters, 103 MMAC at 64 x 64."""
    return _small("irse_small", in_channels, channels, depths, lambda *sizes: IRUnit(*sizes, thin=True))


def resnet_small(in_channels=3, channels=(16, 48, 80, 128), depths=(1, 1, 1)):
    """Three stages of ResNet34's blocks for images of about 64 px: 0.38 M parameters, 73 MMAC at 64 x 64."""
    return _small("resnet_small", in_channels, channels, depths, BasicBlock)


BACKBONES = {f.__name__: f for f in (irse50, ir101, resnet34, irse_small, resnet_small)}


def build_backbone(name, in_channels=3, **options):
    """The trunk called `name` (see BACKBONES); `channels` and `depths` are options of the small ones."""
    if name not in BACKBONES:
        raise suggest(name, BACKBONES, "backbone")
    return BACKBONES[name](in_channels, **options)


class Trunk(nn.Module):
    """A pretrained backbone alone, to start an encoder from."""

    def __init__(self, name):
        super().__init__()
        self.config = {"name": name}
        self.backbone = build_backbone(name, 3)
