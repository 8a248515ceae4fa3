"""A warm start for a generator on a rendered world: it first learns the renderer itself, by regression.

Every rendered image was drawn from known normal numbers (a world's `codes`). Put into z they make an ordinary
regression of the network that the adversarial game refines afterwards: on two cores, minutes instead of hours
until poses, hair and glasses are covered. What this means for the science: the mapping network has seen the
scene's own coordinates, so how disentangled W is says nothing about StyleGAN2 trained on photographs.
Photographs have no codes and start from noise.
"""
import torch
import torch.nn.functional as F


def regress(generator, codes, images, perceptual=None):
    """Loss of G(f([codes, fresh normals])) against `images` [B, C, R, R]; codes [B, m <= z_dim]."""
    free = torch.randn(len(codes), generator.config["z_dim"] - codes.shape[1], device=codes.device)
    output = generator(generator.mapping(torch.cat([codes, free], 1)), noise="random")
    return image_loss(output, images, perceptual)


@torch.no_grad()
def quiet_styles(generator, share=0.03):
    """Shrinks the affine layers' weights, so that w hardly matters at first and what matters grows: at full
    size the many codes that do not show drown those that do (four times the images to the same loss)."""
    for name, parameter in generator.named_parameters():
        if name.endswith("affine.weight"):
            parameter.mul_(share)


def image_loss(output, target, perceptual=None):
    """L1 + L2 at four scales + L1 of the gradients (+ 2 x a perceptual distance (a, b) -> [B])."""
    loss = (output - target).abs().mean()
    for axis in (2, 3):
        loss = loss + 2 * (output.diff(dim=axis) - target.diff(dim=axis)).abs().mean()
    difference = output - target
    for _ in range(4):
        loss = loss + difference.square().mean()
        difference = F.avg_pool2d(difference, 2) if min(difference.shape[2:]) > 1 else difference
    return loss if perceptual is None else loss + 2 * perceptual(output, target).mean()
