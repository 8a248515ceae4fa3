"""What a comparison of methods says about the paper's claims of Sections 1, 5.1 and 5.2 (claims.yaml)."""
import numpy as np
import torch

from .comparison import STEPS, envelope, gap, passes_at, shared, time_to
from .lineup import FLOOR
from .methods.kept import BATCH
from .recorded import SUFFIX
from .statistics import bootstrap

AGAINST = (             # one-pass method; claims on its errors, on identity, on the step that is as good
    ("pSp", "psp-better", "psp-identity", "soon-better"),
    ("e4e", "e4e-better", "", ""),
)
EQUAL = "pSp, equal images"      # trained on as many images as ReStyle-pSp: a fifth of the compute


def evidence(study, found):
    """Yields (name, value or Interval, unit, {claim, part, ...}) for every claim that `found` can decide.

    found: {metric: {label: Curve}} of the Study. Identity enters the Curves as 1 - similarity."""
    l2 = found["l2"]
    yield from _one_step(study)
    for kind, curves in found.items():
        yield from _against_one_pass(kind, curves)
        yield from _at_equal_images(kind, curves if EQUAL in curves else study.controls(kind))
    ours = l2.get("ReStyle-pSp")
    if ours is not None:
        yield from _alone(found)
        yield from _against_optimisation(study, found)


def across(found):
    """Yields the same of two domains: how much larger ReStyle's relative gain over pSp is on the others than
    on the first, {domain: {metric: {label: Curve}}}. Images of two domains are not paired: only as many of
    each as both have count."""
    both = {name: shared(curves["l2"]["ReStyle-pSp"], curves["l2"]["pSp"]) for name, curves in found.items()
            if {"ReStyle-pSp", "pSp"} <= curves.get("l2", {}).keys()}
    rows = {name: (a[found[name]["l2"]["ReStyle-pSp"].row(STEPS)], b[-1]) for name, (a, b) in both.items()}
    for name in [*rows][1:]:
        columns = [*rows[name], *rows[first := next(iter(rows))]]
        count = min(map(len, columns))
        gain = bootstrap(*(c[:count] for c in columns), statistic=_gain)
        yield ("relative gain, cars - faces", gain, "share",
               {"claim": "cars-more", "part": "gain", "domain": name, "against": first})


def _gain(ours, theirs, ours_first, theirs_first):
    return ours_first.mean() / theirs_first.mean() - ours.mean() / theirs.mean()


def _one_step(study):
    """One step of the loop against the encoder alone, on the average style, for encoders of one pass."""
    for entry in study.entries:
        inverter = getattr(entry.method, "inverter", None)
        if entry.label in ("pSp", "e4e") and inverter is not None and entry.label in study.made:
            with torch.no_grad():
                code = torch.cat([inverter.start + inverter.encoder(x) for x in study.images.split(BATCH)])
            gap = (study.made[entry.label].latents[1].to(code) - code).abs().max().item()
            yield ("one step against the encoder alone", gap, "of w",
                   {"claim": "one-pass", "part": "difference", "method": entry.label, "n": len(study.images)})


def _at_equal_images(kind, curves):
    ours, theirs = curves.get("ReStyle-pSp"), curves.get(EQUAL)
    if ours is None or theirs is None or kind not in ("l2", "perceptual"):
        return
    where = {"part": kind, "method": ours.method, "against": theirs.method, "recorded": ours.recorded}
    yield ("difference to one pass at equal images", gap(ours, theirs, ours.row(STEPS)), kind,
           {"claim": "psp-better-images", **where})
    if kind == "l2":
        yield "first step against one pass", gap(ours, theirs, ours.row(1)), kind, \
            {"claim": "first-worse", **where}


def _against_one_pass(kind, curves):
    for name, claim, identity, soon in AGAINST:
        ours, theirs = curves.get("ReStyle-" + name), curves.get(name)
        if ours is None or theirs is None:
            continue
        difference = gap(ours, theirs, ours.row(STEPS))
        where = {"method": ours.method, "against": theirs.method, "step": int(ours.steps[ours.row(STEPS)])}
        if kind in ("l2", "perceptual"):
            yield "difference to one pass", difference, kind, {"claim": claim, "part": kind, **where}
        if kind == "identity" and identity:
            gain = difference._replace(estimate=-difference.estimate, low=-difference.high,
                                       high=-difference.low)
            yield "identity gained on one pass", gain, kind, {"claim": identity, "part": kind, **where}
        if kind == "l2" and soon:
            at = passes_at(ours, theirs)
            yield ("step that is at least as good", at or int(ours.steps[-1]) + 1, "step",   # never: one more
                   {"claim": soon, "part": "step", "method": ours.method, "against": theirs.method})


def _alone(found):
    for kind in ("l2", "perceptual"):
        curve = found.get(kind, {}).get("ReStyle-pSp")
        if curve is not None:
            for i in range(curve.row(STEPS) + 1):
                where = {"claim": "each-step", "part": kind, "step": int(curve.steps[i])}
                yield f"{kind} at a step", curve.mean[i], kind, where | {"n": len(curve.images)}
    curve = found["l2"]["ReStyle-pSp"]
    if curve.steps[-1] >= 10:
        ratio = curve.mean[curve.row(10)] / curve.mean[curve.row(STEPS)]
        where = {"claim": "ten-fine", "part": "ratio", "n": len(curve.images)}
        yield "step 10 to step 5", ratio, "ratio", where


def _above(ours, theirs):
    return ours.mean() / theirs.mean() - 1


def _against_optimisation(study, found):
    """Times to ReStyle's quality on the optimisations' few images; the end; hybrids at equal times."""
    for kind, claim, enough in (("l2", "order-faster", 10), ("identity", "twenty", 40)):
        ours = found.get(kind, {}).get("ReStyle-pSp")
        lines = study.envelopes(found[kind]) if ours is not None else {}
        if FLOOR + SUFFIX in lines:             # all plans and the seconds of that run, for both
            ours = study.kept(kind).get("ReStyle-pSp", ours)
            line = envelope(study.kept_family(FLOOR, kind))[:2]
        elif FLOOR in lines:
            line = lines[FLOOR]
        else:
            continue
        few = shared(ours, study.floor(found[kind]))[0].mean(1)
        at = ours.row(STEPS) if kind == "l2" else 1 + int(np.argmin(few[1:]))
        seconds, means = line
        took = time_to(seconds, means, few[at])
        reached = bool(np.isfinite(took))                   # if not, at least as long as all that was tried
        times = (took if reached else seconds[-1]) / ours.seconds[at]
        where = {"claim": claim} if reached or times > enough else {}       # else it decides nothing
        yield ("optimisation's time to ReStyle's quality", times, "times" if reached else "times, at least",
               where | {"part": "ratio", "step": int(ours.steps[at]), "n": study.few})
    curves = found["l2"]
    floor = study.floor(curves)
    if floor is not None and floor.plan >= 1500:
        ours = curves["ReStyle-pSp"]
        yield ("longest optimisation against ReStyle", gap(floor, ours, -1, ours.row(10)), "l2",
               {"claim": "optimisation-best", "part": "l2", "against": ours.method})
        a, b = shared(ours, floor)
        above = bootstrap(a[ours.row(STEPS)], b[-1], statistic=_above)
        yield ("error above the longest optimisation's", above, "share",
               {"claim": "churches-near", "part": "gap", "method": ours.method, "against": floor.method})
    hybrids = [c for c in study.family("ReStyle-pSp + optimisation", curves) if c.plan <= 100]
    plain = study.family(FLOOR, curves)
    if any(c.recorded for c in hybrids):        # seconds of one run are compared with its own
        family = study.kept_family("ReStyle-pSp + optimisation", "l2")
        hybrids, plain = [c for c in family if c.plan <= 100], study.kept_family(FLOOR, "l2")
    if hybrids and plain:
        last = max(hybrids, key=lambda c: c.plan)
        seconds, _, where = envelope(plain)
        before = [w for s, w in zip(seconds, where, strict=True) if s <= last.seconds[-1]] or where[:1]
        rival = next(c for c in plain if c.method == before[-1][0])
        yield ("hybrid against optimisation at equal time", gap(last, rival), "l2",
               {"claim": "hybrid-between", "part": "l2", "method": last.method, "against": rival.method})
