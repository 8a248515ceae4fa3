"""Settings of an encoder's training."""
import dataclasses
from dataclasses import dataclass

from ..errors import UserError, suggest

CHOICES = {"scheme": ("restyle", "onepass"), "update": ("batch", "step"), "noise": ("random", "const"),
           "extra": ("zero", "normal"), "batch_norm": ("train", "frozen"), "fakes": ("codes", "residuals"),
           "amp": ("", "bf16"), "codes": ("residual", "absolute")}
LATER = {"image_adversarial": 0.0, "head_channels": 0, "codes": "residual"}     # younger than some networks
PYRAMID_WIDTH = 7 / 8   # of a single head's: with 10 styles, 1.96 M parameters beside its 1.95 M
FREE = ("validate_every", "sample_every", "save_every", "log_every", "gradient_shares")  # free on resume


@dataclass(frozen=True)
class EncoderTraining:
    """Settings of an encoder's training; see `presets.encoder`. The image losses come from the domain."""
    scheme: str = "restyle"             # sees image and reconstruction; "onepass": the image alone
    head: str = "single"                # or "pyramid"
    head_channels: int = 0              # the width inside the heads (0: see `width`)
    progressive: bool = False           # e4e's offsets, one after another
    steps: int = 5                      # N; a onepass encoder takes one
    batch: int = 8
    update: str = "batch"               # the N steps' gradients add up to one update; "step": N updates
    lr: float = 1e-4                    # Ranger
    cooldown: float = 0.0               # last share of the run over which lr falls to zero (published: none)
    delta_norm: float = 0.0             # weights of e4e's two terms (0: the domain's)
    adversarial: float = 0.0
    image_adversarial: float = 0.0      # weight of IDInvert's image discriminator
    fakes: str = "codes"                # false ones for the latent discriminator; "residuals": as published
    progressive_start: int = 20_000     # iteration of the first offset, and iterations between two
    progressive_every: int = 2_000
    codes: str = "residual"             # are added to w_t; "absolute": to the average style, an ablation
    noise: str = "random"               # of the generator while training; validation uses its constant noise
    extra: str = "zero"                 # how the reconstruction's input channels start on a pretrained trunk
    batch_norm: str = "train"           # batch statistics; "frozen": the trunk's stored ones
    warm_iterations: int = 0            # first ones, on samples whose latents are known
    warm_steps: int = 2                 # ... at most so many steps each
    flip: bool = True                   # mirror half of the images, where the domain allows it
    iterations: int = 100_000
    seed: int = 0
    amp: str = ""                       # "bf16": mixed precision in encoder and generator
    gradient_shares: int = 0            # so many first iterations log each loss's share of the gradient
    validate_every: int = 1_000
    sample_every: int = 1_000
    save_every: int = 1_000
    log_every: int = 50

    def __post_init__(self):
        for name, accepted in CHOICES.items():
            if getattr(self, name) not in accepted:
                raise suggest(getattr(self, name), accepted, name)
        for name in ("steps", "batch", "iterations"):
            if getattr(self, name) < 1:
                raise UserError(f"{name}={getattr(self, name)}: at least 1 is needed")
        if self.scheme == "onepass" and self.steps != 1:
            raise UserError(f"a onepass encoder is trained with steps=1, not {self.steps}")

    def width(self, domain):
        """Channels inside the heads on a domain: those set, else the domain's, of which the conventional
        pyramid has a share, so that both heads have as many parameters. None: the backbone's own width."""
        share = PYRAMID_WIDTH if self.scheme == "onepass" and self.head == "pyramid" else 1
        return self.head_channels or domain.head_channels and max(1, int(domain.head_channels * share))

    def options(self):
        """The settings as JSON-able values; without those in LATER that change nothing, as older runs are."""
        values = dataclasses.asdict(self)
        return {name: value for name, value in values.items() if name not in LATER or value != LATER[name]}
