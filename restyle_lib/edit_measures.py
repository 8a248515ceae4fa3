"""Edits, measured (Section 5.4): what the wanted attribute moves, what else moves, what is kept.

All on latents of many methods, by the same directions and strengths; changes of attributes are in standard
deviations of the generator's samples, so that they can be compared."""
from dataclasses import dataclass, replace

import numpy as np
import torch

from .directions import apply
from .errors import UserError
from .metrics import features, identity, l2
from .statistics import bootstrap, paired_interval

TARGET = 1.0        # the wanted change at which methods are compared, where all reach it, in deviations


@dataclass(frozen=True, eq=False)
class Inversion:
    """What a method made of n images, to be edited. few: only the first of the images."""
    method: str
    latents: torch.Tensor            # [n, k, d]
    noise: object = "const"
    error: np.ndarray = None         # [n] L2 to the images


def inversions(made, images):
    """{label: Inversion} of {label: Trajectory} over images [N, C, H, W]; methods without latents are left
    out, and those without a row."""
    return {label: Inversion(label, t.latents[-1].to(images.device), t.noise_at(-1),
                             l2(t.images[-1].to(images), images[:len(t)]).cpu().numpy())
            for label, t in made.items() if t.latents is not None}


@dataclass(frozen=True, eq=False)
class Edit:
    """One method's edits by one direction: strengths [S] with 0 among them; images [S, n, C, H, W]; change
    {attribute: [S, n]} from the inversion, in deviations; kept [S, n]: identity similarity to the input."""
    method: str
    direction: object
    strengths: np.ndarray
    images: torch.Tensor
    change: dict
    kept: np.ndarray | None

    def __len__(self):
        return self.images.shape[1]

    def first(self, count):
        """The same of the first images alone."""
        return replace(self, images=self.images[:, :count],
                       change={name: v[:, :count] for name, v in self.change.items()},
                       kept=None if self.kept is None else self.kept[:, :count])

    @property
    def wanted(self):
        """[S, n] change of the attribute that the direction is for."""
        return self.change[self.direction.attribute]

    @property
    def unwanted(self):
        """[S, n] root mean square of the changes of all other attributes."""
        others = [v for name, v in self.change.items() if name != self.direction.attribute]
        return np.sqrt(np.mean(np.square(others), 0))

    def slope(self, name=None):
        """[n] change of an attribute (by default the wanted one) per unit: least squares over strengths."""
        change = self.wanted if name is None else self.change[name]
        return self.strengths @ change / np.square(self.strengths).sum()

    def at(self, strength, values):
        """[n] of values [S, n] at a strength between those that were tried."""
        order = np.argsort(self.strengths)
        return np.array([np.interp(strength, self.strengths[order], v[order]) for v in values.T])

    def reach(self):
        """The largest mean wanted change at any positive strength."""
        return float(self.wanted[self.strengths > 0].mean(1).max())

    def strength_for(self, target):
        """The least positive strength at which the mean wanted change is `target`; UserError if none is."""
        order = [i for i in np.argsort(self.strengths) if self.strengths[i] >= 0]
        strengths, means = self.strengths[order], self.wanted[order].mean(1)
        for i in range(1, len(means)):
            if means[i] >= target:
                low = min(means[i - 1], target)
                share = (target - low) / max(means[i] - low, 1e-12)
                return float(strengths[i - 1] + share * (strengths[i] - strengths[i - 1]))
        raise UserError(f"{self.method} moves '{self.direction.attribute}' by at most {means.max():.2f} "
                        f"deviations, not by {target:.2f}; try larger strengths")


@torch.no_grad()
def edit(inversion, direction, strengths, found, images=None, judge=None):
    """Draws and reads a method's edits -> Edit. found: the Samples whose reader and units count; images
    [N, C, H, W] and judge (an identity network): for what is kept of the inputs."""
    strengths = np.array(sorted({0.0, *map(float, strengths)}))
    moved = [apply(inversion.latents, direction, s, found.fingerprint) for s in strengths]
    drawn = torch.stack([found.draw(latents, inversion.noise) for latents in moved])
    read = [found.read(row) for row in drawn]
    zero = read[int(np.flatnonzero(strengths == 0)[0])]
    change = {name: np.stack([(r[name] - zero[name]) / spread for r in read])
              for name, spread in found.spread.items()}
    kept = None
    if judge is not None and images is not None:
        person = images[:len(inversion.latents)]
        kept = np.stack([identity(judge, row, person).cpu().numpy() for row in drawn])
    return Edit(inversion.method, direction, strengths, drawn.cpu(), change, kept)


def matrix(edits):
    """Disentanglement: (names of directions, names of attributes, [D, A] mean change per unit) of one
    method's Edits; a clean set moves its own attributes alone."""
    names = list(edits[0].change)
    own = [e.direction.attribute for e in edits]
    names = [*dict.fromkeys(own), *(n for n in names if n not in own)]
    return [e.direction.name for e in edits], names, np.array([[e.slope(n).mean() for n in names]
                                                               for e in edits])


def target(edits):
    """The wanted change that all of several Edits reach: TARGET, or the most that the weakest does."""
    return min([TARGET, *(e.reach() for e in edits)])


def compare(edits):
    """What each method's Edit by one direction does at an equal wanted change: a row for each.

    Intervals are over images; `unwanted` is the root mean square change of all other attributes."""
    level, rows = target(edits), []
    for e in edits:
        row = {"method": e.method, "images": len(e),
               "wanted per unit": str(bootstrap(e.slope())), "at change": level, "strength": None}
        if level > 0:
            row["strength"] = strength = e.strength_for(level)
            row["unwanted"] = str(bootstrap(e.at(strength, e.unwanted)))
            if e.kept is not None:
                row["identity"] = str(bootstrap(e.at(strength, e.kept)))
        rows.append(row)
    return rows


def difference(first, second, what="unwanted"):
    """Paired Interval of a quantity (unwanted, kept) of two Edits at an equal wanted change, on the images
    that both have; None where they share no positive change."""
    columns = _paired(first, second, what)
    return None if columns is None else paired_interval(*columns)


def _paired(first, second, what):
    """Two columns [n] of a quantity at an equal wanted change on shared images, or None."""
    count = min(len(first), len(second))
    pair = first.first(count), second.first(count)
    level = target(pair)
    return [e.at(e.strength_for(level), getattr(e, what)) for e in pair] if level > 0 else None


def realism(network, images, real, neighbours=3):
    """How near images [n, ...] lie to real ones in a network's features -> [n]; above 1: inside their cloud.

    The largest ratio of a real image's distance to its k-th neighbour to the distance from it
    (Kynkaanniemi et al. 2019, Equation 3), without the half of real images that lie most apart."""
    x, y = (features(network, i).double() for i in (images, real))
    radius = torch.cdist(y, y).kthvalue(min(neighbours + 1, len(y)), 1).values
    inner = radius <= radius.median()
    return (radius[inner] / torch.cdist(x, y[inner]).clamp_min(1e-12)).max(1).values.numpy()


@torch.no_grad()
def consistency(method, images, direction, strength, found):
    """Latent edit consistency (e4e, Section 5): invert, edit, invert the result, un-edit -> [n] RMS of what
    is left between the two latents, in multiples of the deviation of W; 0 is perfect."""
    first = method(images, found.generator, found.domain).latents[-1]
    edited = found.draw(apply(first, direction, strength, found.fingerprint))
    again = method(edited, found.generator, found.domain).latents[-1]
    left = apply(again, direction, -strength, found.fingerprint) - first
    return (left.square().mean((1, 2)).sqrt() / found.w.std(0).square().mean().sqrt()).cpu().numpy()


def evidence(edits):
    """Yields (name, value or Interval, unit, {claim, part, ...}) for the claims of Section 5.4.

    edits: {direction: {method: Edit}}; several directions count together, image by image."""
    def both(first, second):
        return [(d[first], d[second]) for d in edits.values() if first in d and second in d]

    pairs = both("ReStyle-e4e", "e4e")
    if pairs:
        count = min(len(e) for pair in pairs for e in pair)
        ours, theirs = (np.mean([pair[i].first(count).slope() for pair in pairs], 0) for i in (0, 1))
        yield ("wanted change per unit, to e4e's", bootstrap(ours, theirs, statistic=_ratio), "ratio",
               {"claim": "editable", "part": "ratio", "method": "ReStyle-e4e", "against": "e4e",
                "directions": len(pairs)})
    for rival in sorted({m for d in edits.values() for m in d if m.startswith("optimisation in W+")}):
        found = [c for pair in both("ReStyle-e4e", rival) if (c := _paired(*pair, "unwanted")) is not None]
        if found:
            yield ("unwanted at equal wanted change, to optimisation's",
                   paired_interval(*np.mean(found, 0)), "deviations",
                   {"claim": "edit-clean", "part": "change", "method": "ReStyle-e4e", "against": rival,
                    "directions": len(found)})


def _ratio(first, second):
    return float(np.mean(first) / np.mean(second)) if np.mean(second) else float("nan")
