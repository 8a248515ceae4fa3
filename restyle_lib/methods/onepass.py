"""An encoder as a method: ReStyle's N steps, or the one pass of pSp, e4e and IDInvert's encoder."""
import dataclasses
from dataclasses import dataclass

from ..errors import UserError
from ..inverter import Inverter
from ..models.stylegan2 import fingerprint

STEPS = 5       # of ReStyle, in training and testing (Section 4)


@dataclass(frozen=True, kw_only=True, eq=False)
class EncoderMethod:
    """An Inverter with a fixed number of steps. steps: 0 means 5, or 1 for an encoder of a single pass."""
    inverter: Inverter
    steps: int = 0
    timed: bool = True
    name: str = ""

    def __post_init__(self):
        single = is_single(self.inverter)
        if self.steps < 0 or single and self.steps > 1:
            raise UserError(f"{self.inverter.name}: steps={self.steps}; accepted: "
                            + ("1, as it sees the image alone; naive re-feeding is 'naive:...'" if single
                               else "1 or more"))
        object.__setattr__(self, "steps", self.steps or (1 if single else STEPS))
        object.__setattr__(self, "name", self.name or self.inverter.name)

    def __call__(self, images, generator=None, domain=None):
        """images [B, C, H, W] in [-1, 1] at encoder size -> Trajectory of `steps` steps, timed when warm."""
        inverter = bound(self.inverter, generator, domain)
        if self.timed:
            inverter(images, steps=1)
        return inverter(images, self.steps, timed=self.timed)

    def settings(self):
        return {"steps": self.steps, "timed": self.timed}

    def weights(self, domain=None):
        return [fingerprint(self.inverter.encoder)]


def is_single(inverter):
    """Whether the encoder sees the image alone."""
    return inverter.encoder.in_channels == inverter.domain.channels


def bound(inverter, generator=None, domain=None):
    """The inverter for this domain; UserError if `generator` is another one than it works with."""
    if generator is not None and generator is not inverter.generator:
        theirs = fingerprint(generator)
        if theirs != inverter.fingerprint:
            raise UserError(f"{inverter.name} works with generator {inverter.fingerprint[:12]}, the one "
                            f"given is {theirs[:12]}; give its own generator")
    same = domain is None or domain == inverter.domain
    return inverter if same else dataclasses.replace(inverter, domain=domain)
