"""IDInvert's second stage (Zhu et al. 2020, Section 3.2): from the encoder's latent, optimisation that stays
in the domain: a latent must be what the encoder says of its own image."""
from dataclasses import dataclass

import torch

from ..inverter import Inverter
from .onepass import EncoderMethod
from .optimise import Optimise


@dataclass(frozen=True, kw_only=True, eq=False)
class DomainGuided(Optimise):
    """Optimisation with the term domain_weight * mean (w - E(G(w)))^2; gradients flow through E, too.

    Published: 100 iterations at a constant rate of 0.01, weights 1 (pixels), 5e-5 (squared differences of
    unnormalised VGG features) and 2. Perceptual distances here are normalised: 0.8, as in the training; and w
    is measured in deviations of its components, a tenth of optimisation's rate."""
    inverter: Inverter
    steps: int = 100
    lr_share: float = 1 / 60
    ramp_up: float = 0.0
    ramp_down: float = 0.0
    w_noise: float = 0.0
    domain_weight: float = 2.0

    PARTS = ("first", "network", "name", "inverter")

    def __post_init__(self):
        object.__setattr__(self, "first", self.first or EncoderMethod(inverter=self.inverter))
        super().__post_init__()

    def _name(self):
        return f"domain-guided:{self.inverter.name}"

    def _extra(self, latent, image, scale):
        if not self.domain_weight:
            return None
        inverter = self.inverter
        pair = torch.cat([image, inverter.start_image.expand_as(image)], 1)
        code = inverter.start + inverter.encode(pair)
        return self.domain_weight * ((latent - code) / scale).square().mean((1, 2))
