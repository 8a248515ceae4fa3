"""A warm start for a generator: trained first as the decoder of an autoencoder, it covers poses and attributes early.

A small encoder maps an image to a point on the sphere of z; a sliced Wasserstein term (after Kolouri et al. 2018)
keeps the codes distributed like normalised normal draws, so that sampling z afterwards works. Needs no labels.
"""
import math

import torch
import torch.nn.functional as F
from torch import nn


class ImageToZ(nn.Module):
    """x [B, C, R, R] -> z [B, z_dim] of norm sqrt(z_dim); remembers its latest codes for the distribution term."""

    def __init__(self, resolution, z_dim, image_channels=3, width=32, memory=512):
        super().__init__()
        layers, channels = [], image_channels
        for level in range(int(math.log2(resolution)) - 2):
            out = min(width * 2**level, 6 * width)
            layers += [nn.Conv2d(channels, out, 4, 2, 1), nn.LeakyReLU(0.2)]
            if resolution >> (level + 1) <= 16:
                layers += [nn.Conv2d(out, out, 3, 1, 1), nn.LeakyReLU(0.2)]
            channels = out
        self.layers, self.last = nn.Sequential(*layers), nn.Linear(channels * 16, z_dim)
        self.register_buffer("memory", F.normalize(torch.randn(memory, z_dim), dim=1) * math.sqrt(z_dim))

    def forward(self, x):
        return self.on_sphere(self.last(self.layers(x).flatten(1)))

    @staticmethod
    def on_sphere(z):
        return F.normalize(z, dim=1) * math.sqrt(z.shape[1])

    def distribution(self, z, projections=256):
        """Sliced Wasserstein distance of z [B, d] (with the remembered codes) to N(0, I); then remembers z."""
        directions = F.normalize(torch.randn(z.shape[1], projections, device=z.device), dim=0)
        codes = torch.sort(torch.cat([z, self.memory]) @ directions, dim=0).values
        ranks = (torch.arange(len(codes), device=z.device) + 0.5) / len(codes)
        distance = (codes - torch.special.ndtri(ranks)[:, None]).square().mean()
        self.memory.copy_(torch.cat([z.detach(), self.memory])[:len(self.memory)])
        return distance * (len(codes) / len(z))


def reconstruction_loss(output, target, perceptual=None):
    """L1 + L2 at four scales + L1 of the gradients (+ a perceptual distance (a, b) -> [B]); images in [-1, 1]."""
    loss = (output - target).abs().mean()
    for axis in (2, 3):
        loss = loss + (output.diff(dim=axis) - target.diff(dim=axis)).abs().mean()
    difference = output - target
    for _ in range(4):
        loss = loss + difference.square().mean()
        difference = F.avg_pool2d(difference, 2) if min(difference.shape[2:]) > 1 else difference
    return loss if perceptual is None else loss + perceptual(output, target).mean()


def autoencode(encoder, generator, images, *, perceptual=None, angle=0.1, distribution=1.0):
    """One forward pass -> {"reconstruction", "codes"} losses. `angle`: size of the noise turned into each code."""
    z = encoder(images)
    noisy = encoder.on_sphere(z + angle * torch.randn_like(z))
    output = generator(generator.mapping(noisy), noise="random")
    return {"reconstruction": reconstruction_loss(output, images, perceptual),
            "codes": distribution * encoder.distribution(z)}
