"""The one trainer of every encoder: N steps on each batch (ReStyle, Section 4), plain or progressive.

Each step is `refine.step`: its loss is back-propagated at once, and nothing flows into the step before."""
import contextlib
import copy
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from .. import distributed
from ..checkpoints.own import save_model
from ..errors import UserError
from ..files import writing
from ..inverter import Inverter
from ..losses import LossSet
from ..metrics import to_floats
from ..models.encoders import Encoder
from ..optimizers import Ranger
from ..refine import step as refine_step
from .encoder_settings import FREE, EncoderTraining  # noqa: F401  (EncoderTraining: for callers)
from .image_critic import ImageCritic
from .inherit import runs_before
from .latents import KnownLatents, LatentCritic, silence, stage_at
from .loop import KEPT, STATE, DataOrder, Loop
from .validation import Validation


def train_encoder(images, out, config, *, domain, generator=None, networks=None, losses=None, trunk=None,
                  held_out=None, masks=None, init_from=None, device="cpu", resume=True, force=False,
                  headless=False, max_seconds=0.0, facts=None):
    """Trains an encoder of a domain in the run folder `out`; returns out/last (the best is in out/best).

    images      uint8 array-like [N, H, W, C] at the domain's encoder size
    generator   a Generator, name or path (None: the domain's)
    networks    {name: module, name or path} for the losses, beside the domain's
    losses      {term: weight}, in place of the domain's
    trunk       a network whose `backbone` to start from, its name, path or role in the domain ("identity")
    init_from   an encoder to start from, likewise
    held_out    uint8 [n, H, W, C] to validate on: L2 of every step, and inside `masks` {region: [n, H, W]}
    UserError: parts do not fit, the set is smaller than a batch, a loss is not finite, settings changed.
    """
    from ..weights import load_generator
    device, out = torch.device(device), Path(out)
    generator = generator or domain.generator
    if generator is None:
        raise UserError(f"the domain {domain.name} names no generator to train with; pass one")
    generator = load_generator(generator) if isinstance(generator, (str, Path)) else generator
    weights = dict(domain.losses if losses is None else losses)
    networks = _networks(domain, networks, weights)
    trainer = EncoderTrainer(images, config, domain, generator, weights, networks, device)
    if not (resume and (out / STATE).exists()):
        for line in trainer.start_from(trunk, init_from):
            print(line)
    validation = Validation(trainer, images if held_out is None else held_out, masks, out)
    before = {"before": runs} if (runs := runs_before(init_from)) else {}
    known = {"domain": domain.name, "losses": weights, "training": config.options()} | before | (facts or {})

    def export(folder, step, **more):
        save_model(out / folder, trainer.exported(step), "encoder", generator=trainer.inverter.fingerprint,
                   iterations=step, images=step * config.batch, **more, **known)

    def validate(step):
        if validation(step):
            export("best", step, validation=validation.rows[-1])

    hooks = [(max(1, config.validate_every), validate), (max(1, config.sample_every), validation.strip)]
    options = config.options() | {"losses": weights, "domain": domain.name}
    loop = Loop(out, trainer.parts() | {"validation": validation}, options=options, free=FREE,
                seed=config.seed, total=config.iterations, device=device, images_per_step=config.batch,
                log_every=config.log_every, save_every=config.save_every, hooks=hooks,
                on_save=lambda step: export("last", step), resume=resume, force=force, headless=headless,
                max_seconds=max_seconds, title="encoder")
    if loop.step == loop.rank == 0:
        with writing(out, KEPT):
            validate(0)
            validation.strip(0)
    loop.run(trainer.step)
    return out / "last"


def _network(source, kind=None):
    """A module as it is; a shipped name or a path, of our folders or a published file, loaded."""
    from ..weights import load_network
    return source if isinstance(source, torch.nn.Module) else load_network(source, kind)


def _networks(domain, given, weights):
    """The networks that the losses need: those given, then the domain's."""
    from ..weights import load_network
    named = {**domain.networks, **(given or {})}
    return {name: load_network(named[name], name) if isinstance(named[name], (str, Path)) else named[name]
            for name in weights if weights[name] and name in named}


class EncoderTrainer:
    """Everything that one iteration needs; `parts()` is all of its state. `step(number)` is one iteration."""

    def __init__(self, images, config, domain, generator, losses, networks, device):
        c, self.c, self.device, self.images = config, config, device, images
        size = (*domain.encoder_size, domain.channels)
        if tuple(images.shape[1:]) != size or images.dtype != np.uint8:
            raise UserError(f"the encoder trains on uint8 images [N, {', '.join(map(str, size))}], not "
                            f"{images.dtype} {list(images.shape)}")
        self.order = DataOrder(len(images), c.batch, c.seed)
        if device.type == "cuda" and images.size < torch.cuda.mem_get_info(device)[0] // 3:
            self.images = torch.from_numpy(np.ascontiguousarray(images)).to(device)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(c.seed)
            channels = domain.channels * (2 if c.scheme == "restyle" else 1)
            self.encoder = Encoder(domain.backbone, c.head, c.progressive, generator.n_styles,
                                   generator.w_dim, channels, domain.encoder_size,
                                   c.width(domain), absolute=c.codes == "absolute")
            own = {"delta_norm": c.delta_norm, "adversarial": c.adversarial}
            weights = losses | {name: weight for name, weight in own.items() if weight}
            self.critic = LatentCritic(generator.w_dim, device=device) if weights.get("adversarial") else None
            self.image_critic = ImageCritic(domain, generator, device) if c.image_adversarial else None
        self.encoder = distributed.batch_norm(self.encoder, device).to(device)
        self.encoder.backbone.to(memory_format=torch.channels_last)
        self.generator = generator = copy.deepcopy(generator).to(device).eval().requires_grad_(False)
        self.inverter = Inverter(self.encoder, generator, domain)
        self.noisy = replace(self.inverter, noise=c.noise)
        self.start, self.start_image = self.inverter.start[None], self.inverter.start_image[None]
        self.known = KnownLatents(self.noisy) if c.warm_iterations else None
        self.optimizer = Ranger(self.encoder.parameters(), lr=c.lr)
        networks = {name: network.to(device) for name, network in networks.items()}
        networks |= {"discriminator": self.critic.net} if self.critic else {}
        self.losses = LossSet(weights, networks, generator.w_mean)
        self.apart = {n: LossSet({n: w}, networks, generator.w_mean) for n, w in self.losses.weights.items()}
        if self.image_critic:
            self.apart["image_adversarial"] = self.image_critic.weighted(c.image_adversarial)

    def parts(self):
        parts = {"encoder": self.encoder, "optimizer": self.optimizer}
        critics = {"critic": self.critic, "image_critic": self.image_critic}
        return parts | {name: critic for name, critic in critics.items() if critic}

    def start_from(self, trunk=None, init_from=None):
        """Copies a pretrained trunk, or a whole encoder; returns one line that says what matched."""
        if init_from is not None:
            try:
                self.encoder.load_state_dict(_network(init_from, "encoder").state_dict())
            except RuntimeError as error:
                text = str(error).splitlines()[1].strip()
                raise UserError(f"the encoder to start from differs: {text}") from None
            return ["encoder: all tensors copied"]
        if trunk is None:
            return []
        trunk = self.inverter.domain.networks.get(trunk, trunk) if isinstance(trunk, str) else trunk
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.c.seed + 1)
            report = self.encoder.load_trunk(_network(trunk).backbone.state_dict(), self.c.extra)
        return [f"trunk: {len(report['matched'])} tensors matched, {len(report['missing'])} missing, "
                f"{len(report['unexpected'])} unexpected"]

    def stage(self, number):
        """Active offsets of a progressive encoder in iteration `number`; None for others."""
        c = self.c
        if not c.progressive:
            return None
        return stage_at(number, c.progressive_start, c.progressive_every, self.encoder.n_styles)

    def exported(self, number):
        """A copy of the encoder as it works after `number` iterations."""
        encoder = copy.deepcopy(self.encoder)
        if self.c.progressive:
            silence(encoder, self.stage(max(0, number - 1)))
        return encoder

    def batch(self, number):
        """The images [B, C, H, W] of iteration `number`."""
        rows = self.order(number)
        if torch.is_tensor(self.images):
            x = self.images[torch.from_numpy(rows).to(self.device)].permute(0, 3, 1, 2).float() / 127.5 - 1
        else:
            x = to_floats(np.stack([self.images[row] for row in rows]), self.device)
        if self.c.flip and self.inverter.domain.flip:
            x = torch.where(torch.rand(len(x), 1, 1, 1, device=self.device) < 0.5, x.flip(3), x)
        return x.contiguous(memory_format=torch.channels_last)

    def _rate(self, number):
        c = self.c
        left = (c.iterations - number) / max(c.cooldown * c.iterations, 1)
        return c.lr * (1.0 if left >= 1 else 0.5 - 0.5 * math.cos(math.pi * left))

    def _mode(self, number):
        self.encoder.train()
        self.encoder.stage = self.stage(number)
        if self.c.batch_norm == "frozen":
            for module in self.encoder.modules():
                if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                    module.eval()

    def step(self, number):
        """One iteration: N steps on one batch -> {term: value}; the terms are those of the last step."""
        c = self.c
        self._mode(number)
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate(number)
        if number < c.warm_iterations:
            steps, term = min(c.steps, c.warm_steps), "latent"
            passes, terms = self.known.passes(self.order.local, steps), {}
        else:
            images, steps, term = self.batch(number), c.steps, "l2"
            terms = self._criticise(images, number) if self.critic else {}
            passes = self.passes(images, number)
        self.optimizer.zero_grad(set_to_none=True)
        total, at_step = 0.0, {}
        for t, (loss, parts) in enumerate(passes, 1):
            loss.backward()
            total = total + loss.detach()
            at_step[f"{term}_{t}"] = parts.get(term, loss.detach())
            if c.update == "step" or t == steps:
                self.optimizer.step()
                self.optimizer.zero_grad(set_to_none=True)
            if t == 1 and number < c.warm_iterations + c.gradient_shares:
                terms |= {name: value for name, value in parts.items() if name.startswith("share_")}
        if self.image_critic and number >= c.warm_iterations:
            terms |= self.image_critic.step(images, number)
        return {"loss": total / steps, **at_step, **parts, **terms}

    def passes(self, images, number):
        """The N steps of one batch: yields each one's (loss, {term: value}), for its backward pass."""
        batch, stage = len(images), self.encoder.stage
        latent, picture = self.start.expand(batch, -1, -1), self.start_image.expand(batch, -1, -1, -1)
        for _ in range(self.c.steps):
            with self._autocast():
                now = refine_step(self.noisy.encode, self.noisy.synthesize, images, latent, picture,
                                  self.noisy.base)
            loss, parts = self.losses(now.image.float(), images, latent=now.latent.float(), stage=stage)
            if self.image_critic:
                more, judged = self.apart["image_adversarial"](now.image.float())
                loss, parts = loss + more, parts | judged
            if number < self.c.warm_iterations + self.c.gradient_shares:
                parts = parts | self._shares(now, images, stage)
            yield loss, parts
            latent, picture = now.latent.float(), now.image.float()

    def _shares(self, now, images, stage):
        """Each weighted loss's share, by norm, of the gradient at the latent: {"share_TERM": value}."""
        sizes = {}
        for name, losses in self.apart.items():
            loss, _ = losses(now.image.float(), images, latent=now.latent.float(), stage=stage)
            slope, = torch.autograd.grad(loss, now.latent, retain_graph=True)
            sizes[f"share_{name}"] = slope.norm()
        total = sum(sizes.values())
        return {name: size / total for name, size in sizes.items()}

    def _criticise(self, images, number):
        """The latent discriminator's update: mapped normal draws against the first step's codes."""
        with torch.no_grad(), self._autocast():
            pair = torch.cat([images, self.start_image.expand(len(images), -1, -1, -1)], 1)
            fake = self.noisy.encode(pair).float()
            z = torch.randn(len(images), self.generator.z_dim, device=self.device)
            real = self.generator.mapping(z).float()
        fake = fake + self.start if self.c.fakes == "codes" else fake
        active = fake if self.encoder.stage is None else fake[:, :self.encoder.stage + 1]
        return self.critic.step(real, active, number)

    def _autocast(self):
        if not self.c.amp:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)
