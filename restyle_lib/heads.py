"""The two encoder heads side by side (Appendices A.1 and C, Table 1, Figures 3 and 13): what they are, what
they cost, and whether they reconstruct alike."""
import dataclasses
import math
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from .comparison import STEPS, shared
from .domains import Domain
from .errors import UserError, suggest
from .inverter import crop, pool
from .models.encoders import Encoder
from .models.stylegan2 import Generator
from .refine import refine
from .statistics import Interval, bootstrap
from .tables import Table

HEADS = ("single", "pyramid")
PAIRS = (           # labels of `lineup.study`: the same scheme with either head, single first
    ("ReStyle-pSp", "ReStyle-pSp, pyramid"),
    ("ReStyle-e4e", "ReStyle-e4e, pyramid"),
    ("pSp, single head", "pSp"),                           # one pass each
)
PUBLISHED = {       # sizes of the published networks of two domains; costs do not depend on weights
    "faces": Domain(name="faces", train="none", resolution=1024, encoder_size=(256, 256), backbone="irse50"),
    "cars": Domain(name="cars", train="none", resolution=512, encoder_size=(192, 256), crop=(64, 448, 0, 512),
                   backbone="resnet34"),
}


def published(name, shrink=1):
    """The Domain of a published size; shrink: a divisor of all its sides, for a quick look."""
    if name not in PUBLISHED:
        raise suggest(name, PUBLISHED, "published size")
    domain = PUBLISHED[name]
    sides = [*domain.encoder_size, *domain.crop, domain.resolution]
    if shrink < 1 or any(side % shrink for side in sides):
        raise UserError(f"shrink={shrink}: accepted: a whole number that divides {sides}")
    smaller = dict(resolution=domain.resolution // shrink, crop=tuple(c // shrink for c in domain.crop),
                   encoder_size=tuple(s // shrink for s in domain.encoder_size))
    return dataclasses.replace(domain, **smaller)


def extra(domain):
    """{label: name of the weights} of the pairs' second encoders that `lineup.study(more=...)` has to try."""
    return {pair[1]: f"{domain.name}/restyle-{kind}-pyramid"
            for pair, kind in zip(PAIRS, ("psp", "e4e"), strict=False)}


# ---- what they cost

def pair(domain, *, w_dim=512, n_styles=None, progressive=False, device="cpu"):
    """{"single": Encoder, "pyramid": Encoder} of ReStyle for a domain, filled with random numbers.

    device "meta" makes shapes alone, which is enough to count."""
    n_styles = n_styles or 2 * int(math.log2(domain.resolution)) - 2
    with torch.device("meta"):
        found = {head: Encoder(domain.backbone, head, progressive, n_styles, w_dim, 2 * domain.channels,
                               domain.encoder_size, domain.head_channels) for head in HEADS}
    return {head: _filled(encoder, device).eval().requires_grad_(False) for head, encoder in found.items()}


@torch.no_grad()
def _filled(network, device):
    """A network of shapes alone with weights, the same few random numbers again and again: drawing hundreds
    of millions would take longer than what is timed."""
    if str(device) == "meta":
        return network
    noise = 0.02 * torch.randn(2**16, generator=torch.Generator().manual_seed(0)).to(device)
    network.to_empty(device=device)
    for tensor in network.parameters():
        times = -(-tensor.numel() // len(noise))
        tensor.copy_(noise.repeat(times)[:tensor.numel()].view_as(tensor))
    for name, tensor in network.named_buffers():
        tensor.fill_(1 if name.endswith("running_var") else 0)
    return network


def costs(network, x):
    """(parameters, GFLOP) of a network and of one call with x; a multiplication and an addition are two."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(x)
    return sum(p.numel() for p in network.parameters()), counter.get_total_flops() / 1e9


def cost_rows(encoders):
    """A row for each head {head: Encoder}: parameters and GFLOP of a pass of one image, as shares, too."""
    found = {head: costs(encoder, _zeros(encoder)) for head, encoder in encoders.items()}
    first = next(iter(found.values()))
    return Table({"head": head, "parameters": parameters, "GFLOP": gflop,
                  "parameters, times": parameters / first[0], "GFLOP, times": gflop / first[1]}
                 for head, (parameters, gflop) in found.items())


def _zeros(encoder, images=1):
    weight = next(encoder.parameters())
    return torch.zeros(images, encoder.in_channels, *encoder.input_size, device=weight.device)


class Timing(NamedTuple):
    """Seconds an image by head, from rounds in which the heads took turns."""
    steps: dict                  # {head: [rounds, T]} of each step: encoder, generator, pooling
    images: int
    device: str = "cpu"

    def row(self, head):
        """Medians with 95 % intervals of a step and of all steps."""
        table = self.steps[head]
        return {"head": head, "s/step": str(bootstrap(table.ravel(), statistic=np.median)),
                f"s/{table.shape[1]} steps": str(bootstrap(table.sum(1), statistic=np.median))}

    def ratio(self, over="single", head="pyramid"):
        """How many times as long the pyramid takes: total over total, steps paired, with its interval."""
        return bootstrap(self.steps[head].ravel(), self.steps[over].ravel(), statistic=_of_sums)


def _of_sums(a, b):
    return a.sum() / b.sum()


@torch.no_grad()
def times(encoders, generator, domain, *, images=1, steps=STEPS, rounds=5):
    """Times {head: Encoder} on `images` empty images, by turns, after a step of each to warm up -> Timing.

    Everything runs where the generator is. Weights do not matter: a step does the same with any."""
    if steps < 1 or rounds < 1:
        raise UserError(f"steps={steps}, rounds={rounds}: at least one of each is timed")
    start, taken = generator.w_mean, {head: [] for head in encoders}
    x = torch.zeros(images, domain.channels, *domain.encoder_size, device=start.device)

    def synthesize(latents):
        return pool(crop(generator(latents), domain.crop), domain.encoder_size)

    first = synthesize(start[None])[0]
    for turn in range(rounds + 1):
        for head, encoder in encoders.items():
            found = refine(encoder, synthesize, x, start, start_images=first, steps=steps if turn else 1,
                           timed=True)
            if turn:
                taken[head].append(found.seconds.diff(dim=0).mean(1).numpy())
    return Timing({head: np.stack(rows) for head, rows in taken.items()}, images, start.device.type)


def random_generator(domain, device="cpu", **sizes):
    """A generator of a domain's resolution with random weights from one seed and an average style of zero."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Generator(domain.resolution, image_channels=domain.channels, **sizes).to(device).eval() \
            .requires_grad_(False)


# ---- what they are

@torch.no_grad()
def shapes(encoder):
    """The shapes of one image's way through an encoder, from hooks on its modules, in their order: rows
    {"part": stem, map, lateral or heads, "name", "in", "out": [C, H, W] or [styles, d], "first": style}."""
    rows, handles = Table(), []

    def watch(module, part, name, first=None):
        def note(_, given, made):
            rows.append({"part": part, "name": name, "in": list(given[0].shape[1:]),
                         "out": list(made.shape[1:]), "first": first,
                         "parameters": sum(p.numel() for p in module.parameters())})
        handles.append(module.register_forward_hook(note))

    trunk = encoder.backbone
    watch(getattr(trunk, trunk.stem_names[-1]), "stem", "stem")
    for number, tap in enumerate(trunk.taps, 1):
        watch(trunk.body[tap], "map", f"map {number}")
    for number, lateral in enumerate(encoder.lateral):
        watch(lateral, "lateral", f"1×1 of map {2 - number}")
    for heads, first in zip(encoder.heads, encoder.starts, strict=False):
        last = first + heads.count - 1
        watch(heads, "heads", f"styles {first}–{last}" if last > first else f"style {first}", first)
    try:
        encoder(_zeros(encoder))
    finally:
        for handle in handles:
            handle.remove()
    return rows


# ---- whether they reconstruct alike

def measured(study):
    """{metric: {label: Curve}} of a Study; where no pair is there, of the recorded run beside it."""
    found = {kind: study.curves(kind) for kind in study.kinds()}
    kept = {kind: study.controls(kind) for kind in found}
    return kept if not quality_rows(found) and quality_rows(kept) else found


def relative(single, pyramid):
    """How far the single head's error lies above the pyramid's after Table 1's five steps, or their only one,
    as a share: an Interval over the images of both Curves."""
    a, b = shared(single, pyramid)
    return bootstrap(a[single.row(STEPS)], b[pyramid.row(STEPS)], statistic=_share)


def _share(a, b):
    return a.mean() / b.mean() - 1


def quality_rows(found):
    """Table 1's errors: a row for each pair and metric of {metric: {label: Curve}} that is there."""
    rows = Table()
    for kind, curves in found.items():
        for one, other in PAIRS:
            if one in curves and other in curves:
                first, second = curves[one], curves[other]
                at, to = first.row(STEPS), second.row(STEPS)
                rows.append({"scheme": one, "against": other, "steps": int(first.steps[at]),
                             "recorded": first.recorded, "measure": kind,
                             "single": float(first.mean[at]), "pyramid": float(second.mean[to]),
                             "single / pyramid - 1": str(relative(first, second))})
    return rows


def evidence(found=None, timing=None):
    """Yields (name, value, unit, {claim, part, ...}) of Table 1's claims: head-same from curves {metric:
    {label: Curve}} of the first pair that is there, head-faster from a Timing at published size, and
    half-second (Section 1) from one on a GPU."""
    curves = (found or {}).get("l2", {})
    one, other = next((pair for pair in PAIRS if set(pair) <= curves.keys()), (None, None))
    for kind in ("l2", "perceptual") if one else ():
        if one in found.get(kind, {}) and other in found[kind]:
            gap = relative(found[kind][one], found[kind][other])
            if gap.count > 1:
                yield ("single head to pyramid, relative difference", gap, kind,
                       {"claim": "head-same", "part": kind, "method": one, "against": other,
                        "step": min(STEPS, int(curves[one].steps[-1])), "recorded": curves[one].recorded})
    if timing is not None and timing.steps["single"].shape[1] == STEPS:
        ratio = timing.ratio()
        yield ("time of the pyramid to the single head's", Interval(*ratio[:3], timing.images), "ratio",
               {"claim": "head-faster", "part": "ratio", "step": STEPS, "repeats": ratio.count})
        if timing.device == "cuda":
            seconds = bootstrap(timing.steps["single"].sum(1))
            yield ("time of five steps at published size", seconds, "s per image",
                   {"claim": "half-second", "part": "seconds", "step": STEPS})
