"""Is an image in a model's range? What the network sees of it, beside the domain, what was not drawn, and by
whom: the encoder or the generator."""
from dataclasses import dataclass, replace

import numpy as np
import torch

from .data import domain_dataset, domain_images
from .errors import UserError
from .methods.optimise import Optimise
from .metrics import l2
from .scoring import judges

SURE = 2.33             # deviations: about 1 of 100 images of the domain lies beyond
SLACK = {"L2": 4.2, "perceptual": 3.1}   # median error of held-out avatars over that of samples


@dataclass(frozen=True, eq=False)
class InputCheck:
    """What `check_inputs` found; errors {measure: [B]} after the last step, limits {measure: number}."""
    images: torch.Tensor            # [B, C, H, W], as the network sees them
    reference: torch.Tensor         # [R, C, H, W], of the domain, as the network sees them
    trajectory: object              # of the images
    errors: dict
    limits: dict
    usual: dict                     # {measure: its median on the reference}
    basis: str                      # what the limits were found on

    @property
    def outside(self):
        """Whether each image has an error above its limit: bool [B]."""
        return np.any([self.errors[name] > limit for name, limit in self.limits.items()], 0)

    def select(self, rows):
        """The check of some of its images; rows: a list of indices."""
        return replace(self, images=self.images[rows], trajectory=self.trajectory.select(rows),
                       errors={name: values[rows] for name, values in self.errors.items()})

    def warnings(self, names=()):
        """A sentence for each image that is outside."""
        for i in np.flatnonzero(self.outside):
            far = [f"{name} {self.errors[name][i]:.3f}, limit {limit:.3f}"
                   for name, limit in self.limits.items() if self.errors[name][i] > limit]
            yield (f"WARNING: {names[i] if len(names) else f'image {i}'} looks out of this model's range "
                   f"({'; '.join(far)}; {self.basis}): is it of this kind of image, and cropped as the "
                   "reference is?")


@torch.no_grad()
def check_inputs(inverter, images, steps=5, count=48, seed=0, batch=8):
    """Inverts images [B, C, H, W] in [-1, 1] and says if the domain's own are drawn as badly -> InputCheck.

    Limits of L2 and of the perceptual distance (the domain's judge's, or LPIPS, where it is here): a normal
    law through the logarithms of `count` held-out images' errors has 1 in 100 above. Where a domain's images
    are not on this machine, samples of its generator stand in; their errors count SLACK times, as they are
    drawn too easily, and `basis` says so. Outside means: drawn worse than the domain's own images are. An
    image that is inside need not be of the domain."""
    judge = judges(inverter.domain, inverter.device)["perceptual"].network
    try:
        reference, slack = _held_out(inverter.domain, count, seed), {}
        basis = f"limits that 1 in 100 would pass, from {len(reference)} held-out images"
    except UserError:
        reference, slack = _samples(inverter, count, seed, batch), SLACK
        basis = f"limits from {count} samples of the generator, as the domain's images are not here"
    known = [_errors(inverter(part.to(inverter.device), steps).images[-1], part, judge)
             for part in reference.split(batch)]
    known = {name: np.concatenate([row[name] for row in known]) for name in known[0]}
    made = inverter(images.to(inverter.device), steps)
    errors = _errors(made.images[-1], images, judge)
    limits, usual = {}, {}
    for name, values in known.items():
        logs = np.log(np.maximum(values * slack.get(name, 1), 1e-9))
        limits[name], usual[name] = float(np.exp(logs.mean() + SURE * logs.std())), float(np.median(values))
    return InputCheck(images, reference, made, errors, limits, usual, basis)


def best_drawn(inverter, images, latents, steps=100, seed=0):
    """What the generator itself can draw of images [B, C, H, W]: latents [B, k, d] optimised further in W+
    -> Trajectory of steps 0 and `steps`. What its last image misses, no encoder finds."""
    network = judges(inverter.domain, inverter.device)["perceptual"].network
    method = Optimise(steps=steps, seed=seed, record=(0, steps), network=network, timed=False,
                      perceptual=0.8 if network else 0.0)
    return method(images.to(inverter.device), inverter.generator, inverter.domain, start=latents)


def _held_out(domain, count, seed):
    size = len(domain_dataset(domain, "test").split("test"))
    order = np.random.default_rng(seed).permutation(size)[:count]
    return domain_images(domain, indices=np.sort(order), progress=False)


def _samples(inverter, count, seed, batch):
    generator = inverter.generator
    z = torch.randn(count, generator.z_dim, generator=torch.Generator().manual_seed(seed))
    w = generator.mapping(z.to(inverter.device))
    return torch.cat([inverter.synthesize(generator.styles(part)) for part in w.split(batch)]).clamp(-1, 1)


def _errors(drawn, images, judge):
    """{measure: [B]} of reconstructions and their images [B, C, H, W]."""
    images = images.to(drawn.device)
    found = {"L2": l2(drawn, images)} | ({"perceptual": judge.distance(drawn, images)} if judge else {})
    return {name: value.cpu().numpy() for name, value in found.items()}
