"""The bench's cases: name -> candidates that take turns. The first is the plain twin where there is one.

The twins (tests/reference) do what the published code does, in plain operations: a convolution group for
every image, zeros inserted before filters, a head for each style, PyTorch's default memory layout.
"""
import copy
import functools
import importlib.util
import io
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from .bench import Candidate
from .errors import UserError
from .files import ROOT
from .inverter import Inverter
from .models.encoders import Encoder
from .models.stylegan2 import Discriminator, Generator

PUBLISHED = dict(resolution=1024)          # the widths and depth of the published FFHQ generator
QUARTER = dict(resolution=256)
EMBEDDED = dict(resolution=64, z_dim=192, w_dim=192, mapping_layers=4,
                channels={4: 192, 8: 192, 16: 128, 32: 64, 64: 32})
PUBLISHED_ENCODER = dict(backbone="irse50", input_size=(256, 256))
EMBEDDED_ENCODER = dict(backbone="irse_small", input_size=(64, 64), head_channels=64)
TWINS = ROOT / "tests" / "reference"
MODEL, STEPS = "avatars/restyle-psp", 5
OURS = "this library"
PHOTOGRAPHS, SIDE = 8, 1024                # of the case `data`


def generator(device, batch):
    """The generator at its published size."""
    return _synthesis(PUBLISHED, device, batch)


def embedded(device, batch):
    """The embedded world's generator."""
    return _synthesis(EMBEDDED, device, batch)


def encoder(device, batch):
    """IR-SE50 and the 18 heads of the published single-head encoder at 256 px."""
    plain, (network, _) = _twin("inversion"), _networks(PUBLISHED, PUBLISHED_ENCODER, device)
    x = torch.rand(batch, network.in_channels, *network.input_size, device=device) * 2 - 1
    half = copy.deepcopy(network).bfloat16()
    return [_plain(lambda: plain.encode(network, x), batch),
            Candidate(OURS, lambda: network(x), batch), *_fast(OURS, lambda: network(x), batch, device),
            Candidate(f"{OURS}, bfloat16", lambda: half(x.bfloat16()), batch, torch.bfloat16)]


def inversion(device, batch):
    """Five steps at published size: IR-SE50 at 256 px, the 1024 px generator."""
    return _inversion(PUBLISHED, PUBLISHED_ENCODER, device, batch)


def small_inversion(device, batch):
    """Five steps at embedded size."""
    return _inversion(EMBEDDED, EMBEDDED_ENCODER, device, batch)


def shipped(device, batch):
    """Five steps of the shipped encoder."""
    from .weights import load_inverter, shipped
    what = f"{MODEL}, {STEPS} steps"
    if MODEL not in shipped():
        return [Candidate(what, None, batch, note="not measured: no such model is shipped")]
    inverter = load_inverter(MODEL, device=device)
    images = torch.zeros(batch, inverter.domain.channels, *inverter.domain.encoder_size, device=device)
    return [Candidate(what, lambda: inverter(images, steps=STEPS).images, batch)]


def training(device, batch):
    """A step of an encoder's training at 256 px, generator and encoder: forward, backward, L2 alone."""
    return _training(QUARTER, PUBLISHED_ENCODER | {"n_styles": 14}, device, batch)


def small_training(device, batch):
    """A step of an encoder's training at embedded size."""
    return _training(EMBEDDED, EMBEDDED_ENCODER, device, batch)


def adversarial(device, batch):
    """Forward and backward of the embedded generator and its discriminator: a step without its optimiser."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator = Generator(**EMBEDDED).to(device)
        critic = Discriminator(EMBEDDED["resolution"], channels=EMBEDDED["channels"]).to(device)
        z = torch.randn(batch, generator.z_dim).to(device)
    real = torch.zeros(batch, 3, generator.resolution, generator.resolution, device=device)

    def step(penalty):
        images = generator(generator.mapping(z), noise="random")
        F.softplus(-critic(images)).mean().backward()
        x = real.clone().requires_grad_(penalty)
        logits = critic(x)
        loss = (F.softplus(critic(images.detach())) + F.softplus(-logits)).mean()
        if penalty:
            loss = loss + torch.autograd.grad(logits.sum(), x, create_graph=True)[0].square().sum()
        loss.backward()
        _forget(generator, critic)
    return [Candidate("generator and discriminator", lambda: step(False), batch),
            Candidate("... with R1", lambda: step(True), batch)]


def data(device, batch):
    """Decoding JPEG files of 1024 px and resizing them to 256 px, one after another."""
    from PIL import Image

    from .pixels import decode
    raw = _photograph()

    def whole():
        for _ in range(batch):
            with Image.open(io.BytesIO(raw)) as opened:
                np.asarray(opened.convert("RGB").resize((256, 256), Image.Resampling.BICUBIC))
    return [Candidate("Pillow: decoded whole, resized", whole, batch),
            Candidate(OURS, lambda: [decode(raw, "wave.jpg", size=(256, 256)) for _ in range(batch)], batch)]


def stream(device, batch):
    """JPEG files of 1024 px through `invert` at published size, one by one, beside the bare loop: reading,
    resizing, measuring and writing added."""
    from .invert import invert
    network, generator = _networks(PUBLISHED, PUBLISHED_ENCODER, device)
    inverter = Inverter(network, generator, _domain(generator, network))
    photographs = [_photograph(index) for index in range(batch)]
    images = torch.rand(batch, 3, *network.input_size, device=device) * 2 - 1

    def bare():
        return torch.cat([inverter(image, STEPS).latents[-1] for image in images.split(1)])

    def files(save):
        with tempfile.TemporaryDirectory() as folder:
            for index, data in enumerate(photographs):
                (Path(folder) / f"{index}.jpg").write_bytes(data)
            invert([folder], inverter, Path(folder) / "out", steps=STEPS, batch=1, progress=False,
                   save=save)
    return [Candidate("the bare loop", bare, batch),
            Candidate("invert, latents out", lambda: files(["latents"]), batch),
            Candidate("invert, every step's picture too", lambda: files(["steps", "latents"]), batch)]


CASES = {          # name: (candidates, images in a batch, whether gradients are computed)
    "generator": (generator, 1, False), "encoder": (encoder, 1, False), "inversion": (inversion, 1, False),
    "training": (training, 2, True), "data": (data, PHOTOGRAPHS, False), "stream": (stream, 3, False),
    "embedded-generator": (embedded, 16, False), "embedded-inversion": (small_inversion, 8, False),
    "embedded-training": (small_training, 8, True), "shipped": (shipped, 8, False),
    "adversarial": (adversarial, 16, True),
}


def _plain(call, batch):
    return Candidate("plain twin", call, batch, apart=True)


def _photograph(phase=0):
    """A JPEG file of SIDE x SIDE pixels, waves."""
    from PIL import Image
    waves = np.add.outer(np.sin(np.arange(SIDE) / 37 + phase), np.cos(np.arange(SIDE) / 23)) * 60 + 128
    image, stream = waves[..., None].repeat(3, 2).astype(np.uint8), io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=95)
    return stream.getvalue()


def _synthesis(sizes, device, batch):
    plain, (_, network) = _twin("stylegan2"), _networks(sizes, EMBEDDED_ENCODER, device)
    seeded = torch.Generator().manual_seed(0)
    w = torch.randn(batch, network.n_styles, network.w_dim, generator=seeded).to(device)
    state, half = network.state_dict(), copy.deepcopy(network).bfloat16()
    return [_plain(lambda: plain.synthesize(state, w), batch),
            Candidate(OURS, lambda: network(w), batch), *_fast(OURS, lambda: network(w), batch, device),
            Candidate(f"{OURS}, bfloat16", lambda: half(w.bfloat16()), batch, torch.bfloat16)]


def _inversion(sizes, parts, device, batch):
    loop, plain = _twin("inversion"), _twin("stylegan2")
    network, generator = _networks(sizes, parts, device)
    inverter = Inverter(network, generator, _domain(generator, network))
    half = inverter.bfloat16()
    images = torch.rand(batch, 3, *network.input_size, device=device) * 2 - 1
    state = generator.state_dict()
    return [_plain(lambda: loop.invert(network, plain.synthesize, state, images, STEPS), batch),
            Candidate(OURS, lambda: inverter(images, STEPS).latents[-1], batch),
            *_fast(OURS, lambda: inverter(images, STEPS).latents[-1], batch, device),
            Candidate(f"{OURS}, bfloat16", lambda: half(images, STEPS).latents[-1], batch, torch.bfloat16)]


def _training(sizes, parts, device, batch):
    loop, plain = _twin("inversion"), _twin("stylegan2")
    network, generator = _networks(sizes, parts, device)
    network.train()
    inverter, state = Inverter(network, generator, _domain(generator, network)), generator.state_dict()
    images = torch.rand(batch, 3, *network.input_size, device=device) * 2 - 1
    w, y = inverter.start.expand(batch, -1, -1), inverter.start_image.expand(batch, -1, -1, -1)

    def twin():
        loop.learn(network, plain.synthesize, state, images, w, y)
        return _gradient(network)

    def ours(amp=False):
        from .refine import step
        with torch.autocast(device.type, torch.bfloat16, enabled=amp):
            loss = F.mse_loss(step(inverter.encode, inverter.synthesize, images, w, y).image.float(), images)
        loss.backward()
        return _gradient(network)
    return [_plain(twin, batch), Candidate(OURS, ours, batch),
            Candidate(f"{OURS}, bfloat16", lambda: ours(True), batch, torch.bfloat16)]


def _networks(sizes, parts, device):
    """(Encoder, Generator) of these sizes, random, without gradients of the generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator = Generator(**sizes)
        for conv in generator.convs:
            torch.nn.init.constant_(conv.noise_strength, 0.1)
        n_styles = min(generator.n_styles, parts.get("n_styles", generator.n_styles))
        encoder = Encoder(**parts | dict(n_styles=n_styles, w_dim=generator.w_dim))
        encoder.heads[0].linear_weight.data.mul_(0.1)          # random residuals that stay near the average
    return (encoder.to(device).eval(), generator.to(device).eval().requires_grad_(False))


def _domain(generator, encoder):
    from .domains import Domain
    side = generator.resolution
    return Domain(name="bench", title="bench", train="", test="", generator="", resolution=side, channels=3,
                  crop=(0, side, 0, side), encoder_size=encoder.input_size, fit="stretch", flip=False,
                  backbone=encoder.config["backbone"], losses={"l2": 1.0})


def _fast(what, call, batch, device):
    """On a GPU also with TF32."""
    if device.type != "cuda":
        return []

    def quick():
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        try:
            return call()
        finally:
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    return [Candidate(f"{what}, TF32", quick, batch)]


def _gradient(network):
    """The gradient of the encoder's last layer, to be compared; all gradients are forgotten."""
    found = network.heads[0].linear_weight.grad.clone()
    _forget(network)
    return found


def _forget(*modules):
    for parameter in (p for module in modules for p in module.parameters()):
        parameter.grad = None


@functools.cache
def _twin(name):
    path = TWINS / f"{name}_plain.py"
    if not path.exists():
        raise UserError("the plain twin that this case compares with is in tests/reference of the "
                        "repository; run it from a full checkout")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
