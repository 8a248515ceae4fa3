"""The paper's claims and others' numbers: what the manifests may hold, and what follows from measurements."""
import ast
import dataclasses
import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from restyle_lib import claims, reported, runs, workbook
from restyle_lib.errors import UserError
from restyle_lib.files import ROOT
from restyle_lib.statistics import Interval

LESS, CROSSING, MORE = Interval(-2., -3., -1., 50), Interval(-1., -3., 1., 50), Interval(2., 1., 3., 50)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("RESTYLE_OUTPUTS", str(tmp_path / "outputs"))
    folder = runs.new_run("smoke", "made")
    parameters = {"profile": "smoke", "seed": 3, "device": "cpu", "run": "made", "domain": "avatars"}
    return runs.Run(folder / "20_quality_against_time", parameters, SimpleNamespace())


def verdict(name, verdicts=None, **values):
    return claims.verdict(claims.load()[name], {k.replace("_", "-"): v for k, v in values.items()}, verdicts)


# ---- the manifest

def test_every_claim_is_decided_by_data():
    known = claims.load()
    assert len(known) == 35 and list(known)[:2] == ["one-pass", "psp-better"]
    for claim in known.values():
        assert bool(claim.tests) != bool(claim.both) and claim.says and claim.condition
        for test in claim.tests:                     # zero is decided by the interval, as the file says
            assert (test.by == "interval") == (test.bound == 0)
            number = re.search(r"[≤≥<>] ([\d.]+(e-6)?)( %)?$", claim.holds_if)
            if number and test.test in ("at most", "at least", "below", "above"):
                assert test.bound == pytest.approx(float(number[1]) / (100 if number[3] else 1))


def test_bounds_are_those_that_were_written_before_anything_was_measured():
    frozen = json.loads((Path(__file__).parent / "golden" / "claims_bounds.json").read_text(encoding="utf-8"))
    ours = {claim.id: [[t.part, t.test, t.bound if t.was is None else t.was, t.by, t.steps]
                       for t in claim.tests] for claim in claims.load().values()}
    assert json.loads(json.dumps(ours)) == frozen["bounds"], "a changed bound keeps its old value as `was`"
    assert dataclasses.asdict(claims.written()) == frozen["written"]


def test_every_claim_says_what_it_is_read_from():
    names, known = recorded_names(), claims.load()
    for claim in known.values():
        assert (claim.notebook is None) == (claim.record is None) == bool(claim.both)
        here = claim.notebook in workbook.notebooks()
        assert not here or any(re.fullmatch(name, claim.record) for name in names), claim.record
        assert (known[claim.like].parts if claim.like else claim.parts) == claim.parts


def recorded_names():
    """Patterns of the names that the library's evidence yields: what is filled in later matches anything."""
    found = []
    for path in (ROOT / "restyle_lib").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Yield) and isinstance(node.value, ast.Tuple):
                name = node.value.elts[0]
                texts = [getattr(p, "value", None) for p in getattr(name, "values", [name])]
                texts = [re.escape(t) if isinstance(t, str) else ".+" for t in texts]
                found += ["".join(texts)] if len("".join(texts)) > 10 else []
    return found


BASE = "{id: a, where: §1, says: b, quantity: c, holds_if: d, paper: e, "
WRITTEN = "written: {commit: a1, date: today}\n"


@pytest.mark.parametrize(("text", "told"), [
    ("claims: 3", "must be a list"),
    ("claims: [3]", "must be a table"),
    ("claims: [{id: a}]", r"claims\[0\].where is missing"),
    (f"claims: [{BASE}}}]", "either tests"),
    (f"claims: [{BASE}test: []}}]", "did you mean 'tests'"),
    (f"claims: [{BASE}tests: [{{part: x, test: at last, bound: 1}}]}}]", "accepted: at most or below"),
    (f"claims: [{BASE}tests: [{{part: x, test: at most, bound: one}}]}}]", "a number, or two numbers"),
    (f"claims: [{BASE}tests: [{{part: x, test: at most}}]}}]", "has the bound None"),
    (f"claims: [{BASE}tests: [{{part: x, test: within, bound: 1}}]}}]", "two numbers for within"),
    (f"claims: [{BASE}tests: [{{part: x, test: falls}}]}}]", r"accepted: steps \[first, last\]"),
    (f"claims: [{BASE}tests: [{{part: x, test: above, bound: 1, was: 0}}]}}]", "belong together"),
    (f"claims: [{BASE}both: [b]}}]", "claims above it"),
    (f"claims: [{BASE}needed: 2, tests: [{{part: x, test: above, bound: 1}}]}}]", "no more than there are"),
    ("claims: [", "not valid YAML"),
    ("claims: []\nclaim: 3", "unknown field 'claim'"),
])
def test_malformed_claims_are_refused(tmp_path, text, told):
    path = tmp_path / "claims.yaml"
    path.write_text(WRITTEN + text, encoding="utf-8")
    with pytest.raises(UserError, match=told) as error:
        claims.load(path)
    assert str(path) in str(error.value)
    path.write_text("claims: []", encoding="utf-8")
    with pytest.raises(UserError, match="written.commit is missing"):
        claims.load(path)


def test_a_changed_bound_keeps_its_old_value_in_sight(tmp_path):
    path = tmp_path / "claims.yaml"
    test = "{part: x, test: above, bound: 2, was: 1, because: too easy, date: May 1}"
    path.write_text(f"{WRITTEN}claims: [{BASE}tests: [{test}]}}]")
    assert claims.load(path)["a"].condition == "d; x: was 1, changed on May 1 because too easy"
    assert claims.written(path).date == "today"


# ---- verdicts

def test_zero_is_decided_by_the_whole_interval():
    assert verdict("optimisation-best", l2=LESS) == "holds"
    assert [verdict("optimisation-best", l2=v) for v in (CROSSING, MORE)] == ["does not hold"] * 2
    assert verdict("optimisation-best", l2=Interval(-1., -2., 0., 5)) == "holds", "at most zero"
    assert verdict("first-worse", l2=Interval(1., 0., 2., 5)) == "does not hold", "above zero"
    assert verdict("first-worse", l2=MORE) == verdict("psp-identity", identity=MORE) == "holds"
    assert verdict("optimisation-best") == verdict("optimisation-best", l2=-2.0) == "not measured"
    assert verdict("optimisation-best", l2=Interval(*[float("nan")] * 3, 5)) == "not measured"


def test_other_bounds_are_decided_by_the_estimate():
    assert [verdict("order-faster", ratio=r) for r in (Interval(11., 8., 14., 5), 10)] == ["holds"] * 2
    assert [verdict("twenty", ratio=r) for r in (9.9, 10, 40, 41)] == [
        "does not hold", "holds", "holds", "does not hold"]
    assert verdict("half-second", seconds=0.5) == "does not hold"
    assert verdict("few-steps", change=-0.5) == "does not hold", "a large fall is no convergence, either"
    assert verdict("few-steps", change=0.004) == "holds"


def test_all_parts_have_to_hold_or_as_many_as_needed():
    assert verdict("psp-better", l2=LESS, perceptual=LESS) == "holds"
    assert verdict("psp-better", l2=LESS) == "not measured"
    assert verdict("psp-better", perceptual=MORE) == "does not hold", "whatever the other will be"
    items = dict(eyeglasses=MORE, hairstyle=MORE)
    assert verdict("boot-items", **items) == "not measured"
    assert verdict("boot-items", **items, expression=MORE) == "holds"
    assert verdict("boot-items", **items, expression=LESS, make_up=CROSSING) == "does not hold"
    assert verdict("aligned", correlation=[0.4, 0.5]) == "holds"
    assert verdict("aligned", correlation=[0.4, 0.3]) == "does not hold"
    both = {"e4e-better": "holds", "editable": "holds"}
    assert verdict("edit-and-better", both) == "holds" and verdict("edit-and-better") == "not measured"
    assert verdict("edit-and-better", {"e4e-better": "does not hold"}) == "does not hold"


def test_courses_over_steps():
    falling = {0: 9, 1: 5, 2: 4, 3: 3, 4: 3.02, 5: 3.01}
    assert verdict("each-step", l2=falling, perceptual=falling) == "holds"
    assert verdict("each-step", l2=falling | {4: 3.04}, perceptual=falling) == "does not hold"
    assert verdict("each-step", l2=falling | {3: 4}, perceptual=falling) == "does not hold"
    assert verdict("each-step", l2={k: falling[k] for k in (1, 2, 3)}, perceptual=falling) == "not measured"
    assert verdict("change-falls", change={1: 5, 2: 4, 3: 3, 4: 2, 5: 1}) == "holds"
    rising = {s: float(s) for s in range(1, 6)}
    assert verdict("naive-leaves", psp=rising, e4e=rising) == "holds"
    assert verdict("naive-leaves", psp=rising, e4e=rising | {3: float("nan")}) == "not measured"
    steps = {s: LESS for s in range(2, 11)}
    assert verdict("naive-worse", l2=steps) == "holds"
    assert verdict("naive-worse", l2=steps | {7: CROSSING}) == "does not hold"
    assert verdict("naive-worse", l2={2: LESS}) == "not measured"
    assert verdict("hybrid-between", l2={5: LESS, 100: LESS}) == "holds", "whatever was measured"


def test_margins_lie_on_the_side_of_the_verdict():
    rng = np.random.default_rng(0)
    for claim in claims.load().values():
        for test in claim.tests:
            for scale in (0.01, 1.0, 20.0):
                values = scale * rng.normal(1, 2, 12) + np.mean(test.bound or 0.0)
                measured = [(step, Interval(v, v - 0.3 * scale, v + 0.2 * scale, 9))
                            for step, v in enumerate(np.abs(values) if test.steps else values)]
                found = test.margins(measured)
                worst = min(low if test.by == "interval" else margin for margin, low, _ in found)
                assert worst == 0 or (worst > 0) == test.outcome(measured), (claim.id, measured)
    within = claims.Bound("x", "within", (10, 40))
    assert within.margins([(None, 25)])[0][0] == 1 and within.margins([(None, 40)])[0][0] == 0
    assert claims.Bound("x", "at most", 2.0).margins([(None, 3.0)])[0][0] == -0.5


# ---- records

@pytest.mark.parametrize(("value", "where", "told"), [
    (LESS, dict(claim="psp-beter", world="rendered"), "did you mean 'psp-better'"),
    (LESS, dict(claim="psp-better", world="rendered"), "part of the claim psp-better"),
    (LESS, dict(claim="psp-better", part="percptual", world="rendered"), "did you mean 'perceptual'"),
    (LESS, dict(claim="psp-better", part="l2", world="render"), "did you mean 'rendered'"),
    (LESS, dict(claim="psp-better", part="l2"), "accepted: rendered, photographs, published"),
    (0.5, dict(claim="psp-better", part="l2", world="rendered"), "decided by an interval"),
    (0.5, dict(claim="change-falls", world="rendered"), "say which: step="),
    (0.5, dict(claim="edit-and-better", world="rendered"), "e4e-better and editable"),
])
def test_records_that_no_claim_takes_are_refused(run, value, where, told):
    with pytest.raises(UserError, match=told):
        run.record("number", value, **where)
    assert runs.read_records(run.folder) == []


def test_claims_that_cannot_be_read_cost_no_measurement(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(claims, "MANIFESTS", tmp_path)
    (tmp_path / "claims.yaml").write_text(WRITTEN + "claims: [{idea: a}]")
    for _ in range(2):
        run.record("number", 0.5, claim="order-faster", world="rendered")
    assert [r["claim"] for r in runs.read_records(run.folder)] == ["order-faster"] * 2
    out = capsys.readouterr().out
    assert out.count("unknown field 'claims[0].idea'; did you mean 'id'?") == 1 and "unchecked" in out


def test_a_claim_about_some_domains_takes_no_record_of_others(run):
    for domain in ("avatars", "lsun-church"):
        run.record("gap", 0.1, claim="churches-near", world="published", domain=domain)
    assert [r.get("claim") for r in runs.read_records(run.folder)] == [None, "churches-near"]


# ---- what others reported

def test_reported_numbers_load_and_compare():
    known = reported.load()
    assert {r.source for r in known.rows} == known.sources.keys()
    with pytest.raises(dataclasses.FrozenInstanceError):
        known.rows[0].data = "x"
    table = reported.compare({"restyle-e4e": {"l2": 0.0448, "lpips": 0.2013, "seconds": 1.0}}, "celeba-hq")
    rows = {(r["method"], r["metric"]): r["inside?"] for r in table if "GANInverter" in r["source"]}
    assert rows["restyle-e4e", "l2"] == "yes" and rows["restyle-e4e", "lpips"] == "no"
    assert rows["restyle-e4e", "seconds"] == "for orientation"
    assert rows["restyle-e4e", "identity"] == rows["pti", "l2"] == "not measured"
    by_source = [r["inside?"] for r in table if (r["method"], r["metric"]) == ("restyle-e4e", "l2")]
    assert by_source == ["yes", "yes", "figure only"], "0.0448 lies within 0.005 of 0.041 and of 0.0428"
    assert {r["inside?"] for r in reported.compare({}, "lsun-horse")} == {"figure only"}
    with pytest.raises(UserError, match="did you mean 'celeba-hq'"):
        reported.compare({}, "celeba")


SOURCE = "sources: {s: {title: t, protocol: p, checked: c}}\n"


@pytest.mark.parametrize(("text", "told"), [
    ("rows: []", "sources must be a table"),
    (SOURCE, "rows must be a list"),
    (SOURCE + "rows: []\nrow: 1", "unknown field 'row'"),
    (SOURCE + "rows: [{source: s, data: d, method: m, values: {l3: 1}}]", "of l2, psnr"),
    (SOURCE + "rows: [{source: s, data: d, method: m, values: {l2: .nan}}]", "numbers or null"),
    (SOURCE + "rows: [{source: r, data: d, method: m, values: {l2: 1}}]", "unknown source 'r'"),
    (SOURCE + "rows: [{source: s, data: d, values: {l2: 1}}]", "method is missing"),
    (SOURCE + "rows: [&a {source: s, data: d, method: m, values: {l2: 1}}, *a]", "twice"),
    ("sources: {s: {title: t, protocol: p, checked: c, tolerance: {l2: 0}}}\nrows: []", "positive numbers"),
])
def test_malformed_reports_are_refused(tmp_path, text, told):
    path = tmp_path / "reported.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=told) as error:
        reported.load(path)
    assert str(path) in str(error.value)


def test_the_manifests_are_plain_data():
    for found in (claims.load(), reported.load()):
        assert json.dumps(found, default=dataclasses.asdict)
