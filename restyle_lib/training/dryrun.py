"""What an encoder's training would be, without data or weights: settings, length, arithmetic, memory, time.

The networks have the right shapes and no values (device "meta"), so that nothing is downloaded or filled."""
import math
import os
import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from .. import weights
from ..domains import load_dataset
from ..errors import UserError
from ..inverter import crop, pool
from ..losses import LatentDiscriminator, LossSet
from ..models.encoders import Encoder
from ..models.features import FaceEmbedding, MoCo
from ..models.lpips import Lpips
from ..models.stylegan2 import Generator
from ..provenance import hardware

STAND_INS = {"identity": lambda: FaceEmbedding("irse50"), "lpips": Lpips, "perceptual": Lpips, "moco": MoCo}
STATES = 5            # copies of the encoder: weights, gradients, Ranger's two moments and slow weights


def networks(domain, config):
    """(encoder, generator, {loss: network}) on "meta"; published shapes stand in for what is not here."""
    with torch.device("meta"):
        generator = _there(weights.load_generator, domain.generator) if domain.generator else None
        generator = generator or Generator(domain.resolution, image_channels=domain.channels)
        channels = domain.channels * (2 if config.scheme == "restyle" else 1)
        encoder = Encoder(domain.backbone, config.head, config.progressive, generator.n_styles,
                          generator.w_dim, channels, domain.encoder_size, config.width(domain))
        judges = {}
        for kind in {name for name, weight in domain.losses.items() if weight}:
            name = domain.networks.get(kind)
            found = _there(weights.load_network, name, kind) if name else None
            if found is None and kind not in STAND_INS:             # pixels, or a reader that is not here
                continue
            judges[kind] = (found or STAND_INS[kind]()).eval().requires_grad_(False).to("meta")
        if config.adversarial:
            judges["discriminator"] = LatentDiscriminator(generator.w_dim)
    return encoder.to("meta"), generator.to("meta").requires_grad_(False), judges


def _there(load, *name):
    with torch.device("cpu"):
        try:
            return load(*name)
        except UserError:
            return None


def costs(domain, config):
    """Of an iteration: {"flop", "bytes" held, "kept" of them for backward, "styles", "parameters"}."""
    encoder, generator, judges = networks(domain, config)
    terms = {"delta_norm": config.delta_norm, "adversarial": config.adversarial}
    losses = LossSet(domain.losses | {k: v for k, v in terms.items() if v}, judges, generator.w_mean)
    images = torch.zeros(config.batch, domain.channels, *domain.encoder_size, device="meta")
    storages = {}

    def keep(tensor):
        storages[tensor.untyped_storage()._cdata] = tensor.untyped_storage()
        return tensor

    with FlopCounterMode(display=False) as counter:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            latent = generator.w_mean + encoder(torch.cat([images] * (1 + (config.scheme == "restyle")), 1))
            seen = pool(crop(generator(latent, noise="random"), domain.crop), domain.encoder_size)
            losses(seen, images, latent=latent)[0].backward()
    nets = {"encoder": encoder, "generator": generator, **judges}
    sizes = {name: sum(p.numel() for p in net.parameters()) for name, net in nets.items()}
    held = {p.untyped_storage()._cdata for net in nets.values() for p in net.parameters()}
    kept = sum(storage.nbytes() for key, storage in storages.items() if key not in held)
    fixed = 4 * (STATES * sizes["encoder"] + sum(n for name, n in sizes.items() if name != "encoder"))
    return {"flop": counter.get_total_flops() * config.steps, "parameters": sizes, "bytes": fixed + kept,
            "kept": kept, "styles": generator.n_styles}


def speed(device, seconds=0.5):
    """FLOP/s of a 3x3 convolution of 256 channels at 32 pixels, forward, on this device, in float32."""
    device = torch.device(device)
    layer, x = torch.nn.Conv2d(256, 256, 3, padding=1).to(device), torch.randn(8, 256, 32, 32, device=device)
    with torch.no_grad():
        layer(x)
        count, begun = 0, time.perf_counter()
        while count < 3 or time.perf_counter() - begun < seconds:
            layer(x)
            count += 1
            if device.type == "cuda":
                torch.cuda.synchronize(device)
    return count * 2 * 8 * 32 * 32 * 256 * 256 * 9 / (time.perf_counter() - begun)


def room(device):
    """Bytes of memory that a device has in all."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else math.inf


def report(method, domain, config, device):
    """Lines about what `train encoder` would do with these settings on this device."""
    found, split = costs(domain, config), load_dataset(domain.train).splits["train"]
    count = split.images if hasattr(split, "images") else split.identities[1] * split.instances
    own = {name: getattr(config, name) for name in ("delta_norm", "adversarial")}
    losses = [f"{name} {weight:g}" for name, weight in {**domain.losses, **own}.items() if weight]
    progressive = ", progressive" if config.progressive else ""
    yield (f"domain      {domain.name}: {domain.resolution} px, crop {list(domain.crop)}, encoder at "
           f"{list(domain.encoder_size)}")
    yield f"data        {domain.train} to train, {domain.test or domain.train} to test"
    yield f"generator   {domain.generator}"
    yield f"encoder     {method}: {domain.backbone}, head {config.head}{progressive}"
    yield f"losses      {', '.join(losses)}"
    yield f"settings    {', '.join(f'{name}={value}' for name, value in config.options().items())}"
    passes = f" = {config.batch * config.iterations / count:.1f} x {count:,} images" if count else ""
    yield (f"length      {config.iterations:,} iterations of {config.batch} images{passes}; {config.steps} "
           f"step{'s' * (config.steps > 1)} each")
    if config.progressive:
        offsets = found["styles"] - 1
        last = config.progressive_start + config.progressive_every * (offsets - 1)
        yield f"schedule    offset 1 from iteration {config.progressive_start:,}, {offsets} from {last:,}"
    sizes = [f"{name} {n / 1e6:.1f} M" for name, n in found["parameters"].items() if n]
    yield f"parameters  {', '.join(sizes)}"
    memory, has = found["bytes"] / 2**30, room(device) / 2**30
    fits = "it fits" if memory < 0.9 * has else "too much, lower batch="
    yield (f"memory      about {memory:.1f} GiB in float32, {found['kept'] / 2**30:.1f} of it for backward; "
           f"this device has {has:.0f}: {fits}")
    per_second = speed(device)
    hours = found["flop"] * config.iterations / per_second / 3600
    yield (f"time        about {hours:,.1f} hours on {hardware()}: {found['flop'] / 1e12:.2f} TFLOP an "
           f"iteration at the {per_second / 1e12:.3g} TFLOP/s of one convolution")
    yield "            both are estimates, no iteration was run: expect one to three times the hours"
