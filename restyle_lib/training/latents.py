"""Training on latents: e4e's discriminator and stages (Tov et al. 2021, Section 5); samples with known w."""
import torch
import torch.nn.functional as F

from ..losses import LatentDiscriminator, LatentPool
from ..refine import step as refine_step
from .critic import Critic


class LatentCritic(Critic):
    """The latent discriminator with its Adam and its pools of codes; saved and restored as one part.

    Published: pools of 50, learning rate 2e-5, R1 of weight 10 in a step of its own every 16 iterations."""

    def __init__(self, w_dim, *, pool=50, lr=2e-5, penalty=10.0, every=16, device="cpu"):
        net = LatentDiscriminator(w_dim).to(device)
        super().__init__(net, torch.optim.Adam(net.parameters(), lr=lr), word="latent", penalty=penalty,
                         every=every)
        self.real, self.fake = LatentPool(pool), LatentPool(pool)

    def step(self, real, fake, number):
        """One update on mapped codes [B, d] and false ones [B, k, d], without gradients -> {term: value}."""
        return self.learn(self.real.add(real), self.fake.add(fake), number)[0]

    def state_dict(self):
        return super().state_dict() | {"real": self.real.kept, "fake": self.fake.kept}

    def load_state_dict(self, state):
        super().load_state_dict(state)
        device = next(self.net.parameters()).device
        for name, pool in (("real", self.real), ("fake", self.fake)):
            pool.kept = None if state[name] is None else state[name].to(device)


def stage_at(number, start, every, n_styles):
    """Active offsets in an iteration: 0 before `start`, then one more every `every`, to n_styles - 1.

    Published: 20,000 and 2,000: the last of 18 styles joins at 52,000 (of 16: 48,000; of 14: 44,000)."""
    if number < start:
        return 0
    return min(n_styles - 1, 1 + (number - start) // max(every, 1))


@torch.no_grad()
def silence(encoder, stage):
    """Zeroes the offsets that are not active yet, so that the encoder works without knowing its stage."""
    for start, heads in zip(encoder.starts, encoder.heads, strict=True):
        rows = max(0, min(stage + 1 - start, heads.count)) * encoder.w_dim
        heads.linear_weight[rows:].zero_()
        heads.linear_bias[rows:].zero_()


class KnownLatents:
    """A warm start of any encoder: the generator's own samples, whose latents are known, are its images.

    Costs neither losses on images nor a backward pass through the generator, and lets the later training
    begin with poses and features roughly read. Works for every generator; the paper does without."""

    def __init__(self, inverter):
        self.inverter, generator = inverter, inverter.generator
        with torch.no_grad():
            z = torch.randn(4000, generator.z_dim, generator=torch.Generator().manual_seed(0))
            w = torch.cat([generator.mapping(part) for part in z.to(inverter.device).split(500)])
            self.spread = sum(m.var(0).mean() for m in generator.modulations(w))

    def synthesize(self, latents):
        """The inverter's images, without gradients."""
        with torch.no_grad():
            return self.inverter.synthesize(latents)

    def passes(self, count, steps):
        """Yields (loss, {"latent": loss}) of each step on `count` fresh samples: the mean squared distance
        of what the latents do to the layers (`modulations`) over its variance: 1 is as good as the average
        style. In W itself directions that the generator hardly uses would outweigh all others."""
        inverter, generator = self.inverter, self.inverter.generator
        with torch.no_grad():
            z = torch.randn(count, generator.z_dim, device=inverter.device)
            known = generator.styles(generator.mapping(z))
            images = self.synthesize(known).clamp(-1, 1)
        latent = inverter.start.expand(count, -1, -1)
        picture = inverter.start_image.expand(count, -1, -1, -1)
        wanted = generator.modulations(known)
        for _ in range(steps):
            now = refine_step(inverter.encode, self.synthesize, images, latent, picture, inverter.base)
            found = generator.modulations(now.latent)
            loss = sum(F.mse_loss(a, b) for a, b in zip(found, wanted, strict=True)) / self.spread
            yield loss, {"latent": loss.detach()}
            latent, picture = now.latent, now.image
