"""Naive re-feeding (Appendix C): a single-pass encoder is fed its own reconstruction in place of the image.

y_0 = x and w_t+1 = E(y_t): the latent is replaced, nothing is added, and the image is seen once only."""
from dataclasses import dataclass

from ..errors import UserError
from ..inverter import Inverter
from ..refine import refine
from .onepass import STEPS, EncoderMethod, bound, is_single


@dataclass(frozen=True, kw_only=True, eq=False)
class NaiveRefeeding(EncoderMethod):
    """A single-pass Inverter fed with what it made. Step 1 is its ordinary pass. steps: 0 means 5."""
    inverter: Inverter
    steps: int = 0

    def __post_init__(self):
        if not is_single(self.inverter):
            raise UserError(f"{self.inverter.name} sees image and reconstruction; naive re-feeding needs an "
                            "encoder of the image alone, such as pSp or e4e")
        if self.steps < 0:
            raise UserError(f"{self.inverter.name}: steps={self.steps}; accepted: 1 or more")
        object.__setattr__(self, "steps", self.steps or STEPS)
        object.__setattr__(self, "name", self.name or f"naive:{self.inverter.name}")

    def __call__(self, images, generator=None, domain=None):
        """images [B, C, H, W] in [-1, 1] at encoder size -> Trajectory of `steps` steps, timed when warm."""
        inverter = bound(self.inverter, generator, domain)
        images, channels = inverter.check(images), inverter.domain.channels
        latest = []

        def encode(pair):
            """What leads from the present latent to the code of the picture: `refine` adds it."""
            picture = pair[:, channels:] if latest else pair[:, :channels]
            code = inverter.start + inverter.encoder(picture)
            return code - (latest[-1] if latest else inverter.start)

        def follow(t, now, active):
            latest.append(now.latent)

        if self.timed:
            inverter(images, steps=1)
        found = refine(encode, inverter.synthesize, images, inverter.start, steps=self.steps, callback=follow,
                       start_images=inverter.start_image, timed=self.timed)
        return found.replace(noise=inverter.noise, generator=inverter.fingerprint)
