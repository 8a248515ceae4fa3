"""A warm start for a generator: trained first as the decoder of a variational autoencoder (Kingma and Welling
2014; with a GAN after it: Larsen et al. 2016), it covers poses and attributes before the GAN sharpens it.

A small encoder maps an image to a normal distribution of z; its divergence from N(0, I) is part of the loss,
so that sampling z afterwards works. Needs no labels.
"""
import math

import torch
import torch.nn.functional as F
from torch import nn


class ImageToZ(nn.Module):
    """x [B, C, R, R] -> mean and log variance of z, [B, z_dim] each."""

    def __init__(self, resolution, z_dim, image_channels=3, width=32):
        super().__init__()
        layers, channels = [], image_channels
        for level in range(int(math.log2(resolution)) - 2):
            out = min(width * 2**level, 6 * width)
            layers += [nn.Conv2d(channels, out, 4, 2, 1), nn.LeakyReLU(0.2)]
            if resolution >> (level + 1) <= 16:
                layers += [nn.Conv2d(out, out, 3, 1, 1), nn.LeakyReLU(0.2)]
            channels = out
        self.layers, self.last = nn.Sequential(*layers), nn.Linear(channels * 16, 2 * z_dim)

    def forward(self, x):
        mean, log_variance = self.last(self.layers(x).flatten(1)).chunk(2, dim=1)
        return mean, log_variance.clamp(-12, 4)


def reconstruction_loss(output, target, perceptual=None):
    """L1 + L2 at four scales + L1 of the gradients (+ a perceptual distance (a, b) -> [B]); in [-1, 1]."""
    loss = (output - target).abs().mean()
    for axis in (2, 3):
        loss = loss + (output.diff(dim=axis) - target.diff(dim=axis)).abs().mean()
    difference = output - target
    for _ in range(4):
        loss = loss + difference.square().mean()
        difference = F.avg_pool2d(difference, 2) if min(difference.shape[2:]) > 1 else difference
    return loss if perceptual is None else loss + perceptual(output, target).mean()


def autoencode(encoder, generator, images, *, perceptual=None, divergence=2.5e-3):
    """One forward pass -> {"reconstruction", "codes"} losses; `divergence`: weight of the codes' nats."""
    mean, log_variance = encoder(images)
    z = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
    output = generator(generator.mapping(z), noise="random")
    nats = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()
    return {"reconstruction": reconstruction_loss(output, images, perceptual), "codes": divergence * nats}
