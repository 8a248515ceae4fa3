"""An encoder, its generator and their domain together: the only place where crop and pooling live."""
import copy
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch.nn import functional as F

from .domains import Domain
from .errors import UserError
from .models.stylegan2 import fingerprint
from .refine import one_pass, refine


@dataclass(frozen=True, eq=False)
class Inverter:
    """Inverts images of a domain. `noise` is "const", a seed, or a list of maps, the same for every image.

    Raises UserError when encoder, generator and domain do not fit together."""
    encoder: torch.nn.Module
    generator: torch.nn.Module
    domain: Domain
    noise: object = "const"
    name: str = "inverter"

    def __post_init__(self):
        domain, generator, encoder = self.domain, self.generator, self.encoder
        check_generator(generator, domain, self.name)
        for what, has, needs in [("number of styles", encoder.n_styles, generator.n_styles),
                                 ("style width", encoder.w_dim, generator.w_dim),
                                 ("input size", tuple(encoder.input_size), tuple(domain.encoder_size))]:
            if has != needs:
                raise UserError(f"{self.name}: the encoder's {what} is {has}, the domain {domain.name} and "
                                f"its generator need {needs}; this is a checkpoint of another domain or "
                                "width")
        if encoder.in_channels not in (domain.channels, 2 * domain.channels):
            raise UserError(f"{self.name}: the encoder takes {encoder.in_channels} channels, the domain "
                            f"{domain.name} needs {2 * domain.channels} (or {domain.channels} for a single "
                            "pass); this is a checkpoint of another channel count")

    @property
    def device(self):
        """Where the generator is."""
        return self.generator.w_mean.device

    @cached_property
    def fingerprint(self):
        """The generator's fingerprint."""
        return fingerprint(self.generator)

    @property
    def single(self):
        """Whether the encoder is a conventional one of a single pass, which sees the image alone."""
        return self.encoder.in_channels == self.domain.channels

    @property
    def encode(self):
        """[B, 2C, H, W] -> residuals [B, k, d], for both kinds of encoder."""
        encoder = one_pass(self.encoder, self.domain.channels) if self.single else self.encoder
        dtype = self.generator.w_mean.dtype
        return encoder if dtype == torch.float32 else lambda pair: encoder(pair.to(dtype)).float()

    @torch.no_grad()
    def render(self, latents, noise=None):
        """latents [B, d] or [B, k, d] -> full-size images [B, C, Hf, Wf], about [-1, 1], cropped."""
        return self._draw(latents, noise)

    def _draw(self, latents, noise=None):
        images = self.generator(latents.to(self.generator.w_mean.dtype),
                                noise=self.noise if noise is None else noise)
        return crop(images, self.domain.crop).to(latents.dtype)

    def synthesize(self, latents):
        """[B, k, d] -> [B, C, H, W] at encoder size: generator, crop, exact pooling. Gradients flow."""
        return pool(self._draw(latents), self.domain.encoder_size)

    @cached_property
    def start(self):
        """The average style w_mean [k, d]."""
        return self.generator.w_mean.detach().clone()

    @property
    def base(self):
        """What codes are added to at every step: None for residuals, the average style for absolute ones."""
        return self.start if getattr(self.encoder, "absolute", False) else None

    @cached_property
    def start_image(self):
        """The average style's image [C, H, W] at encoder size."""
        with torch.no_grad():
            return self.synthesize(self.start[None])[0]

    def __call__(self, images, steps=5, *, tolerance=0.0, start=None, start_images=None, callback=None,
                 timed=False, full=None):
        """Refines `images` [B, C, H, W] in [-1, 1] at encoder size -> Trajectory (see `refine`).

        start, start_images: where to begin, by default w_mean and its image; bootstrapping (Section 5.5)
        passes another inverter's latents and images. full(t, active [n], images [n, C, Hf, Wf]): gets the
        full-size images.
        """
        images = self.check(images)
        if start is None:
            start, start_images = self.start, self.start_image
        latest = {}

        def synthesize(latents):
            latest["full"] = self.render(latents)
            return pool(latest["full"], self.domain.encoder_size)

        def follow(t, now, active):
            if full is not None:
                full(t, active, latest["full"])
            if callback is not None:
                callback(t, now, active)

        trajectory = refine(self.encode, synthesize, images, start, start_images=start_images, steps=steps,
                            tolerance=tolerance, callback=follow, timed=timed, base=self.base)
        return trajectory.replace(noise=self.noise, generator=self.fingerprint)

    def rerender(self, trajectory, full=False):
        """A trajectory's images again, from its latents and noise: [T+1, B, C, H, W] at encoder or full size.

        A start that all images share is drawn once, as it was. Refuses a trajectory of another generator."""
        if trajectory.latents is None:
            raise UserError("this trajectory holds no latents to render")
        if trajectory.generator != self.fingerprint:
            theirs, ours = trajectory.generator[:12] or "(unknown)", self.fingerprint[:12]
            raise UserError(f"the trajectory comes from generator {theirs}, {self.name} has {ours}")
        images = []
        for row, latents in enumerate(trajectory.latents.to(self.device)):
            noise = trajectory.noise_at(row)
            noise = noise if isinstance(noise, (str, int)) else [m.to(self.device) for m in noise]
            images.append(draw_row(self.generator, self.domain, latents, noise, full))
        return torch.stack(images)

    def check(self, images):
        """`images` on the device; UserError unless [B, C, H, W] at encoder size, floating, in [-1, 1]."""
        return check_images(images, self.domain).to(self.device)

    def to(self, device):
        """The same inverter with its networks moved to `device`."""
        return replace(self, encoder=self.encoder.to(device), generator=self.generator.to(device))


    def bfloat16(self):
        """The same inverter with its networks in bfloat16, for processors that compute fast in it.

        Latents, images and what is added up stay float32; the fingerprint is that of the generator given.
        Others emulate it, slowly: see `bench.check_bfloat16`."""
        halves = (copy.deepcopy(network).bfloat16() for network in (self.encoder, self.generator))
        half = replace(self, **dict(zip(("encoder", "generator"), halves, strict=True)))
        vars(half).update(start=self.start, fingerprint=self.fingerprint)
        return half


def crop(images, bounds):
    """images [B, C, R, R] -> rows top...bottom and columns left...right of them."""
    top, bottom, left, right = bounds
    return images[..., top:bottom, left:right]


def pool(images, size):
    """Exact average pooling to `size` [H, W], which the images' size is a multiple of."""
    factors = images.shape[-2] // size[0], images.shape[-1] // size[1]
    return images if factors == (1, 1) else F.avg_pool2d(images, factors)


@torch.no_grad()
def draw_row(generator, domain, latents, noise="const", full=False):
    """A row of a trajectory: latents [B, k, d] -> images [B, C, H, W] at encoder size, or at full size.

    A latent that all images share is drawn once, unless each has noise maps of its own."""
    alone = isinstance(noise, (str, int)) or len(noise[0]) == 1
    shared = alone and torch.equal(latents, latents[:1].expand_as(latents))
    images = crop(generator(latents[:1] if shared else latents, noise=noise), domain.crop)
    images = images if full else pool(images, domain.encoder_size)
    return images.expand(len(latents), -1, -1, -1)


def check_generator(generator, domain, name="the method"):
    """UserError unless the generator has the resolution and the image channels of the domain."""
    for what, has, needs in [("resolution", generator.resolution, domain.resolution),
                             ("number of image channels", generator.image_channels, domain.channels)]:
        if has != needs:
            raise UserError(f"{name}: the generator's {what} is {has}, the domain {domain.name} says {needs}")


def check_images(images, domain):
    """`images`; UserError unless [B, C, H, W] at the domain's encoder size, floating, in [-1, 1]."""
    shape = [domain.channels, *domain.encoder_size]
    if images.dim() != 4 or list(images.shape[1:]) != shape or not len(images):
        raise UserError(f"images are {list(images.shape)}; the domain {domain.name} takes "
                        f"[B, {', '.join(map(str, shape))}]")
    if not images.is_floating_point() or images.min() < -1.01 or images.max() > 1.01:
        raise UserError(f"images must be floating point in [-1, 1], not {images.dtype} "
                        f"from {images.min().item():g} to {images.max().item():g}")
    return images
