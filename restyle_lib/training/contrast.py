"""MoCo v2 (He et al. 2020; Chen et al. 2020): features learned without labels, from two views of an image."""
import copy

import torch
import torch.nn.functional as F
from torch import nn

from .. import distributed
from ..errors import UserError
from ..metrics import to_floats
from ..models.features import ContrastNet
from .distortions import blur, colour, mirrored, noise
from .loop import DataOrder, warmed_cosine


def info_nce(query, key, queue, temperature):
    """InfoNCE (MoCo, Equation 1): cross-entropy of telling a query's key from those in the queue.

    unit query, key [B, d], queue [K, d] -> (loss, share of queries whose own key is nearest)."""
    right, wrong = (query * key).sum(1, keepdim=True), query @ queue.T
    logits = torch.cat([right, wrong], 1) / temperature
    own = torch.zeros(len(query), dtype=torch.long, device=query.device)
    return F.cross_entropy(logits, own), (logits.argmax(1) == 0).float().mean()


def view(x, strength=1.0):
    """A random view of each image [B, C, H, W]: cropped and stretched, in other colours, sometimes grey,
    blurred or noisy. Strength 1 crops to as little as 0.5 of each side. Unlike MoCo's it never mirrors: to an
    inversion, left and right are not the same."""
    b, device = len(x), x.device

    def draw(low, high):
        return low + (high - low) * torch.rand(b, device=device)

    high, wide = draw(1 - 0.5 * strength, 1), draw(1 - 0.5 * strength, 1)
    zero = torch.zeros(b, device=device)
    down, right = (1 - high) * draw(-1, 1), (1 - wide) * draw(-1, 1)
    corners = torch.stack([torch.stack([wide, zero, right], 1), torch.stack([zero, high, down], 1)], 1)
    x = F.grid_sample(x, F.affine_grid(corners, list(x.shape), align_corners=False), padding_mode="border",
                      align_corners=False)
    x = torch.where(draw(0, 1).view(-1, 1, 1, 1) < 0.8, colour(x, 0.2 * strength), x)
    x = torch.where(draw(0, 1).view(-1, 1, 1, 1) < 0.1 * strength, x.mean(1, keepdim=True).expand_as(x), x)
    x = torch.where(draw(0, 1).view(-1, 1, 1, 1) < 0.5, blur(x, 0.4 + 0.8 * float(torch.rand(()))), x)
    return noise(x, 0.04 * strength)


class Momentum(nn.Module):
    """The query network with its head, their slow copies that make keys, and the queue of the last K keys.

    The copies follow in everything, running statistics included, and use those: no key depends on its batch,
    which is what MoCo shuffles for (Cai et al. 2021). The head is MoCo v2's: two layers, left out later."""

    def __init__(self, network, dim, keys):
        super().__init__()
        width = network.width
        head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, dim))
        self.query = nn.ModuleList([network, head])
        self.key = copy.deepcopy(self.query).requires_grad_(False)
        self.register_buffer("queue", F.normalize(torch.randn(keys, dim)))
        self.register_buffer("oldest", torch.zeros((), dtype=torch.long))

    def train(self, mode=True):
        super().train(mode)
        self.key.eval()
        return self

    @staticmethod
    def embed(networks, x):
        """x [B, C, H, W] -> unit vectors [B, dim] by (network, head)."""
        network, head = networks
        return F.normalize(head(network.pooled(x)).float())

    @torch.no_grad()
    def follow(self, momentum):
        """key <- momentum x key + (1 - momentum) x query (MoCo, Equation 2)."""
        slow, fast = self.key.state_dict(), self.query.state_dict()
        for name, value in slow.items():
            if value.is_floating_point():
                value.lerp_(fast[name], 1 - momentum)
            else:
                value.copy_(fast[name])

    @torch.no_grad()
    def enqueue(self, keys):
        """Puts keys [B, dim] in the place of the oldest ones; B divides the queue."""
        first = int(self.oldest)
        self.queue[first:first + len(keys)] = keys.to(self.queue)
        self.oldest.fill_((first + len(keys)) % len(self.queue))


class ContrastTrainer:
    """Trains a ContrastNet by MoCo v2 on images uint8 [N, H, W, C]; what `train_features` runs for "moco"."""

    def __init__(self, images, config, device):
        self.images, self.c, self.device, c = images, config, torch.device(device), config
        if c.queue < 1 or c.queue % c.batch:
            raise UserError(f"queue={c.queue}: expected a multiple of batch={c.batch}")
        if not 0 <= c.momentum < 1 or c.temperature <= 0:
            raise UserError(f"momentum={c.momentum} and temperature={c.temperature}: expected a momentum "
                            "from 0 to below 1 and a temperature above 0")
        self.order = DataOrder(len(images), c.batch, c.seed)
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(c.seed)
            network = ContrastNet(input_size=list(images.shape[1:3]), **c.network)
            self.nets = distributed.batch_norm(Momentum(network, c.dim, c.queue), self.device)
        self.model = network
        self.nets.to(self.device, memory_format=torch.channels_last)
        self.total = -(-c.images // c.batch)
        self.optimizer = torch.optim.AdamW(self.nets.query.parameters(), lr=c.lr, weight_decay=c.weight_decay)

    def parts(self):
        """All that is saved and restored."""
        return {"networks": self.nets, "optimizer": self.optimizer}

    def result(self):
        """What to ship: the query network without its head."""
        return self.model

    def step(self, number):
        """One iteration: {term: value}."""
        c = self.c
        x = to_floats(self.images[self.order(number)], self.device)
        if c.flip:
            x = mirrored(x, torch.rand(len(x), device=self.device) < 0.5)
        first, second = (view(x, c.augment).contiguous(memory_format=torch.channels_last) for _ in range(2))
        self.nets.train()
        for group in self.optimizer.param_groups:
            group["lr"] = warmed_cosine(c.lr, number, self.total)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=c.amp == "bf16"):
            query = self.nets.embed(self.nets.query, first)
            with torch.no_grad():
                self.nets.follow(min(c.momentum, (number + 1) / (number + 10)))   # closely at first
                key = self.nets.embed(self.nets.key, second)
        loss, right = info_nce(query, key, self.nets.queue.clone(), c.temperature)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.nets.enqueue(distributed.together(key))
        return {"loss": loss.detach(), "accuracy": right}
