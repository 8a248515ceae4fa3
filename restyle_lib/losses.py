"""Training losses of pSp, e4e and ReStyle (images in [-1, 1]), and the latent discriminator of e4e.

A `LossSet` holds a domain's weights and networks; the same code serves every domain.
"""
import importlib.util
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from .errors import UserError, suggest

IMAGE_TERMS = ("l2", "perceptual", "lpips", "identity", "moco", "attributes")
LATENT_TERMS = ("w_norm", "delta_norm", "adversarial")
TERMS = IMAGE_TERMS + LATENT_TERMS


def l2(output, target):
    """Mean squared error over all elements (pSp, Section 3.1)."""
    return F.mse_loss(output, target)


def cosine_loss(a, b):
    """Unit features a, b [B, n] -> mean of 1 - cosine: the identity and MoCo losses (pSp, Section 3.1)."""
    return (1 - (a * b).sum(1)).mean()


def w_norm(latent, w_mean):
    """Batch mean of the Frobenius norm of latent [B, k, d] - w_mean [k, d] or [d] (pSp, Section 3.1)."""
    return (latent - w_mean).flatten(1).norm(dim=1).mean()


def delta_norm(latent, stage=None):
    """e4e (Tov et al. 2021): norms of w_i - w_0, batch mean, summed over the offsets 1..stage (None: all)."""
    offsets = latent[:, 1:None if stage is None else stage + 1] - latent[:, :1]
    return offsets.norm(dim=2).mean(0).sum()


class LatentDiscriminator(nn.Module):
    """e4e's judge of single style vectors: w [N, d] -> logits [N, 1]; four layers, LeakyReLU 0.2 between."""

    def __init__(self, w_dim=512, width=None, depth=4):
        super().__init__()
        self.config = dict(w_dim=w_dim, width=width, depth=depth)
        widths = [w_dim] + [width or w_dim] * (depth - 1) + [1]
        layers = [layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.LeakyReLU(0.2))]
        self.mlp = nn.Sequential(*layers[:-1])

    def forward(self, w):
        return self.mlp(w)


def adversarial(discriminator, latent, stage=None):
    """e4e: non-saturating loss of the active styles 0..stage of latent [B, k, d], their mean."""
    active = latent[:, :None if stage is None else stage + 1]
    return F.softplus(-discriminator(active.flatten(0, 1))).mean()


def discriminator_loss(discriminator, real, fake):
    """Logistic loss on style vectors real, fake [N, d]; neither needs a gradient."""
    return F.softplus(-discriminator(real)).mean() + F.softplus(discriminator(fake)).mean()


def r1(discriminator, real):
    """R1 (Mescheder et al. 2018), unweighted: mean squared norm of the gradient at `real` [N, ...]."""
    real = real.detach().requires_grad_(True)
    gradient, = torch.autograd.grad(discriminator(real).sum(), real, create_graph=True)
    return gradient.flatten(1).square().sum(1).mean()


class LatentPool:
    """e4e's pool of old style vectors; once it is full, half of those given are exchanged for older ones."""

    def __init__(self, size=50):
        self.size, self.kept = size, None

    def add(self, w, generator=None):
        """w: [N, d], or [N, k, d], of which one style each is drawn -> [N, d].

        `generator`: the CPU one that decides. The pool's whole state is the tensor `kept`."""
        if w.ndim == 3:
            w = w[torch.arange(len(w)), torch.randint(w.shape[1], (len(w),), generator=generator)]
        kept = w[:0] if self.kept is None else self.kept
        room = min(self.size - len(kept), len(w))
        kept, out = torch.cat([kept, w[:room].detach()]), [w[:room]]
        for vector in w[room:]:
            swap = self.size > 0 and torch.rand((), generator=generator) < 0.5
            index = int(torch.randint(self.size, (), generator=generator)) if swap else 0
            out.append((kept[index].clone() if swap else vector)[None])
            if swap:
                kept[index] = vector.detach()
        self.kept = kept
        return torch.cat(out)


class OwnLoss(nn.Module):
    """A reader's loss "module.py:function" (the file relative to `folder`): function(output, target), both
    [B, C, H, W] in [-1, 1], gives one number for the batch. UserError where it does not."""

    def __init__(self, spec, folder="."):
        super().__init__()
        self.spec, (file, _, name) = spec, str(spec).partition(":")
        self.path = Path(folder) / file
        try:
            found = importlib.util.spec_from_file_location(self.path.stem, self.path)
            module = importlib.util.module_from_spec(found)
            found.loader.exec_module(module)
            self.function = getattr(module, name)
        except Exception as error:
            told = f"{type(error).__name__}: {error}"
            raise UserError(f"the loss {spec} cannot be read from {self.path} ({told}); accepted: "
                            "FILE.py:FUNCTION, the file relative to the plan's folder") from None

    def forward(self, output, target):
        value = self.function(output, target)
        if not torch.is_tensor(value) or value.dim() or output.requires_grad != value.requires_grad:
            shown = f"a tensor {list(value.shape)}" if torch.is_tensor(value) else f"a {type(value).__name__}"
            raise UserError(f"the loss {self.spec} returned {shown}; accepted: a scalar tensor for the whole "
                            "batch that depends on the output, such as (output - target).abs().mean()")
        return value


class LossSet:
    """The weighted sum of a domain's losses: (output, target, latent) -> (total, {term: unweighted scalar}).

    weights: {term: weight}; those of weight 0 cost nothing. networks: "perceptual" and "lpips" (which have a
    `distance`), "identity" and "moco" (giving unit features), "attributes" (a reader with a `difference`: a
    smile hardly counts in pixels), "discriminator"; all but the last are frozen.
    What they see in a target is computed once for as long as the same tensor is passed."""

    def __init__(self, weights, networks=None, w_mean=None):
        for name in weights:
            if name not in TERMS and not isinstance((networks or {}).get(name), OwnLoss):
                raise suggest(name, [*TERMS, "FILE.py:FUNCTION"], "loss")
        self.weights = {name: float(weight) for name, weight in weights.items() if weight}
        if not self.weights:
            raise UserError(f"every loss has weight 0; give a positive weight to one of {', '.join(TERMS)}")
        self.networks, self.w_mean = networks or {}, w_mean
        for name in self.weights:
            network = {"adversarial": "discriminator"}.get(name, name)
            if name not in ("l2", "w_norm", "delta_norm") and self.networks.get(network) is None:
                raise UserError(f"the loss {name} needs the network '{network}'; give one, or weight 0")
            if name in IMAGE_TERMS and network in self.networks:
                self.networks[network].eval().requires_grad_(False)
        if "w_norm" in self.weights and w_mean is None:
            raise UserError("the loss w_norm needs the generator's average style")
        self._target = self._seen = None

    def __call__(self, output, target, latent=None, stage=None):
        """output, target: [B, C, H, W]; latent: [B, k, d], w_mean included; stage: e4e's active offsets."""
        terms = {name: self._term(name, output, target, latent, stage) for name in self.weights}
        total = sum(weight * terms[name] for name, weight in self.weights.items())
        return total, {name: value.detach() for name, value in terms.items()}

    def _term(self, name, output, target, latent, stage):
        if name == "l2":
            return l2(output, target)
        if name not in TERMS:
            return self.networks[name](output, target)
        if name in ("perceptual", "lpips"):
            return self.networks[name].distance(output, self._features(name, target)).mean()
        if name == "attributes":
            return self.networks[name].difference(output, self._features(name, target))
        if name in ("identity", "moco"):
            return cosine_loss(self.networks[name](output), self._features(name, target))
        if latent is None:
            raise UserError(f"the loss {name} needs the latent")
        if name == "w_norm":
            return w_norm(latent, self.w_mean)
        if name == "delta_norm":
            return delta_norm(latent, stage)
        return adversarial(self.networks["discriminator"], latent, stage)

    def _features(self, name, target):
        if self._target is None or self._target[0] is not target or self._target[1] != target._version:
            self._target, self._seen = (target, target._version), {}
        if name not in self._seen:
            with torch.no_grad():
                self._seen[name] = self.networks[name](target)
        return self._seen[name]
