"""Margin losses over identities: ArcFace, and CurricularFace on the same cosines."""
import math

import torch
import torch.nn.functional as F
from torch import nn


class ArcMargin(nn.Module):
    """ArcFace (Deng et al. 2019, Equation 3): cross-entropy of s cos(angle); m is added to the own angle.

    With `classes` the centres of the identities are learned. With classes = 0 an image's own centre is the
    other of its pair in the batch, and the others' images are their centres: a few passes suffice."""

    def __init__(self, dim, classes, scale):
        super().__init__()
        self.centres = nn.Parameter(torch.randn(classes, dim) * dim ** -0.5) if classes else None
        self.scale = scale

    def forward(self, embeddings, identities, margin):
        """unit embeddings [B, dim], identities [B] -> (loss, share of images whose own centre is nearest).

        Pairs are the images i and i + B / 2."""
        if self.centres is not None:
            cosine, own = embeddings @ F.normalize(self.centres).T, identities
        else:
            own = torch.arange(len(embeddings), device=embeddings.device).roll(len(embeddings) // 2)
            hidden = (identities[:, None] == identities).scatter(1, own[:, None], False)
            cosine = (embeddings @ embeddings.T).masked_fill(hidden, -2.0)
        logits = self.scale * self.logits(cosine, own[:, None], margin)
        return F.cross_entropy(logits, own), (cosine.argmax(1) == own).float().mean()

    def logits(self, cosine, own, margin):
        """cosine [B, n] (-2: left out), the own column [B, 1] -> cos(angle + margin) in it, else as is."""
        return cosine.scatter(1, own, with_margin(cosine.gather(1, own), margin))


class CurricularMargin(ArcMargin):
    """CurricularFace (Huang et al. 2020, Section 3.2): as ArcFace, but the cosine of a wrong centre that is
    nearer than the own one with its margin is weighted by (t + cosine).

    t follows the batch's mean own cosine, from 0: wrong identities that are hard weigh little at first and
    more the better the network knows the right ones. The published momentum: t <- 0.99 t + 0.01 mean."""

    MOMENTUM = 0.99

    def __init__(self, dim, classes, scale):
        super().__init__(dim, classes, scale)
        self.register_buffer("t", torch.zeros(()))

    def logits(self, cosine, own, margin):
        right = cosine.gather(1, own)
        if self.training:
            self.t.lerp_(right.detach().mean().to(self.t), 1 - self.MOMENTUM)
        nearest = with_margin(right, margin)
        weight = torch.where(cosine > nearest, self.t + cosine, 1.0)    # hard, easy
        return (weight * cosine).scatter(1, own, nearest)


def with_margin(cosine, margin):
    """cos(angle + margin) of the cosines of angles; an angle grows to pi at most."""
    angle = cosine.clamp(-1 + 1e-6, 1 - 1e-6).acos()
    return torch.cos((angle + margin).clamp(max=math.pi))
