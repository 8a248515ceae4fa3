"""What ablations measure, and which differences mean something; recorded runs (Appendix C, Figure 16).

Every training leaves FOLDER/VARIANT/seed-K/result.json, and FOLDER/results.json holds them all: what ships.
"""
import json
from functools import partial
from pathlib import Path

import numpy as np

from . import metrics, weights
from .checkpoints.own import read_config
from .comparison import gap, loss_of
from .errors import UserError
from .files import ASSETS, write_json
from .provenance import hardware
from .runs import now
from .statistics import bootstrap, paired_interval
from .tables import Table

SHIPPED = "shipped"                        # the variant that is not trained: the domain's shipped encoder
SEEDS = 3                                  # trainings behind a spread


def check(images, steps):
    """UserError unless there is something to compare."""
    if steps < 2:
        raise UserError(f"steps={steps}: to see what iterating does, two steps or more are needed")
    if images < 2:
        raise UserError(f"images={images}: differences between encoders need two images or more")


def short(path):
    """A network's name: the last two parts of its path."""
    return "/".join(Path(path).parts[-2:])


def curves(inverter, x, judges, steps, batch=32):
    """{kind: [T+1, B]} of l2 and what the judges measure, the lower the better, at each of `steps` steps."""
    measures = {"l2": metrics.l2} | {kind: partial(getattr(metrics, kind), judge.network)
                                     for kind, judge in judges.items() if judge.network is not None}
    found = {kind: [] for kind in measures}
    for part in x.split(batch):
        trajectory = inverter(part, steps)
        for kind, measure in measures.items():
            found[kind].append(loss_of(metrics.by_step(measure, trajectory, part).cpu().numpy(), kind))
    return {kind: np.concatenate(rows, 1).astype(float) for kind, rows in found.items()}


def measure(folder, model, domain, told, *, measured, x, judges, device):
    """Writes folder/result.json of an encoder, unless it is there."""
    path = Path(folder) / "result.json"
    sha256 = read_config(weights.find(model))["file"]["sha256"]
    if path.exists():
        old = json.loads(path.read_text(encoding="utf-8"))
        if old["sha256"] == sha256 and all(old[key] == value for key, value in measured.items()):
            return
    inverter = weights.load_inverter(str(model), domain, device=device)
    found = curves(inverter, x, judges, measured["inference"])
    write_json(path, {
        "variant": SHIPPED, "seed": 0, **told, **measured, "split": "test", "sha256": sha256,
        "generator": inverter.fingerprint, "hardware": hardware(), "date": now(),
        "judges": {kind: judge.name for kind, judge in judges.items() if judge.network is not None},
        "curves": {kind: [[float(f"{v:.5g}") for v in bootstrap(row, resamples=500)[:3]] for row in rows]
                   for kind, rows in found.items()},
        "values": [float(f"{v:.5g}") for v in found["l2"][min(told["steps"], measured["inference"])]]})


def gather(out):
    """Writes OUT/results.json of all its results -> [result]; what ships is this file."""
    files = sorted(Path(out).glob("*/seed-*/result.json"))
    found = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    write_json(Path(out) / "results.json", {"runs": found})
    return found


def recorded(domain):
    """Where a domain's recorded runs ship."""
    return ASSETS / domain / "ablation.json"


def read(path, generator):
    """[result] of a results.json. UserError unless all are of the generator with this fingerprint."""
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))["runs"]
        fingerprints = {result["generator"] for result in found}
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"there are no recorded ablations in {short(path)}; make them: python -m "
                        "restyle_lib train ablation --out DIR, which writes DIR/results.json") from None
    if other := sorted(fingerprints - {generator}):
        raise UserError(f"{short(path)} was recorded with generator {other[0][:12]}, the shipped one is "
                        f"{generator[:12]}; train its variants again")
    return found


def of(results, name):
    """The results of a variant, one for each seed."""
    return [result for result in results if result["variant"] == name]


def course(results, name, kind="l2"):
    """A variant's mean by step over its seeds with its 95 % interval over images: [T+1, 3], or None."""
    found = [result["curves"][kind] for result in of(results, name) if kind in result["curves"]]
    return np.mean(found, 0) if found else None


def spread(results, name):
    """Largest less smallest mean L2, at their own N, of three seeds or more; None of fewer."""
    means = [np.mean(result["values"]) for result in of(results, name)]
    return float(max(means) - min(means)) if len(means) >= SEEDS else None


def noise(plan, results, shipped=()):
    """(the spread of seeds that a difference has to exceed, or None; a sentence about it).

    results: the plan's own, where its first variant has three seeds; else the recorded ones, `shipped`, which
    say something about another budget only in words."""
    own, theirs = spread(results, next(iter(plan.variants))), spread(shipped, "baseline")
    if own is not None:
        return own, f"three seeds or more of your first variant lie {own:.2g} apart: less shows nothing"
    alike = theirs is not None and of(shipped, "baseline")[0]["passes"] == plan.passes
    told = (f"after {plan.passes:,} passes the seed-to-seed noise is not measured: give the first variant "
            "seeds: 3")
    if theirs is not None:
        passes = of(shipped, "baseline")[0]["passes"]
        told = (f"three seeds of the shipped baseline lie {theirs:.2g} apart in L2 after {passes:,} passes"
                + (": less shows nothing" if alike else f"; {told}"))
    return theirs if alike else None, told


def difference(plan, results, name):
    """A variant's L2 less that of its reference, each at its own N, mean of seeds, paired by image: an
    Interval; None where one of them was not trained, or they are the same."""
    mine, theirs = of(results, name), of(results, plan.reference(name))
    if not mine or not theirs or plan.reference(name) == name:
        return None
    return paired_interval(*(np.mean([r["values"] for r in group], 0) for group in (mine, theirs)))


def rows(plan, results, room=None):
    """A row for each variant that was trained, what it is worth: better or worse only where its difference
    exceeds the spread of its reference's seeds, of the plan's first variant's where that has too few,
    else `room`."""
    table = Table()
    for name in plan.variants:
        mine, gained = of(results, name), difference(plan, results, name)
        if mine:
            spreads = (spread(results, n) for n in (plan.reference(name), next(iter(plan.variants))))
            apart = next((s for s in spreads if s is not None), room)
            table.append({
                "variant": name, "N": mine[0]["steps"], "passes": mine[0]["passes"], "seeds": len(mine),
                "L2 at N": float(np.mean([r["values"] for r in mine])),
                "against": plan.reference(name) if gained else "–", "difference": str(gained or "–"),
                "seeds' spread": apart, "verdict": verdict(gained, apart) if gained else "–"})
    return table


def verdict(gained, room):
    """A paired difference in words; room: the spread of seeds that it has to exceed, None: not measured."""
    if room is None:
        return "not claimed: the spread of seeds is not measured"
    if abs(gained.estimate) <= room or gained.low <= 0 <= gained.high:
        return "no difference that this budget can show"
    return "better" if gained.estimate < 0 else "worse"


def naive_evidence(found):
    """Yields (name, value or Interval, unit, {claim, part, ...}) of Appendix C's claims, from {label: Curve}
    of L2."""
    for label, part in (("pSp", "psp"), ("e4e", "e4e")):
        naive, ours = found.get(f"naive {label}"), found.get(f"ReStyle-{label}")
        for step in range(1, min(6, len(naive.mean)) if naive else 0):
            yield ("L2 of naive re-feeding", naive.mean[step], "l2",
                   {"claim": "naive-leaves", "part": part, "step": step, "n": len(naive.images),
                    "method": naive.method})
        for step in range(2, min(11, len(naive.mean), len(ours.mean)) if naive and ours else 2):
            yield ("L2 of ReStyle - naive re-feeding", gap(ours, naive, step, step), "l2",
                   {"claim": "naive-worse", "part": "l2", "step": step, "method": ours.method,
                    "against": naive.method})
