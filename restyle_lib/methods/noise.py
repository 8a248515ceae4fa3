"""Random numbers and noise maps of optimisation, image by image: none depends on the batch around it."""
import hashlib

import torch
import torch.nn.functional as F


def content(image):
    """16 hexadecimal digits of an image [C, H, W]: of its shape and its float32 values."""
    values = image.detach().to("cpu", torch.float32).contiguous().numpy()
    return hashlib.sha256(str(values.shape).encode() + values.astype("<f4").tobytes()).hexdigest()[:16]


class Streams:
    """A stream of normal numbers for each of images [B, C, H, W], from (seed, what the image shows) alone."""

    def __init__(self, images, seed):
        seeds = [(int(content(image)[:15], 16) + 1_000_003 * seed) % 2**63 for image in images]
        self.streams = [torch.Generator().manual_seed(each) for each in seeds]

    def like(self, latent):
        """Fresh draws in the shape of latent [B, ...]."""
        drawn = [torch.randn(latent.shape[1:], generator=stream) for stream in self.streams]
        return torch.stack(drawn).to(latent)


@torch.no_grad()
def spread(generator, count=10_000):
    """The RMS distance of mapped normal draws from their mean: sigma_w of StyleGAN2, Appendix D."""
    z = torch.randn(count, generator.z_dim, generator=torch.Generator().manual_seed(0))
    w = torch.cat([generator.mapping(part.to(generator.w_mean)) for part in z.split(1000)])
    return (w - w.mean(0)).square().sum(1).mean().sqrt()


def autocorrelation(maps):
    """How far neighbours in noise maps [B, 1, r, r] go together, over scales down to 8 px: -> [B].

    StyleGAN2, Appendix D, as in its code: halves are plain averages."""
    total = 0
    for m in maps:
        while True:
            for axis in (2, 3):
                total = total + (m * m.roll(1, axis)).mean((1, 2, 3)).square()
            if m.shape[-1] <= 8:
                break
            m = F.avg_pool2d(m, 2)
    return total


@torch.no_grad()
def normalise(maps):
    """Every image's map [B, 1, r, r] gets mean 0 and deviation 1, in place."""
    for m in maps:
        m -= m.mean((1, 2, 3), keepdim=True)
        m *= m.square().mean((1, 2, 3), keepdim=True).clamp_min(1e-12).rsqrt()
