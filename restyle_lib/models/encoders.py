"""Encoders: a backbone and k style heads, predicting one vector a style (ReStyle, Section 4; pSp; e4e).

Heads: `single` reads all styles from the last map (ReStyle, Figure 3), `pyramid` the coarse ones from it and
finer ones from finer maps (pSp). `progressive` (e4e) predicts the first style, and offsets for the others.
"""
import math

import torch
import torch.nn.functional as F
from torch import nn

from .. import memory
from ..errors import UserError, suggest
from .backbones import build_backbone
from .products import product, rowwise

# A head by name: number of styles -> where the styles of the coarse, middle and fine map end. Of the pyramid,
# by pSp's code, the coarse map serves styles 0-2, the middle one 3-6, the fine one 7 and on (ReStyle's
# Appendix A.1 has the maps in the reverse order).
HEADS = {"single": lambda count: [count],
         "pyramid": lambda count: [min(end, count) for end in (3, 7, count)]}


class StyleHeads(nn.Module):
    """`count` heads over one map [B, fan_in, h, w] -> [B, count, d]: halving 3x3 convolutions, then a linear.

    The parameters of all heads are stacked along their rows, head after head: the first convolutions are one
    wide convolution, the later ones one batched product; an optimiser that looks at rows sees no change. On a
    CPU the first is a product, too: a convolution would first copy all weights, 170 MB at published size."""

    def __init__(self, count, fan_in, width, w_dim, size):
        super().__init__()
        self.count, self.width, self.w_dim = count, width, w_dim
        fans = [fan_in] + [width] * (depth_for(size) - 1)
        self.weights = nn.ParameterList(torch.empty(count * width, fan, 3, 3) for fan in fans)
        self.biases = nn.ParameterList(torch.empty(count * width) for _ in fans)
        self.linear_weight = nn.Parameter(torch.randn(count * w_dim, width))  # equalised: scaled when used
        self.linear_bias = nn.Parameter(torch.zeros(count * w_dim))
        for weight, bias in zip(self.weights, self.biases, strict=True):
            nn.init.kaiming_uniform_(weight, math.sqrt(5))
            nn.init.uniform_(bias, -1 / math.sqrt(9 * weight.shape[1]), 1 / math.sqrt(9 * weight.shape[1]))

    def forward(self, x, active=None):
        """The first `active` heads only (None: all) -> [B, active, d]."""
        k = self.count if active is None else active
        rows = k * self.width
        weights, biases = ([_first(p, rows) for p in stack] for stack in (self.weights, self.biases))
        weight, bias = weights[0], biases[0]
        wide = _headwise(x, weight, bias, 1) if x.device.type == "cpu" else F.conv2d(x, weight, bias, 2, 1)
        x = F.leaky_relu(wide, 0.01)
        for weight, bias in zip(weights[1:], biases[1:], strict=True):
            x = F.leaky_relu(_headwise(x, weight, bias, k), 0.01)
        x = x.flatten(1).unflatten(1, (k, self.width)).transpose(0, 1)
        weight = _first(self.linear_weight, k * self.w_dim).unflatten(0, (k, -1)) / math.sqrt(self.width)
        bias = _first(self.linear_bias, k * self.w_dim).view(k, -1)
        return torch.bmm(x, weight.transpose(1, 2)).transpose(0, 1) + bias


def depth_for(size):
    """How many halvings take a map of `size` [h, w] to one pixel (at least one)."""
    return max(1, math.ceil(math.log2(max(size))))


def _first(parameter, rows):
    """Its first rows; all of them without a slice, whose derivative would be copied into zeros, 170 MB."""
    return parameter if rows == len(parameter) else parameter[:rows]


def _headwise(x, weight, bias, k):
    """A 3x3 convolution of stride 2 in k groups as one batched product: [B, k c, h, w] -> [B, k c, h', w'].

    Equals conv2d(..., groups=k), which is several times slower at such small maps."""
    batch, _, height, width = x.shape
    size = (height + 1) // 2, (width + 1) // 2
    patches = F.unfold(x, 3, padding=1, stride=2).unflatten(1, (k, -1))               # [B, k, 9 c, h' w']
    if k == 1:
        x = (product(weight.flatten(1), patches[:, 0].transpose(0, 1).flatten(1)) + bias[:, None]).t()[None]
    else:
        x = rowwise(patches.permute(1, 0, 3, 2).flatten(1, 2), weight.view(k, -1, patches.shape[2]))
        x = x + bias.view(k, 1, -1)
    return x.unflatten(1, (batch, -1)).permute(1, 0, 3, 2).reshape(batch, -1, *size)


class Encoder(nn.Module):
    """E(x [B, in_channels, H, W] in [-1, 1]) -> [B, n_styles, w_dim]; ReStyle: x is image and reconstruction.

    head_channels: the width inside the heads (None: w_dim, or what suits a small backbone). `stage`, of a
    progressive encoder: how many offsets are active (None: all). absolute: an ablation's, each step's codes
    add to the average style and not to the step before. options: the backbone's."""

    def __init__(self, backbone="irse50", head="single", progressive=False, n_styles=18, w_dim=512,
                 in_channels=6, input_size=(256, 256), head_channels=None, absolute=False, **options):
        super().__init__()
        memory.keep()
        if head not in HEADS:
            raise suggest(head, HEADS, "head")
        self.config = dict(backbone=backbone, head=head, progressive=progressive, n_styles=n_styles,
                           w_dim=w_dim, in_channels=in_channels, input_size=list(input_size),
                           head_channels=head_channels, **({"absolute": True} if absolute else {}), **options)
        self.absolute = absolute
        self.n_styles, self.w_dim, self.progressive, self.stage = n_styles, w_dim, progressive, None
        self.in_channels, self.input_size = in_channels, tuple(input_size)
        self.backbone = build_backbone(backbone, in_channels, **options)
        channels = self.backbone.channels
        width = head_channels or self.backbone.head_channels or w_dim
        ends = HEADS[head](n_styles)
        self.starts = [0] + ends[:-1]
        strides = self.backbone.strides[::-1][:len(ends)]
        self.heads = nn.ModuleList(
            StyleHeads(end - start, channels[-1], width, w_dim, [math.ceil(s / stride) for s in input_size])
            for start, end, stride in zip(self.starts, ends, strides, strict=True) if end > start)
        finer = channels[1::-1][:len(ends) - 1]
        self.lateral = nn.ModuleList(nn.Conv2d(c, channels[-1], 1) for c in finer)

    def forward(self, x):
        if x.shape[1:] != (self.in_channels, *self.input_size):
            takes = ", ".join(map(str, (self.in_channels, *self.input_size)))
            raise UserError(f"this encoder takes [B, {takes}], not {list(x.shape)}")
        features = self._features(self.backbone(x))
        staged = self.progressive and self.stage is not None
        k = min(self.stage + 1, self.n_styles) if staged else self.n_styles
        parts = zip(self.heads, features, self.starts, strict=False)
        codes = [heads(feature, min(k - start, heads.count)) for heads, feature, start in parts if start < k]
        codes = torch.cat(codes, 1)
        if not self.progressive:
            return codes
        return codes[:, :1] + F.pad(codes[:, 1:], (0, 0, 1, self.n_styles - k))

    def resize(self, input_size):
        """For images of another size [H, W] from now on; UserError unless the heads still end in a pixel."""
        strides = self.backbone.strides[::-1]
        for heads, stride in zip(self.heads, strides, strict=False):
            if depth_for([math.ceil(side / stride) for side in input_size]) != len(heads.weights):
                raise UserError(f"an encoder for {list(self.input_size)} cannot take {list(input_size)}")
        self.input_size, self.config["input_size"] = tuple(input_size), list(input_size)
        return self

    def _features(self, maps):
        """The map that each group of heads reads, coarse to fine (pSp, Section 3: a feature pyramid)."""
        features = [maps[-1]]
        for lateral, finer in zip(self.lateral, maps[1::-1], strict=False):
            coarse = F.interpolate(features[-1], finer.shape[2:], mode="bilinear", align_corners=True)
            features.append(coarse + lateral(finer))
        return features

    @torch.no_grad()
    def load_trunk(self, state, extra="zero"):
        """Copies a pretrained backbone's state dict; -> dict(matched, missing, unexpected) of names.

        The first convolution's image channels are copied (summed for grey images, which the trunk saw as
        three equal channels); the reconstruction's start at "zero", or "normal": N(0, 1), as published."""
        if extra not in ("zero", "normal"):
            raise suggest(extra, ("zero", "normal"), "start of the extra channels")
        own = self.backbone.state_dict()
        state = {name.removeprefix("backbone."): value for name, value in state.items()}
        first = next(name for name, value in own.items() if value.ndim == 4)
        if first in state:
            state[first] = widen(state[first], self.in_channels, extra)
        matched = [name for name in own if name in state and state[name].shape == own[name].shape]
        if not any(own[name].ndim == 4 for name in matched):
            raise UserError(f"no convolution of this trunk fits the backbone {self.backbone.name}; it holds "
                            f"{', '.join(list(state)[:3]) or 'nothing'}, ...")
        self.backbone.load_state_dict({name: state[name] for name in matched}, strict=False)
        return {"matched": matched, "missing": [name for name in own if name not in matched],
                "unexpected": [name for name in state if name not in matched]}


def widen(weight, in_channels, extra="zero"):
    """A first convolution [out, c, h, w] for `in_channels`: see load_trunk."""
    if in_channels < 3 and weight.shape[1] == 3:
        weight = weight.sum(1, keepdim=True)
    more = weight.new_zeros(len(weight), max(in_channels - weight.shape[1], 0), *weight.shape[2:])
    return torch.cat([weight, more.normal_() if extra == "normal" else more], 1)[:, :in_channels]
