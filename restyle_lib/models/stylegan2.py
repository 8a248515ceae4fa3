"""StyleGAN2: the generator (mapping and skip synthesis), the residual discriminator, the fingerprint."""
import hashlib
import math
from functools import partial

import torch
from torch import nn

from .. import memory
from ..errors import UserError
from . import fast, frozen
from .layers import EqualConv, EqualLinear, StyledConv, ToImage, minibatch_deviation

NOISE_MODES = '"const", "random", "none", a seed, or a list of maps'


def published_channels(resolution):
    """{side: channels} of the published networks: 512 up to 64 pixels, then halved with each doubling."""
    return {side: min(512, 32768 // side) for side in sides(resolution)}


def sides(resolution):
    """[4, 8, ..., resolution]; a UserError unless the resolution is such a power of two."""
    if resolution < 8 or resolution & (resolution - 1):
        raise UserError(f"a StyleGAN2 has a resolution of 8, 16, 32, ... pixels, not {resolution}")
    return [2**power for power in range(2, int(math.log2(resolution)) + 1)]


def _channels(resolution, channels):
    table = channels or published_channels(resolution)
    table = {int(side): width for side, width in table.items()}
    missing = [side for side in sides(resolution) if side not in table]
    if missing:
        raise UserError(f"the channel table of a {resolution} px network lacks {missing}")
    return {side: table[side] for side in sides(resolution)}


class Mapping(nn.Sequential):
    """z [B, z_dim] -> w [B, w_dim]: pixel norm, then equalised layers at a hundredth of the learning rate."""

    def __init__(self, z_dim, w_dim, layers):
        widths = [z_dim] + [w_dim] * layers
        super().__init__(*(EqualLinear(a, b, rate=0.01, active=True)
                           for a, b in zip(widths[:-1], widths[1:], strict=True)))

    def forward(self, z):
        return super().forward(z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8))


class Generator(nn.Module):
    """G(w [B, d] or [B, k, d], noise) -> images [B, C, R, R], about [-1, 1]. StyleGAN2 with skip connections.

    Convolution j reads style j; the image layer of block i reads style 2i + 1. `config` rebuilds the network;
    `w_mean` [k, d] is the average style."""

    def __init__(self, resolution, *, z_dim=512, w_dim=512, mapping_layers=8, channels=None, image_channels=3,
                 conv_clamp=None):
        super().__init__()
        memory.keep()
        table = _channels(resolution, channels)
        self.config = dict(resolution=resolution, z_dim=z_dim, w_dim=w_dim, mapping_layers=mapping_layers,
                           channels=table, image_channels=image_channels, conv_clamp=conv_clamp)
        self.resolution, self.image_channels = resolution, image_channels
        self.z_dim, self.w_dim = z_dim, w_dim
        self.n_styles = 2 * len(table)
        self.mapping = Mapping(z_dim, w_dim, mapping_layers)
        self.constant = nn.Parameter(torch.randn(table[4], 4, 4))
        self.convs = nn.ModuleList([StyledConv(table[4], table[4], w_dim, 4, clamp=conv_clamp)])
        self.to_images = nn.ModuleList([ToImage(table[4], image_channels, w_dim, clamp=conv_clamp)])
        for side in list(table)[1:]:
            self.convs += [StyledConv(table[side // 2], table[side], w_dim, side, up=True, clamp=conv_clamp),
                           StyledConv(table[side], table[side], w_dim, side, clamp=conv_clamp)]
            self.to_images.append(ToImage(table[side], image_channels, w_dim, clamp=conv_clamp))
        self.register_buffer("w_mean", torch.zeros(self.n_styles, w_dim))

    def forward(self, w, noise="const"):
        """w: [B, d] or [B, k, d]. noise: "const" (the network's own maps), "random" (fresh), "none", a seed
        (the same maps for every image, whatever its batch), or a list of maps [1 or B, 1, r, r]."""
        styles = self.styles(w)
        noise = self._noise(noise, w)
        x = self.constant.repeat(len(w), 1, 1, 1).contiguous(memory_format=torch.channels_last)
        x = self.convs[0](x, styles[:, 0], noise[0])
        image = self.to_images[0](x, styles[:, 1])
        for block in range(1, len(self.to_images)):
            first, second, last = range(2 * block - 1, 2 * block + 2)
            up, conv, to_image = self.convs[first], self.convs[second], self.to_images[block]
            if fast.applies(x, up.resolution):
                parts, final = styles[:, first:last + 1].unbind(1), up.resolution == self.resolution
                x, image = fast.render_block(x, image, up, conv, to_image, parts, noise[first:last], final)
            else:
                for layer, j in ((up, first), (conv, second)):
                    run = partial(frozen.styled, layer) if frozen.applies(layer, x, noise[j]) else layer
                    x = run(x, styles[:, j], noise[j])
                image = to_image(x, styles[:, last], image)
        return image

    def styles(self, w):
        """w: [B, d] or [B, k, d] -> [B, k, d], one style a layer."""
        if w.ndim == 2 and w.shape[1] == self.w_dim:
            return w[:, None].expand(-1, self.n_styles, -1)
        if w.ndim == 3 and w.shape[1:] == (self.n_styles, self.w_dim):
            return w
        raise UserError(f"this generator takes latents [B, {self.w_dim}] or "
                        f"[B, {self.n_styles}, {self.w_dim}], not {list(w.shape)}")

    def modulations(self, w):
        """w: [B, d] or [B, k, d] -> the scales of every layer's input channels, [B, n] of each layer."""
        styles = self.styles(w)
        layers = [(conv, j) for j, conv in enumerate(self.convs)]
        layers += [(to_image, 2 * i + 1) for i, to_image in enumerate(self.to_images)]
        return [layer.style(styles[:, j]) for layer, j in sorted(layers, key=lambda pair: pair[1])]

    def mix(self, w_a, w_b, layer):
        """Style mixing: the styles of w_a before `layer`, of w_b from it on -> [B, k, d]."""
        return torch.cat([self.styles(w_a)[:, :layer], self.styles(w_b)[:, layer:]], 1)

    def truncate(self, w, psi):
        """w: [B, d] or [B, k, d] -> w_mean + psi (w - w_mean), [B, k, d] (StyleGAN, Appendix B)."""
        return self.w_mean + psi * (self.styles(w) - self.w_mean)

    @torch.no_grad()
    def set_w_mean(self, value):
        """Stores the average style, [d] or [k, d]."""
        self.w_mean.copy_(value)

    @torch.no_grad()
    def estimate_w_mean(self, count=10_000, seed=0):
        """Sets w_mean to the mean of `count` mapped normal draws of a seed."""
        z = torch.randn(count, self.z_dim, generator=torch.Generator().manual_seed(seed)).to(self.w_mean)
        self.set_w_mean(sum(self.mapping(part).sum(0) for part in z.split(1000)) / count)

    def noise_maps(self, seed, batch=1):
        """A map [batch, 1, r, r] for every convolution; those of image b depend on (seed, b) alone."""
        streams = [torch.Generator().manual_seed((seed * 1_000_003 + b) % 2**63) for b in range(batch)]
        return [torch.stack([torch.randn(1, conv.resolution, conv.resolution, generator=s) for s in streams])
                .to(self.constant) for conv in self.convs]

    def _noise(self, noise, w):
        if isinstance(noise, str) and noise == "const":
            return [conv.noise_const[None, None] for conv in self.convs]
        if isinstance(noise, str) and noise == "random":
            return [torch.randn(len(w), 1, conv.resolution, conv.resolution, device=w.device, dtype=w.dtype)
                    for conv in self.convs]
        if isinstance(noise, str) and noise == "none":
            return [None] * len(self.convs)
        if isinstance(noise, int):
            return self.noise_maps(noise)
        if isinstance(noise, (list, tuple)) and len(noise) == len(self.convs):
            return noise
        raise UserError(f"noise is {NOISE_MODES}, one for each of {len(self.convs)} convolutions; "
                        f"not {noise!r:.60}")


class Discriminator(nn.Module):
    """D(x [B, C, R, R]) -> logits [B, 1]: residual blocks, minibatch deviation (StyleGAN2, Section 4.1).

    conv_clamp bounds what its convolutions return (NVIDIA's networks of mixed precision)."""

    def __init__(self, resolution, *, channels=None, image_channels=3, mbstd_group=4, conv_clamp=None):
        super().__init__()
        table = _channels(resolution, channels)
        self.config = dict(resolution=resolution, channels=table, image_channels=image_channels,
                           mbstd_group=mbstd_group, conv_clamp=conv_clamp)
        self.group = mbstd_group
        self.from_image = EqualConv(image_channels, table[resolution], 1, clamp=conv_clamp)
        pairs = [(table[side], table[side // 2]) for side in reversed(table) if side > 4]
        self.blocks = nn.ModuleList(ResidualBlock(a, b, conv_clamp) for a, b in pairs)
        self.last = EqualConv(table[4] + 1, table[4], 3, clamp=conv_clamp)
        self.hidden = EqualLinear(table[4] * 16, table[4], active=True)
        self.logit = EqualLinear(table[4], 1)

    def forward(self, x):
        x = self.from_image(x.contiguous(memory_format=torch.channels_last))
        for block in self.blocks:
            x = block(x)
        x = self.last(minibatch_deviation(x, self.group))
        return self.logit(self.hidden(x.flatten(1)))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, the second halving, and a halving 1x1 skip; the sum keeps its variance."""

    def __init__(self, fan_in, fan_out, clamp=None):
        super().__init__()
        self.first = EqualConv(fan_in, fan_in, 3, clamp=clamp)
        self.second = EqualConv(fan_in, fan_out, 3, down=True, clamp=clamp)
        self.skip = EqualConv(fan_in, fan_out, 1, down=True, bias=False, active=False)

    def forward(self, x):
        half = math.sqrt(0.5)
        return self.second(self.first(x), gain=half) + self.skip(x, gain=half)


def fingerprint(module):
    """sha256 (hex) of a network's float32 tensors in the order of their names, whatever their file."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        if tensor.is_floating_point():
            digest.update(f"{name} {list(tensor.shape)}\n".encode())
            values = tensor.detach().to("cpu", torch.float32).contiguous().numpy()
            digest.update(values.astype("<f4", copy=False).ravel())
    return digest.hexdigest()
