"""How a scene is drawn: what a look changes of shapes and paint, and the pen and colours of a drawing."""
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from .shapes import ramp


@dataclass(frozen=True)
class Look:
    """Factors on shapes and paint (1 leaves them), and what a drawing adds (0 leaves it away)."""
    eye_wide: float = 1.0
    eye_high: float = 1.0
    iris: float = 1.0
    nose: float = 1.0
    skin_detail: float = 1.0                                 # mottling, folds, sockets, age lines
    brow: float = 1.0
    brow_lift: float = 0.0                                   # in half heights of the head
    bold: float = 0.0                                        # 1: a few bold locks in place of strands
    steps: float = 0.0                                       # of light between dark and lit
    outline: float = 0.0                                     # half width of the pen, in scene units
    vivid: float = 0.0                                       # gain of saturation


PLAIN = Look()


def vivid(rgb, gain):
    """Colours [B, 3, P] further from their grey by up to `gain` (less where they are strong), and lighter."""
    low, high = rgb.aminmax(dim=1, keepdim=True)
    push = 1 + gain * (1.3 - 1.5 * (high - low)).clamp_(0, 1)
    grey = rgb.mean(1, keepdim=True)
    return (grey + push * (rgb - grey)).clamp_(0.01, 1).pow_(1 - 0.4 * gain)


def _blur(fields, sigma):
    """Gaussian blur of [B, C, H, W]; `sigma` in pixels may be any positive number."""
    reach = math.ceil(2.5 * sigma)
    taps = torch.arange(-reach, reach + 1, device=fields.device, dtype=torch.float32) / sigma
    taps = torch.softmax(-0.5 * taps.square(), 0)
    channels = fields.shape[1]
    fields = F.pad(fields, (reach,) * 4, mode="replicate")
    fields = F.conv2d(fields, taps.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
    return F.conv2d(fields, taps.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)


def pen(regions, depth, height, width, sigma):
    """Share of ink [B, P] where regions [B, R, P] meet and depth [B, P] jumps; lines are about 2 sigma wide.

    Blurred shares b have 1 - sum b² = 1/2 on a line between two regions; blurred depth has variance at a
    jump.
    """
    fields = torch.cat([regions, depth[:, None], depth.square()[:, None]], 1)
    soft = _blur(fields.unflatten(2, (height, width)), sigma).flatten(2)
    meet = 1 - soft[:, :-2].square().sum(1)
    inner = ramp(0.02, 0.002, soft[:, 0])
    jump = (soft[:, -1] - soft[:, -2].square()).clamp_(min=0).add_(1e-8).sqrt_()
    return torch.maximum(ramp(0.18, 0.36, meet), ramp(0.035, 0.07, jump) * inner)
