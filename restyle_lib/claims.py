"""The paper's claims (data_manifests/claims.yaml) and their verdicts: holds, does not hold, not measured.

A run's numbers join by `run.record(name, value, claim=..., part=..., world=...)`; `table` reads them back."""
import functools
import math
from dataclasses import dataclass
from pathlib import Path

from . import runs
from .domains import MANIFESTS
from .errors import UserError, suggest
from .schema import POSITIVE, TEXT, _build, _choice, _field, _integers, _number, _range, _read
from .statistics import Interval
from .tables import Table

WORLDS = ("rendered", "photographs", "published")
HOLDS, FAILS, UNKNOWN = "holds", "does not hold", "not measured"
BOUNDS = {"at most": lambda low, high, bound: high <= bound, "below": lambda low, high, bound: high < bound,
          "at least": lambda low, high, bound: low >= bound, "above": lambda low, high, bound: low > bound,
          "within": lambda low, high, bound: bound[0] <= low and high <= bound[1]}
COURSES = {"falls": lambda before, now, _: now < before, "rises": lambda before, now, _: now > before,
           "rises at most": lambda before, now, bound: now <= before * (1 + bound)}
BOUND = (lambda v: _number(v) or _range(v)), "a number, or two numbers [low, high]"


@dataclass(frozen=True)
class Bound:
    """A test of one measured part. by: the whole 95 % interval has to lie there, or only the estimate."""
    part: str = _field(TEXT)
    test: str = _field(_choice(*BOUNDS, *COURSES))
    bound: object = _field(BOUND, None)
    by: str = _field(_choice("estimate", "interval"), "estimate")
    steps: tuple = _field((_integers(2, 1), "two integers [first, last]"), None)
    was: object = _field(BOUND, None)                     # the bound before it changed ...
    because: str = _field(TEXT, None)                     # ... and why it did

    def __post_init__(self):
        pair, course = isinstance(self.bound, tuple), self.test in COURSES
        if (self.bound is None) != (self.test in ("falls", "rises")) or pair != (self.test == "within"):
            raise UserError(f"the test '{self.test}' of {self.part} has the bound {self.bound}; accepted: "
                            "two numbers for within, none for falls and rises, one for all others")
        if course and (self.steps is None or self.by == "interval"):
            raise UserError(f"the test '{self.test}' of {self.part} compares estimates of steps; accepted: "
                            "steps [first, last], by: estimate")
        if (self.was is None) != (self.because is None):
            raise UserError(f"the bound of {self.part} has changed: `was` and `because` belong together")

    def outcome(self, measured):
        """True, False, or None where not enough is measured: [(step or None, Interval or number)]."""
        if self.test in COURSES:
            known, test = {step: _interval(v).estimate for step, v in measured}, COURSES[self.test]
            known = {step: value for step, value in known.items() if math.isfinite(value)}
            found = [test(known[s - 1], known[s], self.bound) if {s, s - 1} <= known.keys() else None
                     for s in range(self.steps[0], self.steps[1] + 1)]
        else:
            found = [self._inside(v) for s, v in measured if self.steps is None or s in range(
                self.steps[0], self.steps[1] + 1)]
            steps = {s for s, _ in measured}
            if self.steps and not set(range(self.steps[0], self.steps[1] + 1)) <= steps or not found:
                found.append(None)
        return False if False in found else None if None in found else True

    def _inside(self, value):
        if self.by == "interval" and not isinstance(value, Interval):
            return None
        value = _interval(value)
        ends = (value.low, value.high) if self.by == "interval" else (value.estimate,) * 2
        return BOUNDS[self.test](*ends, self.bound) if all(map(math.isfinite, ends)) else None


@dataclass(frozen=True)
class Claim:
    """A claim of the paper: where it stands, what it says, and the tests that decide it."""
    id: str = _field(TEXT)
    where: str = _field(TEXT)
    says: str = _field(TEXT)
    quantity: str = _field(TEXT)
    holds_if: str = _field(TEXT)
    tests: tuple = _field(((lambda v: isinstance(v, (list, tuple))), "a list of tests"), tuple)
    needed: int = _field(POSITIVE, None)                  # tests that have to hold; null: all
    both: tuple = _field(((lambda v: isinstance(v, list)), "a list of claims"), tuple)

    @property
    def parts(self):
        """The names of what is measured, in order."""
        return list(dict.fromkeys(test.part for test in self.tests))

    @property
    def condition(self):
        """What decides it in words, with the bounds that it once had."""
        old = [f"{t.part}: was {t.was}, changed because {t.because}" for t in self.tests if t.because]
        return "; ".join([self.holds_if, *old])


def load(path=None):
    """{id: Claim} of a YAML file, by default the paper's. UserError: file, field, what is accepted."""
    path = MANIFESTS / "claims.yaml" if path is None else Path(path)
    return dict(_load(path, path.stat().st_mtime_ns if path.is_file() else 0))


@functools.lru_cache(maxsize=4)
def _load(path, changed):
    rows, found = _read(path).get("claims"), {}
    if not isinstance(rows, list):
        raise UserError(f"{path}: claims must be a list of claims")
    for number, row in enumerate(rows):
        here = f"claims[{number}]."
        if isinstance(row, dict) and isinstance(row.get("tests"), list):
            try:
                row["tests"] = [_build(Bound, test, path, f"{here}tests.") for test in row["tests"]]
            except UserError as error:
                raise UserError(str(error) if str(path) in str(error) else f"{path}: {here[:-1]}: {error}") \
                    from None
        claim = _build(Claim, row, path, here)
        if claim.id in found or bool(claim.tests) == bool(claim.both) or set(claim.both) - found.keys() \
                or (claim.needed or 1) > max(1, len(claim.tests)):
            raise UserError(f"{path}: {here[:-1]} ({claim.id}) must have an id of its own, and either tests, "
                            "of which `needed` is no more than there are, or both: claims above it")
        found[claim.id] = claim
    return found


def verdict(claim, values, verdicts=None):
    """"holds", "does not hold" or "not measured" for values {part: what was measured}.

    What was measured: an Interval, a number, {step: either}, or a list of either or of (step, either), all of
    which have to pass. A part that is decided by its interval needs one. verdicts: {id: verdict} of the
    others, for claims about `both`."""
    if claim.both:
        outcomes = [{HOLDS: True, FAILS: False}.get((verdicts or {}).get(name)) for name in claim.both]
    else:
        outcomes = [test.outcome(_series(values.get(test.part))) for test in claim.tests]
    needed = claim.needed or len(outcomes)
    if outcomes.count(True) >= needed:
        return HOLDS
    return FAILS if outcomes.count(False) > len(outcomes) - needed else UNKNOWN


def _series(value):
    """[(step or None, value)] of whatever `verdict` accepts."""
    if isinstance(value, dict):
        return [(step, v) for step, v in value.items() if v is not None]
    if isinstance(value, list):
        return [(None, v) if not isinstance(v, tuple) or isinstance(v, Interval) else v for v in value]
    return [] if value is None else [(None, value)]


def _interval(value):
    return value if isinstance(value, Interval) else Interval(float(value), math.nan, math.nan, 1)


# ---- records

def check(name, record):
    """A record's fields with `part` filled in; UserError for a claim, part or world that does not exist, and
    for a bare number where an interval decides."""
    known = load()
    if record["claim"] not in known:
        raise suggest(record["claim"], known, "claim")
    claim = known[record["claim"]]
    if claim.both:
        raise UserError(f"record {name}: the claim {claim.id} is decided by {' and '.join(claim.both)}; "
                        "record these")
    part = record.get("part", claim.parts[0] if len(claim.parts) == 1 else None)
    if part not in claim.parts:
        raise suggest(part, claim.parts, f"part of the claim {claim.id}")
    if record.get("world") not in WORLDS:
        raise suggest(record.get("world"), WORLDS, "world")
    tests = [test for test in claim.tests if test.part == part]
    if any(test.by == "interval" for test in tests) and "low" not in record:
        raise UserError(f"record {name}: the claim {claim.id} is decided by an interval; record that of "
                        "statistics.paired_interval or bootstrap")
    if any(test.steps for test in tests) and not isinstance(record.get("step"), int):
        raise UserError(f"record {name}: the claim {claim.id} goes by steps; say which: step=...")
    return record | {"part": part}


def table(folder, measured=False):
    """A row for each claim and what it was measured on in a run's folder: verdict, our number, n, seeds and
    hardware; claims without a number have a row of their own, unless only the `measured` are asked for."""
    known, found = load(), {}
    for path in sorted(folder.glob("*/run.json")):
        facts = runs.read_facts(path.parent)
        for record in runs.read_records(path.parent):
            if record.get("claim") in known and record["value"] is not None and "world" in record:
                domain = record.get("domain", facts.get("parameters", {}).get("domain", ""))
                record["hardware"] = record.get("hardware", facts.get("hardware", "unknown"))
                found.setdefault((record["world"], domain), {}).setdefault(record["claim"], []).append(record)
    verdicts, rows = {}, Table()
    for claim in known.values():
        places = {p for p, by in found.items() if {claim.id, *claim.both} & by.keys()}
        for place in sorted(places, key=lambda p: (WORLDS.index(p[0]) if p[0] in WORLDS else 9, p[1])):
            records, here = found[place].get(claim.id, []), verdicts.setdefault(place, {})
            values = {part: [_value(r) for r in records if r.get("part") == part] for part in claim.parts}
            here[claim.id] = verdict(claim, values, here)
            rows.append(_row(claim, " ".join(place), here[claim.id], records))
        if not places and not measured:
            rows.append(_row(claim, "–", UNKNOWN, []))
    return rows


def count(rows):
    """One line on a table: how many of its verdicts are which."""
    verdicts = [row["verdict"] for row in rows]
    claims = {row["claim"] for row in rows if row["verdict"] != UNKNOWN}
    return (f"{len(claims)} of {len(load())} claims have a verdict: {verdicts.count(HOLDS)} hold, "
            f"{verdicts.count(FAILS)} do not hold, counted once for each world and domain")


def _value(record):
    """(step or None, Interval or number)."""
    value, ends = record["value"], (record.get("low"), record.get("high"))
    return record.get("step"), value if None in ends else Interval(value, *ends, record.get("n"))


def _row(claim, measured_on, result, records):
    return {"claim": claim.id, "where": claim.where, "the paper says": claim.says, "quantity": claim.quantity,
            "holds if": claim.condition, "measured on": measured_on, "verdict": result,
            "ours": "; ".join(filter(None, (_ours(claim, p, records) for p in claim.parts))) or "–",
            **{key: _spread(r.get(key) for r in records) for key in ("n", "seeds")},
            "hardware": "; ".join(dict.fromkeys(r["hardware"] for r in records))}


def _ours(claim, part, records):
    """A part's numbers in words: with its interval, or by step."""
    rows = [r for r in records if r.get("part") == part]
    rows = sorted(rows, key=lambda r: -1 if r.get("step") is None else r["step"])
    told = [f"{r['value']:.4g}" + (f" [{r['low']:.3g}, {r['high']:.3g}]" if r.get("low") is not None else "")
            for r in rows]
    by_step = len(rows) > 1 and all(r.get("step") is not None for r in rows)
    steps = f"steps {rows[0]['step']}–{rows[-1]['step']}: " if by_step else ""
    name = f"{part} " if len(claim.parts) > 1 and rows else ""
    return name + steps + (" → " if by_step else ", ").join(told)


def _spread(values):
    """Equal numbers as one, others as "3 to 9", none as a dash."""
    values = sorted(v for v in values if v is not None)
    return " to ".join(map(str, dict.fromkeys((values[0], values[-1])))) if values else "–"
