"""Training StyleGAN2 (Karras et al. 2020): from scratch, resumed, grown from a smaller one, or fine-tuned."""
import copy
import functools
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from .. import distributed
from ..errors import UserError
from ..models.stylegan2 import Discriminator, Generator
from ..pixels import write_grid
from .augment import KINDS, augment
from .generator_settings import FREE, GeneratorTraining  # noqa: F401  (GeneratorTraining: for callers)
from .inherit import NETWORKS, copy_matching, networks_of, runs_before
from .loop import STATE, DataOrder, Loop
from .warm import quiet_styles, regress


def train_generator(images, out, *, config, device="cpu", init_from=None, codes=None, focus=None,
                    perceptual=None, reader=None, resume=True, force=False, max_seconds=0.0, headless=False):
    """Trains on `images` (uint8 array-like [N, R, R, C]) in the run folder `out`; returns the result.

    init_from   a Generator, or a run folder, model folder or file: matching tensors are copied; a larger
                resolution starts as the small network's image, upsampled
    codes       [N, m <= z_dim], normal: what each image was drawn from, for the warm start (see `warm`)
    focus       uint8 [N, r, r], r dividing R: where images matter most, for the warm start
    perceptual  function (a, b) -> [B] for the warm start
    reader      function (rows, output) -> loss for the warm start, of what is read in the rows' images
    UserError if images do not fit or are fewer than a batch, a loss is not finite, or settings changed.
    """
    trainer = _Trainer(images, config, torch.device(device), codes, focus, perceptual, reader)
    out, batch = Path(out), config.batch
    if init_from is not None and not (resume and (out / STATE).exists()):
        for line in trainer.start_from(init_from):
            print(line)
    log_every, save_every, sample_every = (
        max(1, images // batch) for images in (config.log_every, config.save_every, config.sample_every))
    loop = Loop(out, trainer.parts(), options=config.options(), free=FREE, seed=config.seed, device=device,
                total=trainer.warm_steps + -(-config.total_images // batch), images_per_step=batch,
                images_at=trainer.images_at,
                log_every=log_every, save_every=save_every,
                hooks=[(sample_every, lambda step: trainer.sample(out / "samples", step))],
                on_save=lambda step: trainer.export(out / "generator", step), title="generator",
                resume=resume, force=force, headless=headless, max_seconds=max_seconds)
    loop.run(trainer.step)
    return out / "generator"


def generator_share(logits):
    """logits [B, 1] -> [B, 1, 1, 1]: what turns the gradient of softplus(l) into that of softplus(-l):
    -sigmoid(-l) / sigmoid(l) = -exp(-l), bounded.

    Applied to images instead of logits it neglects what the images of a group do to each other through the
    minibatch deviation; and the generator learns from the discriminator before its update, not after."""
    return -torch.exp(-logits.detach()).clamp(max=50)[:, :, None, None]


class _Facts:
    """The run's state beside the networks: augmentation p, mean path length, whether the average ramps up,
    the runs it began from."""

    def __init__(self, p):
        self.p, self.path, self.ramp, self.before = float(p), 0.0, True, []

    def state_dict(self):
        return dict(vars(self))

    def load_state_dict(self, state):
        vars(self).update(state)


class _Trainer:
    """The networks, their optimisers, and one step of training."""

    def __init__(self, images, config, device, codes=None, focus=None, perceptual=None, reader=None):
        c, self.c, self.device = config, config, device
        self.focus, self.perceptual = focus, perceptual if config.warm_perceptual else None
        self.reader = reader if config.warm_reader else None
        wanted = (c.resolution, c.resolution, c.image_channels)
        if tuple(images.shape[1:]) != wanted or images.dtype != np.uint8:
            raise UserError(f"the generator trains on uint8 images [N, {c.resolution}, {c.resolution}, "
                            f"{c.image_channels}], not {images.dtype} {list(images.shape)}")
        unknown = [kind for kind in c.augment if kind not in KINDS]
        if unknown or c.amp not in ("", "bf16"):
            raise UserError(f"augment takes {', '.join(KINDS)} and amp takes '' or 'bf16', "
                            f"not {unknown or c.amp!r}")
        warm = c.warm_images or c.warm_weight
        if warm and (codes is None or len(codes) != len(images) or codes.shape[1] > c.z_dim):
            raise UserError(f"a warm start needs codes [{len(images)}, at most {c.z_dim}], "
                            f"not {None if codes is None else list(codes.shape)}; or set both to 0")
        self.codes = torch.as_tensor(codes, dtype=torch.float32, device=device) if warm else None
        self.images, self.order = images, DataOrder(len(images), c.batch, c.seed)
        self.warm_order = DataOrder(len(images), c.warm_batch, c.seed) if warm else None
        if device.type == "cuda" and images.size < torch.cuda.mem_get_info(device)[0] // 3:
            self.images = torch.from_numpy(np.ascontiguousarray(images)).to(device)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(c.seed)
            self.g = Generator(c.resolution, z_dim=c.z_dim, w_dim=c.w_dim, mapping_layers=c.mapping_layers,
                               channels=c.channels, image_channels=c.image_channels)
            self.d = Discriminator(c.resolution, channels=c.d_channels or c.channels,
                                   image_channels=c.image_channels)
            self.sample_z = torch.randn(64, c.z_dim).to(device)
            if warm:
                quiet_styles(self.g)
        self.layout = torch.channels_last if device.type == "cuda" else torch.contiguous_format
        for network in (self.g, self.d):
            network.to(device, memory_format=self.layout)
        self.ema = copy.deepcopy(self.g).requires_grad_(False)
        blocks = self.d.blocks
        if c.freeze_d > len(blocks):
            raise UserError(f"freeze_d is at most {len(blocks)} at {c.resolution} px, not {c.freeze_d}")
        frozen = [self.d.from_image, *blocks[:c.freeze_d]] if c.freeze_d else []
        self.frozen = {id(p) for module in frozen for p in module.parameters()}
        self.lazy_g = c.pl_every / (c.pl_every + 1) if c.path_length else 1.0
        self.lazy_d = c.r1_every / (c.r1_every + 1) if c.r1 else 1.0
        self.opt_g, self.opt_d = self._adam(self.g, self.lazy_g), self._adam(self.d, self.lazy_d)
        self.warm_steps, self.facts = -(-c.warm_images // c.warm_batch), _Facts(c.augment_p)

    def _adam(self, module, lazy):
        """`lazy` keeps Adam's time constants although regularisation steps come between (Section 3.1)."""
        groups = {}
        for name, parameter in module.named_parameters():
            if id(parameter) not in self.frozen:
                kind = next((kind for kind in ("mapping", "noise_strength") if kind in name), "other")
                groups.setdefault(kind, {"params": [], "kind": kind})["params"].append(parameter)
        fused = self.device.type in ("cpu", "cuda")
        return torch.optim.Adam(groups.values(), betas=(0.0, 0.99**lazy), fused=fused)

    def set_rates(self, number):
        """The learning rates of the settings, also after a state with others was loaded. The regression wants
        momentum and a mapping network at the full rate (its layers hold a hundredfold of their weights)."""
        c, warm = self.c, number < self.warm_steps
        rate_g = c.warm_lr * min(1.0, 3 * (1 - number / self.warm_steps)) if warm else c.lr_g
        shares = {"mapping": 100.0 if warm else 1.0, "noise_strength": c.noise_rate, "other": 1.0}
        for optimizer, rate, lazy in ((self.opt_g, rate_g, self.lazy_g), (self.opt_d, c.lr_d, self.lazy_d)):
            for group in optimizer.param_groups:
                group["lr"] = rate * lazy * shares[group["kind"]]
                group["betas"] = (0.9 if warm else 0.0, 0.99**lazy)

    def parts(self):
        return {"generator": self.g, "ema": self.ema, "discriminator": self.d, "optimizer_g": self.opt_g,
                "optimizer_d": self.opt_d, "facts": self.facts}

    def _batch(self, rows):
        if isinstance(self.images, torch.Tensor):
            x = self.images[torch.from_numpy(rows).to(self.device)]
        else:
            x = torch.from_numpy(np.stack([self.images[row] for row in rows])).to(self.device)
        x = x.permute(0, 3, 1, 2).float().div_(127.5).sub_(1)
        if self.c.flip and self.codes is None:
            x = torch.where(torch.rand(len(x), 1, 1, 1, device=x.device) < 0.5, x.flip(3), x)
        return x.contiguous(memory_format=self.layout)

    def _amp(self):
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.c.amp == "bf16")

    def _styles(self, count):
        """Mapped draws with style mixing -> [count, k, d]."""
        c, k = self.c, self.g.n_styles
        w = self.g.mapping(torch.randn(2 * count, c.z_dim, device=self.device)).view(2, count, 1, c.w_dim)
        layer = torch.randint(1, k, (count, 1), device=self.device)
        layer = torch.where(torch.rand(count, 1, device=self.device) < c.mixing, layer, k)
        return torch.where((torch.arange(k, device=self.device) < layer)[:, :, None], w[0], w[1])

    def _fakes(self):
        with self._amp():
            return self.g(self._styles(self.order.local), noise="random").float()

    def _judge(self, x):
        with self._amp():
            return self.d(augment(x, self.c.augment, self.facts.p)).float()

    def _freeze(self, discriminator):
        for p in self.d.parameters():
            p.requires_grad_(not discriminator and id(p) not in self.frozen)

    def step(self, number):
        self.set_rates(number)
        if number < self.warm_steps:
            self.opt_g.zero_grad(set_to_none=True)
            rows = self.warm_order(number)
            terms = self._warm(self._batch(rows), rows, 1.0)
        else:
            terms = self._adversarial(number - self.warm_steps)
        self._average(number)
        return terms

    def _adversarial(self, number):
        c, rows = self.c, self.order(number)
        images = self._batch(rows)
        with torch.set_grad_enabled(c.reuse_fakes or c.reuse_gradient):
            fakes = self._fakes()
        self._freeze(False)
        pixels = fakes.detach().requires_grad_(c.reuse_gradient)
        real, fake = self._judge(images), self._judge(pixels)
        loss_real, loss_fake = F.softplus(-real).mean(), F.softplus(fake).mean()
        self._update(self.opt_d, loss_real + loss_fake)
        terms = {"d_real": loss_real, "d_fake": loss_fake,
                 "logit_real": real.mean(), "logit_fake": fake.mean()}
        if c.r1 and number % c.r1_every == 0:
            terms["r1"] = self._r1(images)
        self._freeze(True)
        self.opt_g.zero_grad(set_to_none=True)
        if c.reuse_gradient:
            terms["g"] = F.softplus(-fake.detach()).mean()
            fakes.backward(pixels.grad * generator_share(fake))
        else:
            terms["g"] = F.softplus(-self._judge(fakes if c.reuse_fakes else self._fakes())).mean()
            terms["g"].backward()
        weight = c.warm_weight if number % c.warm_every == 0 else 0.0
        if c.warm_half:
            weight *= 0.5 ** (number * c.batch / c.warm_half)
        if weight > 1e-3:
            terms |= self._warm(images, rows, weight)
        else:
            self.opt_g.step()
        if c.path_length and number % c.pl_every == 0:
            terms |= self._path_length()
        if c.augment_target:
            overfits = float(distributed.mean(real.sign().mean())) > c.augment_target
            step = c.batch / c.augment_images * (1 if overfits else -1)
            self.facts.p = min(max(self.facts.p + step, 0.0), 1.0)
            terms["augment_p"] = torch.tensor(self.facts.p)
        return terms

    @staticmethod
    def _update(optimizer, loss):
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    def _warm(self, images, rows, weight):
        """Adds the regression's gradient to what the generator holds, and steps."""
        codes, where = self.codes[torch.from_numpy(rows).to(self.device)], None
        if self.focus is not None and self.c.warm_focus:
            focus = torch.from_numpy(np.stack([self.focus[row] for row in rows])[:, None]).to(self.device)
            where = 1 + self.c.warm_focus / 255 * F.adaptive_avg_pool2d(focus.float(), images.shape[2:])
        with self._amp():
            loss = regress(self.g, codes, images, self.perceptual, where,
                           self.reader and functools.partial(self.reader, rows), self.c.warm_colour)
        (weight * loss).backward()
        self.opt_g.step()
        return {"regression": loss}

    def _r1(self, images):
        """Mescheder et al. 2018, lazily: gamma / 2 |grad_x D(x)|^2 on real images; no autocast."""
        images = images.detach().requires_grad_(True)
        logits = self.d(augment(images, self.c.augment, self.facts.p))
        gradient, = torch.autograd.grad(logits.sum(), images, create_graph=True)
        penalty = gradient.square().sum((1, 2, 3)).mean()
        self._update(self.opt_d, penalty * (self.c.r1 / 2 * self.c.r1_every))
        return penalty

    def _path_length(self):
        """StyleGAN2, Section 3.2: the length of the image's gradient in w is drawn to its running mean."""
        c = self.c
        w = self._styles(max(1, self.order.local // c.pl_shrink))
        fakes = self.g(w, noise="random")
        noise = torch.randn_like(fakes) / c.resolution
        gradient, = torch.autograd.grad((fakes * noise).sum(), w, create_graph=True)
        lengths = gradient.square().sum(2).mean(1).sqrt()
        self.facts.path += 0.01 * (float(distributed.mean(lengths.mean())) - self.facts.path)
        penalty = (lengths - self.facts.path).square().mean()
        self._update(self.opt_g, penalty * (c.path_length * c.pl_every))
        return {"path_penalty": penalty, "path_length": lengths.mean()}

    def images_at(self, step):
        """Images seen in the first `step` steps."""
        warm = min(step, self.warm_steps)
        return warm * self.c.warm_batch + (step - warm) * self.c.batch

    @torch.no_grad()
    def _average(self, number):
        c, seen = self.c, self.images_at(number + 1)
        half = min(c.ema_images, seen * c.ema_rampup) if self.facts.ramp else c.ema_images
        beta = 0.5 ** ((seen - self.images_at(number)) / max(half, 1e-8))
        torch._foreach_lerp_(list(self.ema.parameters()), list(self.g.parameters()), 1 - beta)

    @torch.no_grad()
    def sample(self, folder, step):
        """Writes an 8 x 8 grid of fixed draws by the averaged generator."""
        rows = torch.cat([self.ema(self.ema.mapping(z)) for z in self.sample_z.split(16)])
        write_grid(rows, folder / f"{self.images_at(step):09d}.png", columns=8)

    def export(self, folder, step):
        """Saves the averaged generator with the mean of 10,000 seeded mapped draws as w_mean."""
        from ..checkpoints.own import save_model
        result = copy.deepcopy(self.ema)
        result.estimate_w_mean(10_000, self.c.seed)
        save_model(folder, result, "generator", images=self.images_at(step), seed=self.c.seed,
                   training=self.c.options(), before=self.facts.before)

    def start_from(self, source):
        """Copies every tensor that matches by name and shape; returns one line for each network."""
        found, self.facts.before = networks_of(source), runs_before(source)
        self.facts.ramp = False  # the inherited average is worth keeping
        return [f"{name}: {copy_matching(module, found[name])}"
                for name, module in zip(NETWORKS, (self.g, self.ema, self.d), strict=True) if name in found]
