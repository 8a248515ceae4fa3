"""A warm start for a generator on a rendered world: it first learns the renderer itself, by regression.

Every rendered image was drawn from known normal numbers (a world's `codes`). Put into z they make an ordinary
regression of the network that the adversarial game refines afterwards: on two cores, minutes instead of hours
until poses, hair and glasses are covered. What this means for the science: the mapping network has seen the
scene's own coordinates, so how disentangled W is says nothing about StyleGAN2 trained on photographs.
Photographs have no codes and start from noise.
"""
import torch
import torch.nn.functional as F


def regress(generator, codes, images, perceptual=None, weight=None, reader=None, colour=0.0):
    """Loss of G(f([codes, fresh normals])) against `images` [B, C, R, R]; codes [B, m <= z_dim].

    reader: output -> one more term, of what is read there against the truth: small things like a smile, that
    hardly count in pixels."""
    free = torch.randn(len(codes), generator.config["z_dim"] - codes.shape[1], device=codes.device)
    output = generator(generator.mapping(torch.cat([codes, free], 1)), noise="none")
    loss = image_loss(output, images, perceptual, weight, colour)
    return loss if reader is None else loss + reader(output)


@torch.no_grad()
def quiet_styles(generator, share=0.03):
    """Shrinks the affine layers' weights, so that w hardly matters at first and what matters grows: at full
    size the many codes that do not show drown those that do (four times the images to the same loss)."""
    for name, parameter in generator.named_parameters():
        if name.endswith("affine.weight"):
            parameter.mul_(share)


def image_loss(output, target, perceptual=None, weight=None, colour=0.0):
    """L1 + L2 at four scales + L1 of the gradients, weighted by `weight` [B, 1, R, R]; (+ a perceptual
    distance (a, b) -> [B]). colour: how much more L2 counts in what is left of the difference without its
    grey: a paint's hue is small beside shapes, and was not learnt at all without."""
    weight = torch.ones_like(output[:, :1]) if weight is None else weight
    difference = output - target
    loss = _mean(difference.abs(), weight)
    for axis in (2, 3):
        side = weight.shape[axis] - 1
        loss = loss + 2 * _mean(difference.diff(dim=axis).abs(), weight.narrow(axis, 1, side))
    for _ in range(4):
        loss = loss + _mean(difference.square(), weight)
        if colour:
            grey = difference.mean(1, keepdim=True)
            loss = loss + colour * _mean((difference - grey).square(), weight)
        if min(difference.shape[2:]) > 1:
            difference, weight = F.avg_pool2d(difference, 2), F.avg_pool2d(weight, 2)
    return loss if perceptual is None else loss + perceptual(output, target).mean()


def _mean(values, weight):
    return (values * weight).mean() / weight.mean()
