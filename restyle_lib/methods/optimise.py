"""Inversion by optimisation (Karras et al. 2020, StyleGAN2, Appendix D) in W or W+; hybrids start where an
encoder ends. The one loop that descends: `domain_guided` adds a term to its loss."""
import math
import time
import warnings
from dataclasses import dataclass

import torch

from ..errors import UserError, suggest
from ..inverter import check_generator, check_images, crop, draw_row, pool
from ..metrics import l2
from ..models.stylegan2 import fingerprint
from ..trajectory import SPACES, Trajectory
from ..weights import load_network
from .noise import Streams, autocorrelation, normalise, spread

PLANS = (10, 30, 100, 300, 1000, 1500)      # lengths compared in Figure 4 and its like; each a run of its own
CHOICES = {"space": SPACES, "noise": ("fixed", "optimised")}


def plans(longest=PLANS[-1]):
    """The planned lengths up to `longest`. Ramps belong to a plan, so that no run is the start of another."""
    return tuple(steps for steps in PLANS if steps <= longest)


def recorded(steps):
    """The steps whose images are kept, by default: 0, 1, 2, 5, 10, 20, 50, ... and the last."""
    values = (m * 10**power for power in range(9) for m in (1, 2, 5))
    return sorted({0, steps, *(value for value in values if value < steps)})


@dataclass(frozen=True, kw_only=True, eq=False)
class Optimise:
    """Adam on the latent of every image, `steps` long. All but `first`, `network` and `name` are settings.

    Everything is the image's own: losses are summed, not averaged, and random numbers depend on the image
    alone, so that a batch gives what its images give one by one (to rounding). Where a loss or a picture is
    not finite, that image stops: its later rows repeat, `stopped_at` says from when, a warning names it."""
    steps: int = 300            # planned: the ramps are shares of it
    space: str = "w+"
    noise: str = "fixed"        # the generator's own maps; "optimised": each image gets its own
    l2: float = 1.0             # weights
    perceptual: float = 0.8
    lr: float = 0.0             # of Adam, published 0.1; 0: lr_share of the deviation of w's components ...
    lr_share: float = 1 / 6     # ... as w's scale differs from one generator to another
    ramp_up: float = 0.05       # share of the steps over which lr rises, and falls to zero as a cosine
    ramp_down: float = 0.25
    w_noise: float = 0.05       # normal noise on w, in units of sigma_w, falls to zero ...
    w_noise_until: float = 0.75     # ... at this share of the steps
    map_weight: float = 1e5     # of the maps' autocorrelation
    seed: int = 0
    record: tuple = ()          # recorded steps, 0 and the last included; empty: see `recorded`
    timed: bool = True
    first: object = None        # a method whose last latents are where to start; None: w_mean
    network: object = None      # the perceptual network; None: the domain's
    name: str = ""

    PARTS = ("first", "network", "name")

    def __post_init__(self):
        for field, accepted in CHOICES.items():
            if getattr(self, field) not in accepted:
                raise suggest(getattr(self, field), accepted, field)
        if self.steps < 1:
            raise UserError(f"steps={self.steps}: at least 1 step is needed")
        if not (self.l2 > 0 or self.perceptual > 0):
            raise UserError("optimisation needs a positive weight l2 or perceptual")
        if min(self.rows) < 0 or max(self.rows) > self.steps:
            raise UserError(f"record={list(self.record)}; accepted: steps from 0 to {self.steps}")
        object.__setattr__(self, "name", self.name or self._name())

    def _name(self):
        return f"optimise-{self.space}" if self.first is None else f"hybrid:{self.first.name}"

    @property
    def rows(self):
        """The recorded steps."""
        return sorted({0, self.steps, *self.record}) if self.record else recorded(self.steps)

    def settings(self):
        """What decides the result beside the weights, JSON-able."""
        plain = {f: getattr(self, f) for f in self.__dataclass_fields__ if f not in self.PARTS}
        return plain | {"record": self.rows} | ({"first": self.first.settings()} if self.first else {})

    def weights(self, domain):
        """Fingerprints of the networks that take part."""
        network = self._network(domain, "cpu")
        found = [] if network is None else [fingerprint(network)]
        return found + (self.first.weights(domain) if self.first else [])

    def _network(self, domain, device):
        if not self.perceptual:
            return None
        if self.network is not None:
            return self.network.to(device)
        for kind in ("perceptual", "lpips"):
            if kind in domain.networks:
                return load_network(domain.networks[kind], kind, device)
        raise UserError(f"optimisation weighs a perceptual distance with {self.perceptual:g}, but the domain "
                        f"{domain.name} names no perceptual network; name one, or set perceptual=0")

    # ---- what `domain_guided` changes

    def _start(self, images, generator, domain):
        """(latents [B, k, d], seconds [B] spent on them) to start from."""
        if self.first is None:
            return generator.w_mean.expand(len(images), -1, -1), 0.0
        found = self.first(images, generator, domain)
        return found.latents[-1], 0.0 if found.seconds is None else found.seconds[-1]

    def _extra(self, latent, image, scale):
        """One more term of the loss [B], of latents [B, k, d] and their images at encoder size; or None.

        scale: the deviation of w's components."""
        return None

    # ---- the loop

    def rate(self, t):
        """The share of lr at the share t of the plan; a step's t is its middle, none is wasted at 0."""
        down = min(1.0, (1 - t) / self.ramp_down) if self.ramp_down else 1.0
        up = min(1.0, t / self.ramp_up) if self.ramp_up else 1.0
        return up * (0.5 - 0.5 * math.cos(math.pi * down))

    def jitter(self, t):
        """The deviation of the noise on w at the share t of the plan, in units of sigma_w."""
        return self.w_noise * max(0.0, 1 - t / max(self.w_noise_until, 1e-9)) ** 2

    @torch.enable_grad()
    def __call__(self, images, generator, domain, start=None):
        """images [B, C, H, W] in [-1, 1] at encoder size -> Trajectory of the recorded steps.

        start: latents [k, d] or [B, k, d] to begin with, in place of w_mean or of those of `first`. Images
        are drawn from w without its noise, outside of the time that is taken."""
        check_generator(generator, domain, self.name)
        images, spent = check_images(images, domain).to(generator.w_mean), 0.0
        if start is None:
            start, spent = self._start(images, generator, domain)
        start = generator.styles(start if start.dim() == 3 else start[None]).expand(len(images), -1, -1)
        start = (start.mean(1, keepdim=True) if self.space == "w" else start).detach().clone()
        network = self._network(domain, images.device)
        run = _Run(self, images, generator, domain, network, start, spent)
        rows = set(self.rows)
        for i in range(self.steps):
            if run.alive.any():
                run.step((i + 0.5) / self.steps)
            if i + 1 in rows:
                run.keep(i + 1)
        return run.finish()


class _Run:
    """The state of one optimisation of B images, and what was recorded of it."""

    def __init__(self, method, images, generator, domain, network, start, spent):
        self.m, self.images, self.generator, self.domain = method, images, generator, domain
        self.network, self.w, batch = network, start.requires_grad_(True), len(images)
        self.maps = []
        if method.noise == "optimised":
            self.maps = [conv.noise_const.detach()[None, None].repeat(batch, 1, 1, 1).requires_grad_(True)
                         for conv in generator.convs]
        self.variables = [self.w, *self.maps]
        self.sigma = spread(generator)
        self.scale = self.sigma / generator.w_dim**0.5
        self.lr = method.lr or float(method.lr_share * self.scale)
        self.adam = torch.optim.Adam(self.variables, lr=self.lr)
        with torch.no_grad():
            self.features = None if network is None else network(images)
        self.streams = Streams(images, method.seed) if method.w_noise else None
        self.alive = torch.ones(batch, dtype=torch.bool, device=images.device)
        self.stopped_at = torch.full([batch], method.steps)
        self.seconds = torch.zeros(batch, dtype=torch.float64) + spent
        self.rows, self.at = {"latents": [], "images": [], "seconds": [], "noise": []}, []
        self.keep(0)
        if method.timed:                                  # warms up
            torch.autograd.grad(self.loss().sum(), self.variables)

    def loss(self, jitter=0.0):
        """The loss of each image, [B], its w disturbed by `jitter` sigma_w."""
        m, w = self.m, self.w
        if jitter:
            w = w + jitter * self.sigma * self.streams.like(w)
        latent = self.generator.styles(w[:, 0] if m.space == "w" else w)
        drawn = self.generator(latent, noise=self.maps or "const")
        image = pool(crop(drawn, self.domain.crop), self.domain.encoder_size)
        loss = m.l2 * l2(image, self.images)
        if self.network is not None:
            loss = loss + m.perceptual * self.network.distance(image, self.features).reshape(-1)
        if self.maps:
            loss = loss + m.map_weight * autocorrelation(self.maps)
        extra = m._extra(latent, image, self.scale)
        return loss if extra is None else loss + extra

    def step(self, t):
        """One update of all images that are still good."""
        began, m = _now(self.images), self.m
        loss = self.loss(m.jitter(t))
        slopes = torch.autograd.grad(loss.sum(), self.variables)
        good = loss.isfinite()
        for slope in slopes:
            good = good & slope.isfinite().flatten(1).all(1)
        self.alive &= good
        before = [v.detach().clone() for v in self.variables]
        for group in self.adam.param_groups:
            group["lr"] = self.lr * m.rate(t)
        for v, slope in zip(self.variables, slopes, strict=True):
            v.grad = torch.where(_wide(self.alive, v), slope, 0)
        self.adam.step()
        normalise(self.maps)
        with torch.no_grad():
            for v, old in zip(self.variables, before, strict=True):
                v.copy_(torch.where(_wide(self.alive, v), v, old))
        alive = self.alive.cpu()
        self.seconds[alive] += (_now(self.images) - began) / max(1, int(alive.sum()))

    @torch.no_grad()
    def keep(self, step):
        """Records the present latents and their images; lost images repeat what was recorded last."""
        latent = self.generator.styles(self.w[:, 0] if self.m.space == "w" else self.w).detach().clone()
        maps = [m.detach().clone() for m in self.maps]
        images = draw_row(self.generator, self.domain, latent, maps or "const")
        if self.at:
            self.alive &= images.isfinite().flatten(1).all(1) & latent.isfinite().flatten(1).all(1)
            lost = ~self.alive
            self.stopped_at[lost.cpu() & (self.stopped_at == self.m.steps)] = self.at[-1]
            latent[lost], images = self.rows["latents"][-1][lost], images.clone()
            images[lost] = self.rows["images"][-1][lost]
            for now, past in zip(maps, self.rows["noise"][-1], strict=True):
                now[lost] = past[lost]
        self.at.append(step)
        values = {"latents": latent, "images": images, "seconds": self.seconds.clone(), "noise": maps}
        for name, value in values.items():
            self.rows[name].append(value)

    def finish(self):
        """The Trajectory; a warning names images that were lost."""
        m, lost = self.m, (self.stopped_at < self.m.steps).nonzero().flatten().tolist()
        if lost:
            where = ", ".join(f"image {b} (kept: step {int(self.stopped_at[b])})" for b in lost)
            warnings.warn(f"{m.name}: the loss stopped being finite for {where} of {len(self.images)}; the "
                          "others went on; lower lr", RuntimeWarning, stacklevel=3)
        rows = {name: torch.stack(self.rows[name]) for name in ("latents", "images", "seconds")}
        noise = [torch.stack(maps) for maps in zip(*self.rows["noise"], strict=True)] or "const"
        return Trajectory(rows["images"], rows["latents"], step=torch.tensor(self.at), space=m.space,
                          seconds=rows["seconds"] if m.timed else None, stopped_at=self.stopped_at,
                          noise=noise, generator=fingerprint(self.generator))


def _wide(mask, like):
    """mask [B] as [B, 1, ...] beside `like`."""
    return mask.view(-1, *[1] * (like.dim() - 1))


def _now(images):
    if images.is_cuda:
        torch.cuda.synchronize(images.device)
    return time.perf_counter()
