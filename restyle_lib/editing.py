"""Finding directions offline in any generator: InterFaceGAN, GANSpace, SeFa; conditional orthogonalisation.

InterFaceGAN (Shen et al. 2020) separates samples that a reader labelled; GANSpace (Harkonen et al. 2020)
takes the principal components of W; SeFa (Shen and Zhou 2021) the eigenvectors of the modulation weights."""
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch

from .directions import Direction, apply
from .directions import load as load_file
from .errors import UserError, suggest
from .files import ASSETS
from .inverter import draw_row
from .metrics import legibility, read_attributes
from .models.stylegan2 import fingerprint
from .pixels import to_pixels
from .weights import facts, load_network

PROBES = 48         # samples that a unit is measured on
REACH = 3.0         # a unit is at most so many deviations of W along its direction


@dataclass(frozen=True, eq=False)
class Samples:
    """Generated samples and what a reader sees in them: w [N, d]; values, spread {attribute: [N], number}."""
    generator: object
    domain: object
    reader: object                       # or None: nothing is read then
    w: torch.Tensor
    values: dict = field(default_factory=dict)

    @cached_property
    def fingerprint(self):
        return fingerprint(self.generator)

    @cached_property
    def spread(self):
        """{attribute: its standard deviation over the samples}: the unit in which changes are measured. Of
        a binary at least 0.1: where next to no sample has it, any trace of it would seem much."""
        least = {a["name"]: 0.1 if a["kind"] == "binary" else 1e-6 for a in self.reader.attributes}
        return {name: max(float(np.std(v)), least[name]) for name, v in self.values.items()}

    @torch.no_grad()
    def draw(self, latents, noise="const", batch=50):
        """latents [N, k, d] or [N, d] -> images [N, C, H, W] at encoder size, clipped to [-1, 1]."""
        parts = [draw_row(self.generator, self.domain, part, noise)
                 for part in self.generator.styles(latents).split(batch if isinstance(noise, (str, int))
                                                                  else len(latents))]
        return torch.cat(parts).clamp(-1, 1)

    def read(self, images):
        """images [N, C, H, W] -> {attribute: [N]}: reals in their unit, binaries as probabilities."""
        found = read_attributes(self.reader, images, device=self.w.device)
        return {name: found[name] for name in self.values} if self.values else {
            a["name"]: found[a["name"]] for a in self.reader.attributes if a["kind"] != "category"}


@torch.no_grad()
def samples(generator, domain, reader=None, count=600, seed=0, *, legible=0.0):
    """`count` samples of W, drawn and read -> Samples. reader: by default the domain's, where it is there.

    legible: leave out attributes that the reader reads worse than that on held-out images (`legibility`)."""
    known = {}
    if reader is None and (name := domain.networks.get("attributes")):
        try:
            reader, held_out = load_network(name, "attributes", generator.w_mean.device), facts(name)
            known = legibility(held_out.get("held_out", {}).get("attributes", {}), reader.attributes)
        except UserError:
            reader = None
    z = torch.randn(count, generator.z_dim, generator=torch.Generator().manual_seed(seed))
    w = torch.cat([generator.mapping(part.to(generator.w_mean.device)) for part in z.split(500)])
    empty = Samples(generator, domain, reader, w)
    values = empty.read(to_pixels(empty.draw(w))) if reader else {}
    return Samples(generator, domain, reader, w,
                   {n: v for n, v in values.items() if not any(known.values()) or known[n] >= legible})


def interfacegan(found, attribute, *, share=0.3, strictness=0.003, held_out=0.3, seed=0):
    """The normal of the boundary between samples with much and with little of an attribute -> Direction.

    share: of the samples at each end (InterFaceGAN takes the extremes, too); held_out: of those, kept for the
    accuracy; strictness: C of the linear SVM, small where samples are few. The unit is calibrated."""
    from sklearn.model_selection import train_test_split
    from sklearn.svm import LinearSVC

    if attribute not in found.values:
        raise suggest(attribute, found.values, "attribute") if found.values else UserError(
            f"'{attribute}' cannot be looked for: the domain {found.domain.name} has no attribute reader")
    order = np.argsort(found.values[attribute], kind="stable")
    count = max(4, int(share * len(order)))
    if 2 * count > len(order) or np.ptp(found.values[attribute]) == 0:
        raise UserError(f"{len(order)} samples do not show '{attribute}' at two ends; draw more samples")
    rows = np.r_[order[:count], order[-count:]]
    w = found.w.double().cpu().numpy()
    x, y = (w - w.mean(0))[rows] / w.std(), np.repeat([0, 1], count)
    train, test, low, high = train_test_split(x, y, test_size=held_out, random_state=seed, stratify=y)
    machine = LinearSVC(C=strictness, dual=False, max_iter=10_000, random_state=seed).fit(train, low)
    normal = torch.from_numpy(machine.coef_[0])
    return calibrate(Direction(
        attribute, normal / normal.norm(), attribute=attribute, generator=found.fingerprint,
        found=f"InterFaceGAN: linear SVM on {len(train)} of {len(order)} samples, labelled by a reader",
        accuracy=float(machine.score(test, high))), found)


def orthogonal(direction, others, found):
    """Conditional manipulation (InterFaceGAN, Section 3.2): what of a direction [d] is left when its parts
    along `others` are taken out, so that it no longer moves across their boundaries -> Direction."""
    basis = torch.linalg.qr(torch.stack([other.vector.double() for other in others], 1))[0]
    vector = direction.vector.double()
    left = vector - basis @ (basis.T @ vector)
    if left.norm() < 1e-3 * vector.norm():
        raise UserError(f"nothing of '{direction.name}' is left beside {', '.join(o.name for o in others)}")
    names = ", ".join(other.name for other in others)
    return calibrate(direction.replace(vector=left / left.norm(), accuracy=float("nan"),
                                       name=f"{direction.name}, without {names}",
                                       found=f"{direction.found}; orthogonal to {names}"), found)


def ganspace(found, count=10, layers=()):
    """The first principal components of W, each moving the styles `layers` -> list of Directions.

    A unit is a component's standard deviation (GANSpace, Section 3.1)."""
    w = found.w.double().cpu()
    values, axes = torch.linalg.eigh(torch.cov(w.T))
    made = [Direction(f"pc{i}", _signed(axes[:, -1 - i]), layers=layers, generator=found.fingerprint,
                      unit=float(values[-1 - i].clamp_min(1e-12).sqrt()),
                      found=f"GANSpace: component {i} of {len(w)} samples of W")
            for i in range(min(count, len(values), len(w) - 1))]
    return [_described(direction, found) for direction in made]


def sefa(found, count=10, layers=()):
    """The directions that the modulation of the styles `layers` amplifies most -> list of Directions.

    Eigenvectors of A^T A, A the layers' affine weights with unit rows (SeFa, Equation 7); the unit is the
    deviation of W along each."""
    generator, w = found.generator, found.w.double().cpu()
    readers = [*generator.convs, generator.to_images[-1]]           # style j's own layer
    chosen = list(layers) or list(range(generator.n_styles))
    if wrong := [layer for layer in chosen if not 0 <= layer < generator.n_styles]:
        raise UserError(f"there is no style {wrong[0]}; accepted: 0 to {generator.n_styles - 1}")
    weights = torch.cat([readers[j].affine.weight.detach().double().cpu() for j in chosen])
    weights = weights / weights.norm(dim=1, keepdim=True).clamp_min(1e-12)
    axes = torch.linalg.eigh(weights.T @ weights)[1].flip(1).T[:count]
    made = [Direction(f"sefa{i}", _signed(axis), layers=layers, generator=found.fingerprint,
                      unit=float((w @ axis).std().clamp_min(1e-6)),
                      found=f"SeFa: eigenvector {i} of the weights of styles {chosen[0]} to {chosen[-1]}")
            for i, axis in enumerate(axes)]
    return [_described(direction, found) for direction in made]


def _signed(vector):
    """The same axis, its largest entry positive."""
    return vector * vector[vector.abs().argmax()].sign()


def response(direction, found, latents=None, strength=1.0):
    """What one unit changes: {attribute: [N]} in standard deviations of the samples, half the difference of
    +strength and -strength, by unit. latents: [N, k, d], by default some of the samples."""
    few = min(PROBES, max(4, len(found.w) // 5))
    base = found.generator.styles(found.w[:few]) if latents is None else latents
    sides = [found.read(found.draw(apply(base, direction, sign * strength))) for sign in (1, -1)]
    return {name: (sides[0][name] - sides[1][name]) / (2 * strength * spread)
            for name, spread in found.spread.items()}


def calibrate(direction, found):
    """The direction with a unit that moves its attribute by one standard deviation of the samples, measured
    on them; at most REACH deviations of W along it, and pointing to more of the attribute."""
    step = direction.step(found.generator.n_styles, found.generator.w_dim).mean(0).double()
    along = float((found.w.double().cpu() @ (direction.vector.double() if direction.vector.dim() == 1
                                             else step / step.norm())).std())
    base = direction.replace(unit=max(along, 1e-6))
    moved = float(response(base, found)[direction.attribute].mean())
    if moved < 0:
        base, moved = base.replace(vector=-base.vector), -moved
    factor = min(REACH, 1 / max(moved, 1e-6))
    change = moved * factor * found.spread[direction.attribute]
    return base.replace(unit=base.unit * factor, meaning=f"{direction.attribute} {change:+.2g}")


def _described(direction, found):
    """The direction with its meaning: the two attributes that a unit changes most."""
    if not found.values:
        return direction
    few = found.generator.styles(found.w[:min(PROBES // 2, max(4, len(found.w) // 10))])
    moved = {name: float(v.mean()) for name, v in response(direction, found, few).items()}
    most = sorted(moved, key=lambda name: -abs(moved[name]))[:2]
    return direction.replace(meaning=", ".join(f"{n} {moved[n] * found.spread[n]:+.2g}" for n in most))


def shipped(domain):
    """{name: path} of the direction files that ship with a domain."""
    return {path.stem: path for path in sorted((ASSETS / domain.name / "directions").glob("*.npz"))}


def attributes(domain):
    """Names of the attributes that a domain's reader reads as numbers; none where it has no reader."""
    try:
        reader = load_network(domain.networks["attributes"], "attributes")
    except (KeyError, UserError):
        return []
    return [a["name"] for a in reader.attributes if a["kind"] != "category"]


def get(name, generator, domain, found=None):
    """A direction by a file's path, a shipped name, or an attribute's name: then it is found now.

    found: Samples to look in, by default drawn now. UserError with a suggestion for an unknown name."""
    path = shipped(domain).get(name, name)
    if str(path).endswith((".npz", ".pt")):
        made = load_file(path)
        if len(made) > 1:
            raise UserError(f"{path} holds {len(made)} directions; load one: directions.load(path)['pc0']")
        direction = next(iter(made.values()))
    else:
        known = list(found.values) if found else attributes(domain)
        if name not in known:
            raise suggest(name, [*shipped(domain), *known, "a direction's file"], "direction")
        direction = interfacegan(found or samples(generator, domain), name)
    direction.check(generator)
    return direction
