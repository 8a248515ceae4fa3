"""What runs say about the paper's claims: verdicts by world, how far worlds agree, the order of methods."""
import itertools
import re
from dataclasses import dataclass

import numpy as np

from . import claims, reported, runs
from .claims import FAILS, HOLDS, UNKNOWN, WORLDS
from .errors import UserError
from .statistics import Interval, ranks, spearman
from .tables import Table

COLUMNS = (*WORLDS, "paper")
METHODS = {"restyle-psp": "ReStyle-pSp", "restyle-e4e": "ReStyle-e4e", "psp": "pSp", "e4e": "e4e",
           "idinvert-encoder": "IDInvert, encoder", "optimisation": "optimisation in W+",
           "optimisation-w+": "optimisation in W+", "optimisation-w": "optimisation in W"}
MEASURES = {"l2": "l2", "lpips": "perceptual", "identity": "identity"}      # reported: ours


@dataclass(frozen=True)
class Entry:
    """A claim on a domain of a world: its verdict, and the records that it was read from."""
    claim: claims.Claim
    world: str
    domain: str
    verdict: str
    records: tuple

    @property
    def values(self):
        """{part: [(step or None, Interval or number)]}."""
        return {part: [_value(r) for r in self.records if r.get("part", part) == part]
                for part in self.claim.parts}

    @property
    def ours(self):
        """The numbers in words: with their intervals, or by step."""
        told = (_ours(self.claim, part, [r for r in self.records if r.get("part", part) == part])
                for part in self.claim.parts)
        return "; ".join(filter(None, told)) or "–"

    def spread(self, key):
        """What the records say of n or seeds: equal numbers as one, others as "3 to 9", none as a dash."""
        values = sorted(r[key] for r in self.records if r.get(key) is not None)
        return " to ".join(map(str, dict.fromkeys((values[0], values[-1])))) if values else "–"

    @property
    def hardware(self):
        return "; ".join(dict.fromkeys(r["hardware"] for r in self.records))


def read(*folders):
    """Entries from the records of run folders, in the order of the claims. What several runs measured on the
    same domain is read from the first of them."""
    known, found = claims.load(), {}
    for folder in folders:
        here = {}
        for path in sorted(folder.glob("*/run.json")):
            facts = runs.read_facts(path.parent)
            for record in runs.read_records(path.parent):
                if record.get("claim") in known and record["value"] is not None and "world" in record:
                    domain = record.get("domain", facts.get("parameters", {}).get("domain", ""))
                    record["hardware"] = record.get("hardware", facts.get("hardware", "unknown"))
                    here.setdefault((record["world"], domain), {}).setdefault(record["claim"], []).append(
                        record)
        for place, rows in here.items():
            found[place] = rows | found.get(place, {})
    verdicts, entries = {}, []
    order = sorted(found, key=lambda p: (WORLDS.index(p[0]) if p[0] in WORLDS else len(WORLDS), p[1]))
    for claim in known.values():
        for place in order:
            rows = found[place].get(claim.like or claim.id, ())
            if (claim.of or "") in place[1] and (rows or set(claim.both) & found[place].keys()):
                entry = Entry(claim, *place, "", tuple(rows))
                told = verdicts.setdefault(place, {})
                told[claim.id] = claims.verdict(claim, entry.values, told)
                entries.append(Entry(claim, *place, told[claim.id], entry.records))
    return entries


# ---- tables

def details(entries):
    """A row for each Entry: verdict, our numbers, n, seeds, hardware."""
    return Table({"claim": e.claim.id, "measured on": f"{e.world} {e.domain}".strip(), "verdict": e.verdict,
                  "holds if": e.claim.condition, "ours": e.ours, "n": e.spread("n"),
                  "seeds": e.spread("seeds"), "hardware": e.hardware} for e in entries)


def columns(entries, numbers=True, measured=False):
    """A row for each claim, a column for each world and for the paper; a line of a cell for each domain, with
    its `numbers`. measured: without the claims that nobody measured."""
    rows = Table()
    for claim in claims.load().values():
        mine = [e for e in entries if e.claim.id == claim.id]
        if mine or not measured:
            cells = {world: "\n".join(_cell(e, numbers) for e in mine if e.world == world) or UNKNOWN
                     for world in WORLDS}
            rows.append({"claim": claim.id, "where": claim.where, "the paper says": claim.says,
                         "quantity": claim.quantity, "holds if": claim.condition, **cells,
                         "paper": f"{HOLDS}: {claim.paper}"})
            if numbers:
                rows[-1]["hardware"] = "; ".join(dict.fromkeys(e.hardware for e in mine if e.hardware))
    return rows


def missing(entries):
    """A row for each claim without a verdict: what has to run, and the record that it would be read from."""
    known = {e.claim.id for e in entries if e.verdict != UNKNOWN}
    rows = Table()
    for claim in claims.load().values():
        if claim.id not in known:
            needs = f"the claims {' and '.join(claim.both)}" if claim.both else \
                f"run {claim.notebook}" + (f", a domain of {claim.of}" if claim.of else "")
            rows.append({"claim": claim.id, "quantity": claim.quantity, "needs": needs,
                         "record": claim.record or "–"})
    return rows


def bounds():
    """A row for each claim: what decides it, what it is read from, and since when the bound stands."""
    since = claims.written()
    return Table({"claim": c.id, "where": c.where, "the paper says": c.says, "quantity": c.quantity,
                  "holds if": c.condition, "read from": f"{c.notebook}: {c.record}" if c.record else
                  " and ".join(c.both), "bound of": f"{since.date}, commit {since.commit}"}
                 for c in claims.load().values())


def by_world(entries):
    """{claim: {column: holds or does not hold}}: a world's claim holds if it does on every domain."""
    found = {}
    for e in entries:
        if e.verdict != UNKNOWN:
            row = found.setdefault(e.claim.id, {"paper": HOLDS})
            row[e.world] = FAILS if FAILS in (row.get(e.world), e.verdict) else HOLDS
    return found


def agreement(entries):
    """A row for each two columns: how many claims have a verdict in both, and for how many it is the same."""
    found, rows = by_world(entries).values(), Table()
    for one, other in itertools.combinations(COLUMNS, 2):
        both = [row for row in found if one in row and other in row]
        rows.append({"columns": f"{one}, {other}", "claims in both": len(both),
                     "agree": sum(row[one] == row[other] for row in both)})
    return rows


def count(entries):
    """One line: how many verdicts are which."""
    verdicts = [e.verdict for e in entries]
    decided = {e.claim.id for e in entries if e.verdict != UNKNOWN}
    return (f"{len(decided)} of {len(claims.load())} claims have a verdict: {verdicts.count(HOLDS)} hold, "
            f"{verdicts.count(FAILS)} do not hold, counted once for each world and domain")


def strict(entries):
    """UserError if a claim does not hold; nothing about those that were not measured."""
    failed = [f"{e.claim.id} ({e.world} {e.domain})" for e in entries if e.verdict == FAILS]
    if failed:
        raise UserError(f"claims that were measured and do not hold: {', '.join(failed)}")


def margins(entries):
    """A row for each Entry and part, the worst of its steps (or images' attributes) first in `all`: how far
    on the side where the claim holds, see Bound.margins."""
    rows = []
    for e in entries:
        for part in e.claim.parts:
            tests = [test for test in e.claim.tests if test.part == part]
            found = [m for test in tests for m in test.margins(e.values[part]) if np.isfinite(m[0])]
            found.sort(key=lambda m: m[0])
            outcomes = [test.outcome(e.values[part]) for test in tests]
            if found:
                verdict = FAILS if False in outcomes else UNKNOWN if None in outcomes else HOLDS
                rows.append({"claim": e.claim.id, "where": e.claim.where, "says": e.claim.says, "part": part,
                             "world": e.world, "domain": e.domain, "verdict": verdict,
                             **dict(zip(("margin", "low", "high"), found[0], strict=True)),
                             "all": [m[0] for m in found], "holds if": e.claim.holds_if,
                             "ours": e.ours if len(e.claim.parts) == 1 else "; ".join(
                                 told for told in e.ours.split("; ") if told.startswith(f"{part} "))})
    return rows


# ---- the order of methods

def order(records, domain, data="celeba-hq"):
    """Whether methods come in the order that others report: a row for each source and measure with three
    methods or more, our records (of notebook 20) on `domain` against `data`. The share of orders is that of
    all possible ones whose rank correlation is as large or larger: what chance would do."""
    ours, rows = _last_steps(records, domain), Table()
    for source, about in reported.load().sources.items():
        for metric, kind in MEASURES.items():
            theirs = {METHODS[r.method]: r.values[metric] for r in reported.load().rows
                      if (r.source, r.data) == (source, data) and r.method in METHODS
                      and r.values.get(metric) is not None}
            names = [name for name in theirs if name in ours.get(kind, {})]
            if len(names) < 3:
                continue
            a = np.array([ours[kind][name] for name in names])
            b = np.array([theirs[name] * (-1 if kind == "identity" else 1) for name in names])
            rho = spearman(a, b)
            chance = np.mean([spearman(np.array(p), b) >= rho - 1e-9
                              for p in itertools.permutations(ranks(a).tolist())])
            rows.append({"source": about.title, "measure": kind, "methods": len(names),
                         "rank correlation": rho, "share of orders": float(chance),
                         "ours, best first": _sorted(names, a), "theirs, best first": _sorted(names, b)})
    return rows


def _last_steps(records, domain):
    """{measure: {method: mean at the last step}}, of the longest optimisation only; lower is better."""
    found, longest = {}, {}
    for r in records:
        match = re.fullmatch(r"(\w+) at the last step", r["name"])
        if match and r.get("domain") == domain and r["value"] is not None:
            family, _, plan = r["method"].partition(", ")
            family, plan = (family, int(plan)) if plan.isdigit() else (r["method"], 0)
            if plan >= longest.get((match[1], family), 0):
                longest[match[1], family] = plan
                found.setdefault(match[1], {})[family] = r["value"]
    return found


def _sorted(names, values):
    return ", ".join(names[i] for i in np.argsort(values, kind="stable"))


# ---- in words

def _cell(entry, numbers):
    told = f"{entry.domain}: {entry.verdict}" if entry.domain else entry.verdict
    if not numbers or not entry.records:
        return told
    seeds = entry.spread("seeds")
    return f"{told}, {entry.ours} (n {entry.spread('n')}, {seeds} seed{'' if seeds == '1' else 's'})"


def _value(record):
    """(step or None, Interval or number)."""
    value, ends = record["value"], (record.get("low"), record.get("high"))
    return record.get("step"), value if None in ends else Interval(value, *ends, record.get("n"))


def _ours(claim, part, rows):
    rows = sorted(rows, key=lambda r: -1 if r.get("step") is None else r["step"])
    told = [f"{r['value']:.4g}" + (f" [{r['low']:.3g}, {r['high']:.3g}]" if r.get("low") is not None else "")
            for r in rows]
    by_step = len(rows) > 1 and all(r.get("step") is not None for r in rows)
    steps = f"steps {rows[0]['step']}–{rows[-1]['step']}: " if by_step else ""
    name = f"{part} " if len(claim.parts) > 1 and rows else ""
    return name + steps + (" → " if by_step else ", ").join(told)
