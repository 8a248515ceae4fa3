"""LPIPS, version 0.1 (Zhang et al. 2018): the distance of AlexNet's, VGG16's or SqueezeNet's features."""
import importlib.util
from pathlib import Path

import torch
from torch import nn

from ..errors import UserError, suggest
from .features import feature_distance, rgb


class Fire(nn.Module):
    """SqueezeNet's block, in torchvision's names: 1x1 to `narrow` channels, then 1x1 and 3x3 side by side."""

    def __init__(self, fan_in, narrow, half):
        super().__init__()
        self.squeeze = nn.Conv2d(fan_in, narrow, 1)
        self.expand1x1, self.expand3x3 = nn.Conv2d(narrow, half, 1), nn.Conv2d(narrow, half, 3, padding=1)

    def forward(self, x):
        x = self.squeeze(x).relu()
        return torch.cat([self.expand1x1(x), self.expand3x3(x)], 1).relu()


def _alexnet():
    fan_in = 3
    for index, (width, kernel, stride) in enumerate([(64, 11, 4), (192, 5, 1), (384, 3, 1), (256, 3, 1),
                                                     (256, 3, 1)]):
        if index in (1, 2):
            yield nn.MaxPool2d(3, 2)
        yield nn.Conv2d(fan_in, width, kernel, stride, 2 if kernel > 3 else 1)
        yield nn.ReLU()
        fan_in = width


def _vgg16():
    fan_in = 3
    for stage, (width, depth) in enumerate([(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)]):
        if stage:
            yield nn.MaxPool2d(2)
        for _ in range(depth):
            yield nn.Conv2d(fan_in, width, 3, padding=1)
            yield nn.ReLU()
            fan_in = width


def _squeezenet():
    yield nn.Conv2d(3, 64, 3, 2)
    yield nn.ReLU()
    fan_in = 64
    for index, (narrow, half) in enumerate([(16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192),
                                            (64, 256), (64, 256)]):
        if index in (0, 2, 4):
            yield nn.MaxPool2d(3, 2, ceil_mode=True)
        yield Fire(fan_in, narrow, half)
        fan_in = 2 * half


NETWORKS = {
    # torchvision's features   layers whose output counts   their widths
    "alex":    (_alexnet,      (1, 4, 7, 9, 11),            (64, 192, 384, 256, 256)),
    "vgg":     (_vgg16,        (3, 8, 15, 22, 29),          (64, 128, 256, 512, 512)),
    "squeeze": (_squeezenet,   (1, 4, 7, 9, 10, 11, 12),    (64, 128, 256, 384, 384, 512, 512)),
}


class Lpips(nn.Module):
    """`distance(a, b)` -> [B] of images [B, 1 or 3, H, W] in [-1, 1]; network: alex, vgg or squeeze.

    The linear weights are those inside the installed `lpips` package; torchvision is not needed."""

    def __init__(self, network="alex"):
        super().__init__()
        if network not in NETWORKS:
            raise suggest(network, NETWORKS, "LPIPS network")
        layers, self.taps, widths = NETWORKS[network]
        self.config = {"network": network}
        self.features = nn.Sequential(*layers())
        self.weights = nn.ParameterList(torch.zeros(c) for c in widths)
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(3, 1, 1), persistent=False)

    def forward(self, images):
        x, maps = (rgb(images) - self.shift) / self.scale, []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.taps:
                maps.append(x)
        return maps

    def distance(self, a, b):
        """Images a, b -> [B]; either may be the list of maps already computed."""
        a, b = (x if isinstance(x, list) else self(x) for x in (a, b))
        return feature_distance(a, b, self.weights)


def lpips_weights(network="alex"):
    """The weight vectors of LPIPS v0.1 for a network, from the folder of the installed `lpips` package."""
    spec = importlib.util.find_spec("lpips")
    path = Path(spec.origin).parent / "weights" / "v0.1" / f"{network}.pth" if spec else None
    if path is None or not path.is_file():
        raise UserError("LPIPS needs the package lpips, which holds its linear weights: pip install lpips")
    state = torch.load(path, map_location="cpu", weights_only=True)
    return [state[f"lin{i}.model.1.weight"].flatten() for i in range(len(state))]
