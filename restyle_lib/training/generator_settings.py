"""Settings of a generator's training."""
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True)
class GeneratorTraining:
    """Settings of a generator's training. Counts are images (seen by the discriminator), never minutes."""
    resolution: int = 64
    z_dim: int = 512
    w_dim: int = 512
    mapping_layers: int = 8
    channels: dict = None               # {side: channels}; None: the published widths
    d_channels: dict = None             # None: as `channels`
    image_channels: int = 3
    batch: int = 16
    lr_g: float = 2.5e-3
    lr_d: float = 2.5e-3
    noise_rate: float = 1.0             # of the noise strengths' learning rate; small sets get speckle at 1
    r1: float = 1.0                     # gamma; the penalty is gamma / 2 |grad D|^2
    r1_every: int = 16                  # lazy regularisation (StyleGAN2, Section 3.1)
    path_length: float = 0.0            # weight, published 2; 0: without
    pl_every: int = 8
    pl_shrink: int = 2                  # path length on batch / pl_shrink images
    ema_images: int = 10_000            # half-life of the averaged generator
    ema_rampup: float = 0.05            # ... at most this share of the images seen
    mixing: float = 0.9                 # probability of style mixing
    flip: bool = False
    augment: tuple = ()                 # of "colour", "translation", "cutout"
    augment_p: float = 1.0              # probability of each augmentation; where it starts if adaptive
    augment_target: float = 0.0         # > 0: adapt p until mean sign D(real) is this (ADA: 0.6)
    augment_images: int = 100_000       # images for p to move by 1
    freeze_d: int = 0                   # residual blocks of D frozen, from the image's side
    reuse_fakes: bool = False           # one batch of fakes for both networks: saves a pass of G
    reuse_gradient: bool = False        # ... and D's gradient to them: saves a pass of D
    warm_images: int = 0                # warm start by regression on so many images, before total_images
    warm_batch: int = 8                 # small batches are the quicker ones there
    warm_lr: float = 8e-3               # falls to zero over the last third
    warm_focus: float = 4.0             # a world's focus (faces: eyes, mouth) counts so much more
    warm_perceptual: float = 0.0        # weight of a perceptual distance there
    warm_reader: float = 0.0            # weight of an attribute reader's loss there
    warm_colour: float = 0.0            # how much more differences without their grey count there
    reader_emphasis: dict = field(default_factory=dict)     # {attribute: weight in that loss}, others 1
    warm_weight: float = 0.0            # weight of the regression during adversarial training
    warm_half: int = 0                  # ... halved every so many images; 0: constant
    warm_every: int = 2                 # ... every so many steps
    seed: int = 0
    total_images: int = 1_000_000
    sample_every: int = 20_000
    save_every: int = 20_000
    log_every: int = 1_600
    amp: str = ""                       # "bf16": mixed precision

    def options(self):
        """The settings as JSON-able values."""
        return {key: list(value) if isinstance(value, tuple) else
                {str(side): n for side, n in value.items()} if isinstance(value, dict) else value
                for key, value in asdict(self).items()}


FREE = ("total_images", "sample_every", "save_every", "log_every")  # may differ when a run is resumed
