"""What bootstrapping changes (Section 5.5, Figures 11 and 12): attributes kept, identity, toon-ness and the
distance to the true toon, step by step, of real-to-toon variants over the same images."""
from dataclasses import dataclass

import numpy as np
import torch

from . import data
from .audit import feature_network
from .metrics import batches, by_step, features, l2, perceptual, read_attributes, to_floats
from .statistics import paired_interval
from .tables import Table
from .toonify import bootstrap
from .trajectory import join
from .training.distortions import imperfect

ITEMS = {"pose": ("yaw", "pitch"), "expression": ("smile", "mouth_open"), "eyeglasses": ("glasses",),
         "hairstyle": ("hair_style", "hair_length"), "make-up": ("makeup",)}
CLAIMED = ("eyeglasses", "hairstyle", "expression", "make-up")       # the claim boot-items
PLAIN, RERENDERED, ONCE = "average toon", "re-rendered", "one pass"
TOON = "toon-ness"


# ---- toon-ness

@dataclass(frozen=True, eq=False)
class ToonNess:
    """images [B, C, H, W] in [-1, 1] -> probabilities [B] of being a toon: a logistic regression on the style
    statistics of a perceptual network, the mean and deviation of each channel over space.

    accuracy: on held-out renders of both styles, half of them toons; on_imperfect: on the same, distorted as
    samples of generators are; count: how many there were."""
    network: torch.nn.Module
    model: object
    name: str
    accuracy: float
    on_imperfect: float
    count: int

    def __call__(self, images):
        return torch.from_numpy(self.model.predict_proba(statistics(self.network, images))[:, 1])


@torch.no_grad()
def statistics(network, images):
    """Mean and deviation over space of every channel of a network's maps: [N, 2 x channels], float64."""
    device, rows = next(network.parameters()).device, []
    for part in batches(images, 64, device):
        maps = [m.flatten(2) for m in network(part)]
        both = [s for m in maps for s in (m.mean(2), m.std(2, correction=0))]
        rows.append(torch.cat(both, 1).double().cpu())
    return torch.cat(rows).numpy()


def toonness(domain, ordinary="avatars", toons="toons", *, count=300, held_out=200, seed=0, device="cpu"):
    """Learns to tell two datasets' renders apart, in seconds -> ToonNess. count, held_out: of each."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    name, network = feature_network(domain, device)
    seen = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for split, number in (("train", count), ("test", held_out)):
            both = [to_floats(data.images(d, split, domain.encoder_size, count=number, fit=domain.fit,
                                          progress=False)[:]) for d in (ordinary, toons)]
            both = torch.cat(both)
            seen[split] = [statistics(network, x) for x in (both, imperfect(both).clamp(-1, 1))]
    truth = {split: np.repeat([0, 1], number) for split, number in (("train", count), ("test", held_out))}
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.3, max_iter=2000))
    model.fit(np.concatenate(seen["train"]), np.tile(truth["train"], 2))
    right = [float(model.score(x, truth["test"])) for x in seen["test"]]
    return ToonNess(network, model, name, *right, 2 * held_out)


# ---- variants and their measures

def variants(first, second, images, *, first_steps=(1,), steps=5, single=None, begun=None, batch=32):
    """{label: Trajectory} of the real-to-toon variants of Figure 11, of `steps` steps of the second encoder.

    first, second, single: Inverters; `single` is the one-pass baseline. "re-rendered" draws the start with
    the second generator: the ablation of the image that bootstrapping begins with. begun: the first's
    Trajectory of these images, where it is there already."""
    def made(count, rerender=False):
        parts = torch.arange(len(images)).split(batch)
        return join([bootstrap(first, second, images[part], count, steps, rerender=rerender,
                               begun=begun and begun.select(part.tolist())) for part in parts])

    found = {PLAIN: made(0)} | {label(count): made(count) for count in first_steps if count}
    if any(first_steps):
        found[RERENDERED] = made(next(filter(None, first_steps)), rerender=True)
    if single is not None:
        found = {ONCE: join([single(part, 1) for part in images.split(batch)])} | found
    return found


def label(count):
    """The name of a bootstrapped variant by the first encoder's number of steps."""
    return f"bootstrap, {count}"


def known(truth, reader=None, images=None):
    """{attribute: [N]} to be kept: the truth, or what a reader finds in the inputs where nobody knows it."""
    if truth or reader is None:
        return truth
    kinds = {a["name"]: a["kind"] for a in reader.attributes}
    read = read_attributes(reader, images, device=images.device)
    rounded = {"real": np.asarray, "binary": lambda v: (v > 0.5).astype(float),
               "category": lambda v: v.argmax(1)}
    return {name: rounded[kinds[name]](values) for name, values in read.items()}


def kept(read, truth, attributes, names):
    """How much of some attributes is kept, per image: [N] in 0...1, or None where none of them is known.

    1 - the difference as a share of the range (reals), 1 - |probability - truth| (binaries), the
    probability of the true class (categories)."""
    rows = []
    for a in attributes:
        name = a["name"]
        if name in names and name in read and name in truth:
            value, true = np.asarray(read[name], float), np.asarray(truth[name])
            if a["kind"] == "category":
                rows.append(value[np.arange(len(true)), true.astype(int)])
            else:
                span = a["high"] - a["low"] if a["kind"] == "real" else 1.0
                rows.append((1 - np.abs(value - true.astype(float)) / span).clip(0, 1))
    return np.mean(rows, 0) if rows else None


def measure(found, images, *, toonness=None, reader=None, truth=None, identity_network=None, toons=None,
            distance=None):
    """{measure: {label: [T+1, B]}} of variants {label: Trajectory or frames [T+1, B, C, H, W]}.

    Measures, each where it can be taken: "toon-ness" (`toonness`); "attributes" and its ITEMS, kept of
    `truth` as `reader` sees it; "identity" to the input; "L2 to the true toon" and "distance to the true
    toon" (of a network with `distance`) to `toons` [B, C, H, W], which the paper could not measure."""
    truth, result = known(truth, reader, images), {}
    faces = None if identity_network is None else features(identity_network, images, device=images.device)
    for name, frames in found.items():
        frames = getattr(frames, "images", frames).clamp(-1, 1)
        table = {}
        if toonness is not None:
            table[TOON] = torch.stack([toonness(frame) for frame in frames])
        if reader is not None:
            read = [read_attributes(reader, frame, device=frame.device) for frame in frames]
            items = {item: [kept(r, truth, reader.attributes, names) for r in read]
                     for item, names in ITEMS.items()}
            items = {item: np.stack(rows) for item, rows in items.items() if rows[0] is not None}
            table |= {"attributes": np.mean(list(items.values()), 0)} | items if items else {}
        if identity_network is not None:
            table["identity"] = torch.stack([(features(identity_network, frame, device=frame.device) * faces)
                                             .sum(1) for frame in frames])
        if toons is not None:
            table["L2 to the true toon"] = by_step(l2, frames, toons)
        if toons is not None and distance is not None:
            table["distance to the true toon"] = by_step(lambda y, x: perceptual(distance, y, x), frames,
                                                         toons)
        for what, values in table.items():
            values = values.cpu().numpy() if torch.is_tensor(values) else values
            result.setdefault(what, {})[name] = np.asarray(values, np.float64)
    return result


def table(measured):
    """A row for each variant and reference: the means of all measures at its last step."""
    labels = dict.fromkeys(label for rows in measured.values() for label in rows)
    return Table({"variant": label, "step": max(len(rows[label]) for rows in measured.values()) - 1,
                  **{what: float(rows[label][-1].mean()) for what, rows in measured.items()}}
                 for label in labels)


def against(values, name, other=PLAIN):
    """Paired differences of a variant to another at the same step, from step 1 on: [Interval]; a one-pass
    baseline stands with its only step."""
    last = len(values[other]) - 1
    return [paired_interval(row, values[other][min(t, last)]) for t, row in enumerate(values[name]) if t]


# ---- at equal toon-ness

def point(toon, values, level):
    """Where a variant keeps most while its mean toon-ness is at least `level`: (step, share of the way to the
    next one), or None. toon, values: [T+1, B]; step 0 is no output; straight lines between steps."""
    means, candidates = toon.mean(1), []
    for t in range(1, len(means)):
        if means[t] >= level:
            candidates.append((t, 0.0))
        if t + 1 < len(means) and (means[t] - level) * (means[t + 1] - level) < 0:
            candidates.append((t, float((level - means[t]) / (means[t + 1] - means[t]))))
    return max(candidates, key=lambda where: at(values, where).mean(), default=None)


def at(values, where):
    """Values [T+1, B] at (step, share of the way to the next) -> [B]."""
    t, share = where
    return values[t] + share * (values[min(t + 1, len(values) - 1)] - values[t])


def at_equal_toonness(measured, name, other=PLAIN):
    """(level, {measure: (values of one, values of the other)}, each [B]) at the highest mean toon-ness that
    both variants reach; of every measure but toon-ness."""
    toon = measured[TOON]
    level = min(toon[v][1:].mean(1).max() for v in (name, other))
    where = {v: point(toon[v], measured["attributes"][v], level) for v in (name, other)}
    return level, {what: tuple(at(rows[v], where[v]) for v in (name, other))
                   for what, rows in measured.items() if what != TOON}


def evidence(measured, name, other=PLAIN):
    """Yields (name, Interval, unit, {claim, part, ...}) of boot-preserves and boot-items: a bootstrapped
    variant against the average start at equal toon-ness; nothing where that is below one half: no toon."""
    if not {TOON, "attributes"} <= measured.keys():
        return
    level, pairs = at_equal_toonness(measured, name, other)
    if level < 0.5:
        return
    where = {"method": name, "against": other, "toon-ness": round(float(level), 4)}
    parts = {"attributes": ("boot-preserves", "agreement")} | {item: ("boot-items", item) for item in CLAIMED}
    for what, (claim, part) in parts.items():
        if what in pairs:
            yield (f"{what} kept, bootstrapped - average start", paired_interval(*pairs[what]), "share",
                   {"claim": claim, "part": part, **where})
