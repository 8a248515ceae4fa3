"""The paper's claims (data_manifests/claims.yaml) and their verdicts: holds, does not hold, not measured.

A run's numbers join by `run.record(name, value, claim=..., part=..., world=...)`; `ledger` reads them."""
import functools
import math
from dataclasses import dataclass
from pathlib import Path

from .domains import MANIFESTS
from .errors import UserError, suggest
from .schema import POSITIVE, TEXT, _build, _choice, _field, _integers, _number, _range, _read
from .statistics import Interval

WORLDS = ("rendered", "photographs", "published")
HOLDS, FAILS, UNKNOWN = "holds", "does not hold", "not measured"
BOUNDS = {"at most": lambda low, high, bound: high <= bound, "below": lambda low, high, bound: high < bound,
          "at least": lambda low, high, bound: low >= bound, "above": lambda low, high, bound: low > bound,
          "within": lambda low, high, bound: bound[0] <= low and high <= bound[1]}
COURSES = {"falls": lambda before, now, _: now < before, "rises": lambda before, now, _: now > before,
           "rises at most": lambda before, now, bound: now <= before * (1 + bound)}
BOUND = (lambda v: _number(v) or _range(v)), "a number, or two numbers [low, high]"


@dataclass(frozen=True)
class Written:
    """When bounds were set down: the commit that holds them, and the day."""
    commit: str = _field(TEXT)
    date: str = _field(TEXT)


@dataclass(frozen=True)
class Bound:
    """A test of one measured part. by: the whole 95 % interval has to lie there, or only the estimate."""
    part: str = _field(TEXT)
    test: str = _field(_choice(*BOUNDS, *COURSES))
    bound: object = _field(BOUND, None)
    by: str = _field(_choice("estimate", "interval"), "estimate")
    steps: tuple = _field((_integers(2, 1), "two integers [first, last]"), None)
    was: object = _field(BOUND, None)                     # the bound before it changed ...
    because: str = _field(TEXT, None)                     # ... why it did ...
    date: str = _field(TEXT, None)                        # ... and when

    def __post_init__(self):
        pair, course = isinstance(self.bound, tuple), self.test in COURSES
        if (self.bound is None) != (self.test in ("falls", "rises")) or pair != (self.test == "within"):
            raise UserError(f"the test '{self.test}' of {self.part} has the bound {self.bound}; accepted: "
                            "two numbers for within, none for falls and rises, one for all others")
        if course and (self.steps is None or self.by == "interval"):
            raise UserError(f"the test '{self.test}' of {self.part} compares estimates of steps; accepted: "
                            "steps [first, last], by: estimate")
        if len({value is None for value in (self.was, self.because, self.date)}) > 1:
            raise UserError(f"the bound of {self.part} has changed: `was`, `because` and `date` belong "
                            "together")

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

    def margins(self, measured):
        """[(margin, low, high)] of the same: how far on the side where the claim holds, 0 at the bound.

        In units of the bound, of half the accepted range, of half the interval where the bound is zero, and
        in courses of the value a step before."""
        if self.test in COURSES:
            known, sign = {s: _interval(v).estimate for s, v in measured}, 1 if self.test == "rises" else -1
            steps = [s for s in range(self.steps[0], self.steps[1] + 1) if known.keys() >= {s, s - 1}]
            found = [sign * (known[s] / (known[s - 1] or math.nan) - 1) + (self.bound or 0) for s in steps]
            return [(m, m, m) for m in found]
        values = [_interval(v) for s, v in measured if self.steps is None or s in range(
            self.steps[0], self.steps[1] + 1)]
        return [(self._margin(v.estimate, v), *sorted(self._margin(e, v) for e in v[1:3])) for v in values]

    def _margin(self, value, interval):
        if self.test == "within":
            low, high = self.bound
            return 1 - abs(2 * value - low - high) / (high - low)
        unit = abs(self.bound) or (interval.high - interval.low) / 2 or 1.0
        return (value - self.bound) / unit * (-1 if self.test in ("at most", "below") else 1)

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
    paper: str = _field(TEXT)                             # where it is shown, with the number if there is one
    notebook: str = _field(TEXT, None)                    # what measures it ...
    record: str = _field(TEXT, None)                      # ... and under which name
    of: str = _field(TEXT, None)                          # a word in the names of the domains it is about
    like: str = _field(TEXT, None)                        # the claim whose records decide this one, too
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
        old = [f"{t.part}: was {t.was}, changed on {t.date} because {t.because}" for t in self.tests
               if t.because]
        return "; ".join([self.holds_if, *old])


def load(path=None):
    """{id: Claim} of a YAML file, by default the paper's. UserError: file, field, what is accepted."""
    return dict(_read_claims(path)[0])


def written(path=None):
    """The Written of a file's bounds; a bound that changed later has a day of its own."""
    return _read_claims(path)[1]


def _read_claims(path):
    path = MANIFESTS / "claims.yaml" if path is None else Path(path)
    return _load(path, path.stat().st_mtime_ns if path.is_file() else 0)


@functools.lru_cache(maxsize=4)
def _load(path, changed):
    values, found = _read(path), {}
    if extra := values.keys() - {"written", "claims"}:
        raise UserError(f"{path}: unknown field '{sorted(map(str, extra))[0]}'; accepted: written, claims")
    rows, day = values.get("claims"), _build(Written, values.get("written", {}), path, "written.")
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
    return found, day


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

_tell = functools.lru_cache(print)                        # once for each sentence


def check(name, record):
    """A record's fields with `part` filled in, without the claim where it is about other domains; UserError
    for a claim, part or world that does not exist, and for a bare number where an interval decides. A claims
    file that cannot be read costs no measurement: it is told, and the record stays as it is."""
    try:
        known = load()
    except UserError as error:
        _tell(f"{error}; numbers for claims are recorded unchecked")
        return record
    if record["claim"] not in known:
        raise suggest(record["claim"], known, "claim")
    claim = known[record["claim"]]
    if claim.of and claim.of not in record.get("domain", ""):
        return {key: value for key, value in record.items() if key not in ("claim", "part")}
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
