"""Where and when refinement changes an image, and how its styles settle (Section 5.3, Appendix B).

No code was published for these figures. Squared changes are averaged over the channels, which the paper does
not say; a step's row t - 1 belongs to the change from y_t-1 to y_t."""
import math
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F

from . import data, weights
from .errors import UserError
from .figures import array
from .lineup import REFINED
from .statistics import bootstrap, paired_interval, spearman
from .tables import Table

ENDS = (4, 8)        # StyleGAN's groups: coarse to 8 px, medium to 32 px, fine above; pSp's code has (3, 7)
GROUPS = ("coarse", "medium", "fine")
OUTSIDE = ("background", "clothes", "ground")             # regions that are not the object itself
EARLY, LATE = ("background", "outline"), ("eyes", "hair")                       # Section 5.3, of faces
STEPS = 5                                                 # of the paper's claims


def refined(study):
    """{label: Trajectory} of a `lineup.Study`'s ReStyle encoders, on the CPU; UserError if there is none."""
    found = {label: study.made[label].to("cpu") for label in REFINED if label in study.made}
    if not found:
        raise UserError(f"the domain {study.domain.name} has no encoder that refines: "
                        + "; ".join(study.missing))
    return found


def trained_steps(study):
    """How many steps a Study's first ReStyle encoder was trained with; None if unknown."""
    names = [entry.method.name for entry in study.entries if entry.label in REFINED]
    return weights.facts(names[0]).get("training", {}).get("steps") if names else None


# ---- in the image

def change(trajectory):
    """Squared change of each pixel in each step: [T, B, H, W], T >= 1; the d of Section 5.3, squared."""
    return torch.stack([step.square().mean(1) for step in _steps(trajectory)])


def _steps(trajectory):
    """y_t - y_t-1 [B, C, H, W] of each step; UserError where there is none."""
    if len(trajectory.images) < 2:
        raise UserError("this trajectory ends at its start; an analysis of steps needs one step or more")
    return (after - before for before, after in pairwise(trajectory.images))


def masks(domain, count, split="test"):
    """What is where in the `count` images that `lineup.study` takes: {region: [n, H, W]}, {} if unknown."""
    rows = data.domain_dataset(domain, split).split(split).spread(count)
    return data.domain_masks(domain, split, indices=rows)


def parts(masks, width=1 / 16):
    """Masks {region: [N, H, W] in [0, 1]} as parts that cover each pixel once, with an "outline" and "other".

    The outline is a band of `width` x height around the object, which is all regions but those OUTSIDE: half
    of it lies within. It is taken from the regions on both sides. Regions that are nowhere are left out."""
    if not masks:
        return {}
    inside = sum(mask for region, mask in masks.items() if region not in OUTSIDE)
    if not torch.is_tensor(inside):
        inside = torch.zeros_like(next(iter(masks.values())))
    inside = inside.clamp(0, 1)[:, None]
    size = 2 * max(1, round(width * inside.shape[2] / 2)) + 1
    grown, shrunk = (F.max_pool2d(sign * inside, size, 1, size // 2) * sign for sign in (1, -1))
    band = (grown - shrunk)[:, 0]
    found = {region: mask * (1 - band) for region, mask in masks.items() if mask.max() > 0}
    found["outline"] = band
    other = (1 - sum(found.values())).clamp_min(0)
    return found | ({"other": other} if other.max() > 1e-3 else {})


def shares(maps, parts):
    """{part: share of an image's change that lies in it [T, B]} of maps [T, B, H, W]; nan without any."""
    total = maps.double().sum((2, 3))
    return {name: (maps * part.to(maps)).double().sum((2, 3)) / total.where(total > 0, torch.nan)
            for name, part in parts.items()}


def focus_rows(maps, parts):
    """A row for each part: its share of the area, its mean share of the change by step, and how far the last
    step's lies above the first's, paired with its interval."""
    found, rows = shares(maps, parts), Table()
    for name, share in found.items():
        row = {"part": name, "area": float(parts[name].mean())}
        row |= {f"step {t}": float(line.nanmean()) for t, line in enumerate(share, 1)}
        rows.append(row | {"last - first": str(_gap(share[-1], share[0]) or "–") if len(share) > 1 else None})
    return rows


def _gap(after, before):
    """Interval of the paired difference of [B] and [B] over images where both are known; None without one."""
    after, before = array(after), array(before)
    known = np.isfinite(after) & np.isfinite(before)
    return paired_interval(after[known], before[known]) if known.any() else None


# ---- by spatial frequency

def cosines(count):
    """The orthonormal cosines of `count` samples, rows by frequency: row i has i / 2 cycles [n, n]."""
    i = torch.arange(count, dtype=torch.float64)
    basis = (math.pi / count * i[:, None] * (i + 0.5)).cos() * math.sqrt(2 / count)
    basis[0] /= math.sqrt(2)
    return basis


def spectrum(images):
    """Power of the cosines in images [B, C, H, W]: [B, H, W], which sums to an image's mean square.

    Cosines (DCT-II) rather than waves: no seam where the left border would meet the right one."""
    height, width = images.shape[-2:]
    down, across = cosines(height).to(images), cosines(width).to(images)
    return (down @ images @ across.T).square().mean(1) / (height * width)


def frequencies(height, width):
    """Radial frequency of each of `spectrum`'s cosines, in cycles per image height: [H, W]."""
    down, across = (torch.arange(n, dtype=torch.float64) / 2 / n * height for n in (height, width))
    return (down[:, None].square() + across.square()).sqrt()


def mean_frequency(trajectory):
    """The mean frequency of each step's change, weighted by its power: [T, B] cycles per image height."""
    rows, where = [], frequencies(*trajectory.images.shape[-2:]).to(trajectory.images.device)
    for step in _steps(trajectory):
        power = spectrum(step).double()
        total = power.sum((1, 2))
        rows.append((power * where).sum((1, 2)) / total.where(total > 0, torch.nan))
    return torch.stack(rows)


def band_errors(frames, images):
    """L2 of each frame [T+1, B, C, H, W] to images [B, C, H, W], split in octaves of frequency: {"2-4": [T+1,
    B], ...} in cycles per image height; the bands sum to the L2."""
    frames = getattr(frames, "images", frames)
    where = frequencies(*images.shape[-2:]).to(images.device)
    edges = [0.0, *(2.0**i for i in range(16) if 2**i <= max(1, images.shape[-2] / 4)), math.inf]
    power = [spectrum(frame - images).double() for frame in frames]
    return {f"{low:g}-{high:g}" if high < math.inf else f"{low:g} and more":
            torch.stack([(p * ((where >= low) & (where < high))).sum((1, 2)) for p in power])
            for low, high in pairwise(edges)}


# ---- in the latent space

def residuals(trajectory):
    """Delta_t = w_t - w_t-1: [T, B, k, d]; UserError without latents or steps."""
    if trajectory.latents is None or len(trajectory.latents) < 2:
        raise UserError("how styles settle is read from latents of a start and one step or more; this method "
                        "gives none")
    return trajectory.latents.diff(dim=0)


def style_change(trajectory):
    """v(l, t) of Appendix B for steps t and styles l: [T, k], the norm of the mean squared change."""
    return residuals(trajectory).square().mean(1).norm(dim=-1)


def ends_of(text):
    """"4 8" -> (4, 8), for `groups`; UserError unless it is one or two rising numbers."""
    words = text.replace(",", " ").split()
    ends = tuple(int(word) for word in words) if all(map(str.isdecimal, words)) else ()
    groups(1, ends)
    return ends


def groups(count, ends=ENDS):
    """{"coarse": slice, ...} of `count` styles, ending before those at `ends`; groups without one are left
    out. UserError unless ends rise from 1 on."""
    if not 1 <= len(ends) <= 2 or sorted({0, *ends}) != [0, *ends]:
        raise UserError(f"groups of styles that end at {list(ends)} are none; accepted: one or two rising "
                        "numbers of styles from 1 on, such as 4 8")
    names = GROUPS if len(ends) == 2 else GROUPS[::2]
    cuts = zip(names, (0, *ends), (*ends, count), strict=True)
    return {name: slice(a, min(b, count)) for name, a, b in cuts if a < min(b, count)}


def group_change(trajectory, ends=ENDS, minus=None, first=None):
    """{group: [Interval] by step}: the mean of v(l, t) over a group's styles, resampling the images.

    minus: a group that is subtracted from all the others, in each resample. first: so many steps only."""
    squares = residuals(trajectory)[:first].square().double().cpu().numpy()             # [T, B, k, d]
    where, count = groups(squares.shape[2], ends), squares.shape[1]

    def value(step, group, chosen):
        weights = np.bincount(chosen.astype(int), minlength=count) / len(chosen)
        v = np.linalg.norm(np.tensordot(weights, step, 1), axis=-1)
        return v[where[group]].mean() - (v[where[minus]].mean() if minus else 0)

    return {group: [bootstrap(np.arange(count), resamples=500,
                              statistic=lambda chosen, s=step, g=group: value(s, g, chosen))
                    for step in squares] for group in where if group != minus}


def settling(course, share=0.9):
    """After how many steps `share` of all the change in a course [T] has happened, on straight lines between
    steps; nan without a change."""
    done = np.r_[0, np.cumsum(array(course))]
    return float(np.interp(share * done[-1], done, np.arange(len(done)))) if done[-1] > 0 else math.nan


# ---- how many steps

def stops(trajectory, tolerance):
    """The step after which `refine(tolerance=...)` would have let each image go: [B], at most T."""
    moved = residuals(trajectory).square().mean((2, 3)).sqrt()
    done = moved < tolerance * trajectory.latents[1:].std((2, 3), correction=0)
    first = done.int().argmax(0) + 1
    return torch.where(done.any(0), first, len(moved))


def needed(errors, within=0.05):
    """The first step whose error [T+1, B] is within a share of the image's least one: [B], 1 at least."""
    errors = errors[1:]
    return (errors <= (1 + within) * errors.min(0).values).int().argmax(0) + 1


def stopping_rows(trajectory, errors, tolerances):
    """What stopping each image at a tolerance saves and costs: a row for each, of errors [T+1, B]."""
    rows, last, each = Table(), errors[-1], torch.arange(errors.shape[1], device=errors.device)
    for tolerance in tolerances:
        at = stops(trajectory, tolerance).to(errors.device)
        early = errors[at, each]
        steps = at.double().mean().item()
        rows.append({"tolerance": float(tolerance), "mean steps": steps, "most steps": int(at.max()),
                     "steps saved": 1 - steps / (len(errors) - 1), "error": early.mean().item(),
                     "early - full": str(_gap(early, last))})
    return rows


def harder_longer(errors, within=0.05):
    """Rank correlation of an image's least error with the steps that it needs: an Interval over images."""
    return bootstrap(array(errors[1:].min(0).values), array(needed(errors, within)), statistic=spearman,
                     resamples=500)


# ---- claims

def focus_evidence(trajectory, masks=None):
    """Yields (name, value or Interval, unit, {claim, part, ...}) of Section 5.3's claims about the image;
    nothing of one image, and nothing about regions that have no masks."""
    maps = change(trajectory)
    steps, count = maps.shape[:2]
    if count < 2:
        return
    for t, mean in enumerate(maps[:STEPS].double().mean((1, 2, 3)), 1):
        yield "squared change of a step", mean.item(), "L2", _where("change-falls", "change", count, step=t)
    if steps < STEPS:
        return
    where = mean_frequency(trajectory)
    gap = _gap(where[STEPS - 1], where[0])
    if gap is not None:
        yield ("frequency of the change, step 5 - step 1", gap, "cycles per image height",
               {"claim": "coarse-to-fine", "part": "frequency"})
    found = shares(maps, parts(masks or {}))
    for claim, names, sign in (("background-first", EARLY, -1), ("detail-later", LATE, 1)):
        if "head" in (masks or {}) and set(names) <= found.keys():
            both = sign * sum(found[name] for name in names)
            told = "step 5 - step 1" if sign > 0 else "step 1 - step 5"
            if (gap := _gap(both[STEPS - 1], both[0])) is not None:
                yield (f"share of the change in {' and '.join(names)}, {told}", gap, "share",
                       {"claim": claim, "part": "share"})


def settling_evidence(trajectory, errors, ends=ENDS):
    """Yields the same of Appendix B's claims and of Section 4's, with errors [T+1, B] of the same steps."""
    deltas, count = residuals(trajectory), len(trajectory)
    if count < 2:
        return
    norms = deltas.square().sum((2, 3)).sqrt().double().mean(1)
    for t, norm in enumerate(norms[:STEPS], 1):
        yield "norm of the residual", norm.item(), "of w", _where("residuals-fall", "norm", count, step=t)
    if len(errors) > 10:
        yield ("error from step 9 to 10", (errors[10].mean() / errors[9].mean() - 1).item(), "share",
               _where("few-steps", "change", count))
    courses = {group: style_change(trajectory)[:, where].mean(1)
               for group, where in groups(deltas.shape[2], ends).items()}
    if len(courses) < 3:
        return
    for t, gap in enumerate(group_change(trajectory, ends, "fine", 2)["coarse"], 1):
        yield ("change of coarse - fine styles", gap, "v of Appendix B",
               {"claim": "coarse-most", "part": "change", "step": t})
    if len(deltas) >= STEPS:
        for part, values in (("change", {g: v.mean().item() for g, v in courses.items()}),
                             ("settling", {g: settling(v) for g, v in courses.items()})):
            rank = 1 + sum(v < values["fine"] for v in values.values())
            yield f"rank of the fine styles' {part}", rank, "rank", _where("fine-least", part, count)


def _where(claim, part, count, **more):
    return {"claim": claim, "part": part, "n": count, **more}
