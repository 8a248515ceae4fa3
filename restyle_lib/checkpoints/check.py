"""`inspect FILE --check`: does a file work? It needs no data: the generator's own samples are the images."""
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from .. import registry
from ..domains import Domain
from ..errors import UserError
from ..files import atomic
from ..inverter import Inverter, crop
from ..pixels import encode_png, to_pixels
from ..weights import find, load_inverter, load_parts

PSI = 0.7                 # samples are truncated so far
FEW = 8                   # samples for the comparisons with what would be wrong


@dataclass(frozen=True)
class Finding:
    """One check: what, whether it passed, and the numbers."""
    name: str
    passed: bool
    told: str

    def __str__(self):
        return f"  {'pass' if self.passed else 'FAIL'}  {self.name}: {self.told}"


@torch.no_grad()
def check(path, image, *, domain=None, count=32, steps=5, seed=0, batch=4, device="cpu"):
    """Yields Findings about a generator or an inverter, and writes its average image to `image` (a PNG).

    `count` seeded samples at truncation 0.7 are drawn and, where the file holds an encoder, inverted. A
    published encoder does not tell which part of the square it sees: unless `domain` says, it is tried."""
    encoder, generator, domain = _parts(path, domain, device)
    z = torch.randn(max(count, 4096), generator.z_dim, generator=torch.Generator().manual_seed(seed))
    w = torch.cat([generator.mapping(part.to(device)) for part in z.split(1024)])
    with atomic(image) as stream:
        stream.write(encode_png(to_pixels(generator(generator.w_mean[None]))[0]))
    yield _average(generator, w)
    w = generator.truncate(w[:count], PSI)
    side = min(generator.resolution, 256)
    yield _range(torch.cat([F.adaptive_avg_pool2d(generator(part), side) for part in w.split(batch)]))
    if encoder is not None:
        yield from _inversion(encoder, generator, domain, w, steps, batch)


def _parts(path, domain, device):
    """(encoder or None, generator, Domain or None where nothing says)."""
    path = str(path)
    if _has(path, "encoder", device):
        parts = load_parts(path, ("encoder", "generator"), device)
        known = path in registry.files() and registry.entry(path).domain
        if domain is None and not known and "generator" in parts:
            return parts["encoder"], parts["generator"], None
        inverter = load_inverter(path, domain, device=device)
        return inverter.encoder, inverter.generator, inverter.domain
    return None, load_parts(path, ("generator",), device)["generator"], None


def _has(path, kind, device):
    try:
        return bool(load_parts(path, (kind,), device))
    except UserError:
        find(path)
        return False


def _average(generator, w):
    """Is w_mean the mean of what the mapping gives? Another file's average is about a deviation away."""
    spread = (w - w.mean(0)).square().mean().sqrt()
    away = float((generator.w_mean - w.mean(0)).square().mean().sqrt() / spread)
    return Finding("average style", away < 0.5,
                   f"{away:.2f} deviations from the mean of {len(w)} mapped draws")


def _range(images):
    """Do the samples look like images in [-1, 1]?"""
    inside = float((images.abs() <= 1.2).float().mean())
    low, high = (float(images.float().quantile(q)) if images.numel() < 2**24 else
                 float(images.flatten()[::images.numel() // 2**22].quantile(q)) for q in (0.02, 0.98))
    differ = float(images.std(0).mean()) if len(images) > 1 else 1.0
    return Finding("range", bool(inside > 0.9 and low < 0 < high and differ > 0.01),
                   f"{100 * inside:.0f} % of the pixels within [-1.2, 1.2], 2 % below {low:.2f}, 2 % above "
                   f"{high:.2f}; samples differ by {differ:.2f}")


def _inversion(encoder, generator, domain, w, steps, batch):
    few, channels = w[:FEW], generator.image_channels
    inverter, ratio, told, right = _framed(encoder, generator, domain, few)
    x = torch.cat([inverter.synthesize(part) for part in w.split(batch)]).clamp(-1, 1)
    single = encoder.in_channels == channels
    runs = [inverter(part, steps=1 if single else steps) for part in x.split(batch)]
    drawn, latents = torch.cat([run.images for run in runs], 1), torch.cat([run.latents for run in runs], 1)
    each = (drawn - x).square().mean((2, 3, 4))
    means = each.mean(1).tolist()
    yield Finding("error falls with steps", means[1] < means[0] and means[-1] <= means[1],
                  f"L2 {' -> '.join(f'{value:.4f}' for value in means)}; {int((each[-1] < each[0]).sum())} "
                  f"of {len(x)} samples nearer than the average image")
    yield Finding("crop", right, told)
    wrong = [("range of the input", "[-1, 1]", "[0, 1]", lambda x2: (x2 + 1) / 2)]
    if channels == 3:
        wrong += [("colour order", "RGB", "BGR", lambda x2: x2.unflatten(1, (-1, 3)).flip(2).flatten(1, 2))]
    for name, as_is, other, see in wrong:
        worse = _once(inverter, few, inverter.domain.crop, see)
        yield Finding(name, ratio <= worse, f"{ratio:.3f} of the average image's error after one step as "
                                            f"{as_is}, {worse:.3f} as {other}")
    fresh = torch.cat([inverter.render(part, noise=1) for part in latents[-1, :FEW].split(batch)])
    fresh = F.adaptive_avg_pool2d(fresh, tuple(x.shape[2:]))
    const, other = (float((y - x[:FEW]).square().mean()) for y in (drawn[-1, :FEW], fresh))
    yield Finding("noise", const <= 1.01 * other,
                  f"L2 {const:.4f} with the file's noise maps, {other:.4f} with others")


def _framed(encoder, generator, domain, w):
    """(Inverter, its error after one step over the average image's, words, whether its crop is the best).

    Tried: all of the square, and rows from an eighth to seven eighths (4:3, as the published cars)."""
    side, found = generator.resolution, {}
    for frame in ((0, side, 0, side), (side // 8, side - side // 8, 0, side)):
        if domain is None:
            width = max(encoder.input_size)
            size = (width * (frame[1] - frame[0]) // side, width)
            own = Domain(name="of the file", train="its own samples", resolution=side, encoder_size=size,
                         channels=generator.image_channels, crop=frame)
            inverter = Inverter(encoder.resize(size), generator, own)
        else:
            inverter = Inverter(encoder, generator, domain)
        found[frame] = _once(inverter, w, frame), inverter
    if domain is not None and tuple(domain.crop) not in found:
        found[tuple(domain.crop)] = _once(inverter, w, domain.crop), inverter
    best = min(found, key=lambda frame: found[frame][0])
    frame = best if domain is None else tuple(domain.crop)
    ratio, inverter = found[frame]
    if domain is None:
        encoder.resize(inverter.domain.encoder_size)
    others = ", ".join(f"rows {other[0]}-{other[1] - 1} {value:.3f}"
                       for other, (value, _) in found.items() if other != frame)
    tried = " (the best tried)" if domain is None else ""
    told = f"rows {frame[0]}-{frame[1] - 1}{tried} {ratio:.3f} of the average image's error after one step, "
    return inverter, ratio, told + others, frame == best


def _once(inverter, w, frame, see=lambda x2: x2):
    """Error after one step over the start's, of w [B, k, d], where images are `frame`, encoded as `see`."""
    def draw(latents):
        image = crop(inverter.generator(latents, noise=inverter.noise), frame)
        return F.adaptive_avg_pool2d(image, tuple(inverter.domain.encoder_size))

    first = draw(inverter.start[None])
    errors = torch.zeros(2)
    for part in w.split(4):
        x = draw(part).clamp(-1, 1)
        y = first.expand(len(x), -1, -1, -1)
        after = draw(inverter.start + inverter.encode(see(torch.cat([x, y], 1))))
        errors += torch.tensor([float((image - x).square().sum()) for image in (y, after)])
    return float(errors[1] / errors[0])
