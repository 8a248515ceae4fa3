"""Quality against time (Section 5.2, Figures 4, 5, 18, 19): curves of inversion methods and what they tell.

All curves come from tidy rows, one for each method, image and step (`scoring.Scores`), measured now or read
from a recorded run. Lower is better: identity enters as 1 - similarity."""
import csv
from dataclasses import dataclass

import numpy as np

from .errors import UserError
from .statistics import bootstrap, paired_interval
from .tables import Table

STEPS = 5               # of the paper's ReStyle, in training
METRICS = {"l2": "L2 on [-1, 1]", "perceptual": "perceptual distance", "identity": "1 - identity similarity"}


@dataclass(frozen=True)
class Curve:
    """One method's means by recorded step: all arrays [T]; low, high: 95 % bootstrap interval over images.

    values [T, n]: the images' own. plan: of an optimisation, the planned steps; 0 for encoders. recorded: not
    measured in this run."""
    method: str
    steps: np.ndarray
    seconds: np.ndarray          # median over images
    passes: np.ndarray           # images through generator (and encoder, if any) so far
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    values: np.ndarray
    images: tuple
    plan: int = 0
    recorded: bool = False

    @property
    def start(self):
        """The average image's value."""
        return self.mean[0]

    def row(self, step):
        """The row of the last recorded step up to `step`."""
        return int(np.searchsorted(self.steps, step, side="right")) - 1


def loss_of(values, kind):
    """Column of a metric as something that is better the lower it is."""
    return 1 - values if kind == "identity" else values


def curves(scores, kind, plans=None, recorded=()):
    """{method: Curve} of a metric ("l2", "perceptual", "identity") from `Scores`.

    plans: {method: planned steps} of optimisations; `recorded`: methods that were measured before."""
    column = scores.protocol.networks.get(kind, (kind,))[0]
    found, table = {}, {}
    for row in scores.rows:
        if row[column] is not None:
            table.setdefault(row["method"], {}).setdefault(row["step"], {})[row["image"]] = row
    for method, steps in table.items():
        order, images = sorted(steps), list(next(iter(steps.values())))
        rows = [[steps[step][image] for image in images] for step in order]
        values = loss_of(np.array([[row[column] for row in line] for line in rows], float), kind)
        ends = [bootstrap(line) for line in values]
        seconds = np.array([np.nanmedian([_number(row["seconds"]) for row in line]) for line in rows])
        found[method] = Curve(method, np.array(order), seconds, np.array(order, float), values.mean(1),
                              np.array([e.low for e in ends]), np.array([e.high for e in ends]), values,
                              tuple(images), (plans or {}).get(method, 0), method in recorded)
    return found


def _number(value):
    return np.nan if value is None else float(value)


def envelope(found, against="seconds"):
    """The lower envelope of several Curves over the same images: of all their points, those that no point at
    an equal or lower cost beats -> (cost [m], mean [m], (method, step) [m]). The cost: seconds or passes.

    An optimisation's rates belong to its planned length, so only the last step of a plan counts."""
    points = []
    for curve in found:
        chosen = [-1] if curve.plan else range(len(curve.steps))
        cost = getattr(curve, against)
        points += [(cost[i], curve.mean[i], (curve.method, int(curve.steps[i]))) for i in chosen]
    best, kept = np.inf, []
    for cost, value, where in sorted(points, key=lambda p: p[:2]):
        if value < best:
            best = value
            kept.append((cost, value, where))
    costs, means, where = zip(*kept, strict=True) if kept else ((), (), ())
    return np.array(costs), np.array(means), list(where)


def time_to(seconds, means, value):
    """Seconds at which a curve first comes down to `value`, on straight lines in log time; inf
    where it never does."""
    for i, mean in enumerate(means):
        if mean <= value:
            if i == 0 or seconds[i - 1] <= 0 or means[i - 1] == mean:
                return float(seconds[i])
            share = (means[i - 1] - value) / (means[i - 1] - mean)
            return float(np.exp((1 - share) * np.log(seconds[i - 1]) + share * np.log(seconds[i])))
    return float("inf")


def shared(first, second):
    """Two Curves on the images that both have, in one order; UserError where there is none."""
    images = [name for name in first.images if name in set(second.images)]
    if not images:
        raise UserError(f"{first.method} and {second.method} were measured on different images; give them at "
                        "least one in common")
    return [_on(curve, images) for curve in (first, second)]


def _on(curve, images):
    at = [curve.images.index(name) for name in images]
    return curve.values[:, at]


def gap(first, second, step=-1, other=-1):
    """Paired difference of two Curves' values, first at its `step` row minus second at its row `other`: an
    Interval over the images that both have."""
    a, b = shared(first, second)
    return paired_interval(a[step], b[other])


def passes_at(first, second):
    """The first step at which `first` (iterative) is, on the shared images, no worse than the last step of
    `second` in mean; None where it never is."""
    a, b = shared(first, second)
    level = b[-1].mean()
    rows = [int(step) for step, row in zip(first.steps, a, strict=True) if step and row.mean() <= level]
    return rows[0] if rows else None


def way(curve, floor, row=-1):
    """The share of the way from the average image's value (0) to the last of the Curve `floor` (1) that a
    Curve's row has gone, on the images that both have. The floor is what begins with the average image."""
    a, b = shared(curve, floor)
    start, end = b[0].mean(), b[-1].mean()
    return float((start - a[row].mean()) / (start - end)) if start != end else float("nan")


def summary(found, floor=None, reference=None):
    """A row for each Curve: method, steps, images, value with interval, seconds, passes; with a `floor` Curve
    the share of the way to it; with a `reference` Curve the paired difference to it. Encoders that take more
    steps than ReStyle in training have a row for those, which is what others are compared with, and one for
    the last."""
    told = Table()
    for name, curve in found.items():
        last = len(curve.steps) - 1
        trained = curve.row(STEPS) if not curve.plan and STEPS in curve.steps else last
        for row in dict.fromkeys([trained, last]):
            told.append({
                "method": name, "steps": int(curve.steps[row]), "images": len(curve.images),
                "value": f"{curve.mean[row]:.4f} [{curve.low[row]:.4f}, {curve.high[row]:.4f}]",
                "s/image": float(curve.seconds[row]), "passes": float(curve.passes[row]),
                "from": "recorded" if curve.recorded else "this run"})
            if floor is not None:
                told[-1]["way to the floor"] = f"{100 * way(curve, floor, row):.0f} %"
            if reference is not None:
                at = reference.row(STEPS)
                own = reference.method == name and row == at
                told[-1]["difference to " + reference.method] = "" if own else str(
                    gap(curve, reference, row, at))
    return told


def hardest(curve, count=5):
    """Names of the images with the largest last value of a Curve, the worst first."""
    order = np.argsort(-curve.values[-1], kind="stable")
    return [curve.images[i] for i in order[:count]]


def extremes(table, names, attributes=("yaw", "smile"), count=2):
    """Images of the most extreme values of each attribute, both ends: {attribute: names} (Figure 22)."""
    found = {}
    for attribute in attributes:
        if attribute in table:
            order = np.argsort(np.asarray(table[attribute], float), kind="stable")
            found[attribute] = [names[i] for i in (*order[:count], *order[::-1][:count])]
    return found


def read_rows(path):
    """Rows of a CSV that `Scores.write` wrote: numbers as floats, blanks as None, steps as ints."""
    with open(path, encoding="utf-8", newline="") as stream:
        rows = [{k: _cell(k, v) for k, v in row.items()} for row in csv.DictReader(stream)]
    if not rows or "method" not in rows[0]:
        raise UserError(f"{path} is no table of scores: it needs the columns method, image, step")
    return rows


def _cell(name, text):
    if name in ("method", "image", "protocol"):
        return text
    if text == "":
        return None
    return int(text) if name == "step" else float(text)
