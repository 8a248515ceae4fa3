"""The smallest networks and domains that have every moving part, for tests."""
import torch
from torch import nn

from restyle_lib.domains import Domain
from restyle_lib.inverter import Inverter
from restyle_lib.models.stylegan2 import Generator


class TinyEncoder(nn.Module):
    """A linear encoder of either kind: [B, in, H, W] -> [B, k, d]."""

    def __init__(self, n_styles=6, w_dim=8, in_channels=6, input_size=(8, 8), scale=0.05):
        super().__init__()
        self.config = dict(n_styles=n_styles, w_dim=w_dim, in_channels=in_channels,
                           input_size=list(input_size), scale=scale)
        self.n_styles, self.w_dim, self.in_channels = n_styles, w_dim, in_channels
        self.input_size = tuple(input_size)
        self.layer = nn.Linear(in_channels * input_size[0] * input_size[1], n_styles * w_dim)
        self.scale = scale

    def forward(self, x):
        return self.scale * self.layer(x.flatten(1)).unflatten(1, (self.n_styles, self.w_dim))


def generator(resolution=16, channels=3, seed=0):
    torch.manual_seed(seed)
    widths = {4: 8, 8: 8, 16: 8, 32: 8}
    network = Generator(resolution, z_dim=8, w_dim=8, mapping_layers=2, image_channels=channels,
                        channels={side: n for side, n in widths.items() if side <= resolution})
    network.set_w_mean(0.3 * torch.randn(network.n_styles, 8))
    for conv in network.convs:
        torch.nn.init.constant_(conv.noise_strength, 0.2)
    return network.eval().requires_grad_(False)


def domain(resolution=16, channels=3, crop=None, encoder_size=(8, 8), **more):
    return Domain(name="tiny", train="tiny", resolution=resolution, channels=channels, crop=crop,
                  encoder_size=encoder_size, **more)


def inverter(single=False, channels=3, crop=None, encoder_size=(8, 8), **more):
    network = generator(channels=channels)
    torch.manual_seed(1)
    encoder = TinyEncoder(network.n_styles, 8, channels * (1 if single else 2), encoder_size)
    return Inverter(encoder.eval().requires_grad_(False), network,
                    domain(channels=channels, crop=crop, encoder_size=encoder_size), **more)


def images(count=3, channels=3, size=(8, 8), seed=2):
    return torch.rand(count, channels, *size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def pair():
    """Two inverters whose generators share a latent shape: one of a single pass, one that refines."""
    first, second = inverter(single=True), inverter()
    torch.manual_seed(3)
    encoder = TinyEncoder().eval().requires_grad_(False)
    return first, Inverter(encoder, generator(seed=7), second.domain, name="toon")
