"""ReStyle's encoder and loop the slow and obvious way, on the layers of an Encoder: for tests and bench.

The trunk runs in PyTorch's default memory layout, every style's head on its own, and a batch through the
plain generator (`synthesize` of stylegan2_plain), with pooling to the input's size after it.
"""
import math

import torch
import torch.nn.functional as F


def head(group, k, x):
    """Style k of a group of heads: x [B, C, h, w] -> [B, d]."""
    rows = slice(k * group.width, (k + 1) * group.width)
    for weight, bias in zip(group.weights, group.biases, strict=True):
        x = F.leaky_relu(F.conv2d(x, weight[rows], bias[rows], stride=2, padding=1), 0.01)
    out = slice(k * group.w_dim, (k + 1) * group.w_dim)
    return F.linear(x.flatten(1), group.linear_weight[out] / math.sqrt(group.width), group.linear_bias[out])


def encode(encoder, x):
    """x [B, C, H, W] -> codes [B, k, d]."""
    for name in encoder.backbone.stem_names:
        x = getattr(encoder.backbone, name)(x)
    maps = []
    for number, unit in enumerate(encoder.backbone.body):
        x = unit(x)
        if number in encoder.backbone.taps:
            maps.append(x)
    features = [maps[-1]]
    for lateral, finer in zip(encoder.lateral, maps[1::-1], strict=False):
        coarse = F.interpolate(features[-1], finer.shape[2:], mode="bilinear", align_corners=True)
        features.append(coarse + lateral(finer))
    codes = [head(group, k, feature) for group, feature in zip(encoder.heads, features, strict=False)
             for k in range(group.count)]
    codes = torch.stack(codes, 1)
    return torch.cat([codes[:, :1], codes[:, :1] + codes[:, 1:]], 1) if encoder.progressive else codes


def draw(synthesize, state, w, size):
    """w [B, k, d] -> images [B, C, H, W], pooled from the generator's resolution to `size`."""
    return F.adaptive_avg_pool2d(synthesize(state, w), size)


def invert(encoder, synthesize, state, images, steps=5):
    """images [B, C, H, W] -> latents [B, k, d] after `steps` steps from the average style."""
    w = state["w_mean"].expand(len(images), -1, -1)
    y = draw(synthesize, state, w[:1], images.shape[2:]).expand_as(images)
    for _ in range(steps):
        w = w + encode(encoder, torch.cat([images, y], 1))
        y = draw(synthesize, state, w, images.shape[2:])
    return w


def learn(encoder, synthesize, state, images, w, y):
    """One step of training: loss (L2) and gradients of the encoder at latents w and their images y."""
    w = w + encode(encoder, torch.cat([images, y], 1))
    loss = F.mse_loss(draw(synthesize, state, w, images.shape[2:]), images)
    loss.backward()
    return loss
