"""The paper's claims and others' numbers: what the manifests may hold, and what follows from measurements."""
import dataclasses
import json
import re
from types import SimpleNamespace

import pytest

from restyle_lib import claims, reported, runs
from restyle_lib.__main__ import main
from restyle_lib.errors import UserError
from restyle_lib.report import write_gallery, write_index
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


BASE = "{id: a, where: §1, says: b, quantity: c, holds_if: d, "


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
])
def test_malformed_claims_are_refused(tmp_path, text, told):
    path = tmp_path / "claims.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=told) as error:
        claims.load(path)
    assert str(path) in str(error.value)


def test_a_changed_bound_keeps_its_old_value_in_sight(tmp_path):
    path = tmp_path / "claims.yaml"
    test = "{part: x, test: above, bound: 2, was: 1, because: too easy}"
    path.write_text(f"claims: [{BASE}tests: [{test}]}}]")
    assert claims.load(path)["a"].condition == "d; x: was 1, changed because too easy"


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


# ---- records and tables

def test_records_become_verdicts_by_world(run, capsys):
    run.record("L2, ours minus pSp", LESS, claim="psp-better", part="l2", world="rendered", seeds=1)
    run.record("P, ours minus pSp", LESS, claim="psp-better", part="perceptual", world="rendered", seeds=1)
    run.record("L2, ours minus pSp", MORE, claim="psp-better", part="l2", world="published", domain="ffhq")
    for step, value in enumerate((5.0, 4, 3, 2, 1), 1):
        run.record("change", value, step=step, claim="change-falls", world="rendered", n=7)
    run.record("unbounded", 3.0)
    run.record("no number", float("nan"), claim="order-faster", world="rendered")
    record = runs.read_records(run.folder)[0]
    assert (record["value"], record["low"], record["high"], record["n"]) == (-2, -3, -1, 50)
    table = claims.table(run.folder.parent)
    assert len(table) == 36 and "50" == table[1]["n"]
    measured = [(r["claim"], r["measured on"], r["verdict"]) for r in claims.table(run.folder.parent, True)]
    assert measured == [("psp-better", "rendered avatars", "holds"),
                        ("psp-better", "published ffhq", "does not hold"),
                        ("change-falls", "rendered avatars", "holds")]
    first, _, course = claims.table(run.folder.parent, True)
    assert first["ours"] == "l2 -2 [-3, -1]; perceptual -2 [-3, -1]" and first["seeds"] == "1"
    assert course["ours"] == "steps 1–5: 5 → 4 → 3 → 2 → 1" and course["seeds"] == "–"
    assert first["hardware"] == runs.read_facts(run.folder)["hardware"]
    assert main(["claims", "made"]) == 0
    out = capsys.readouterr().out
    assert "2 of 35 claims have a verdict: 2 hold, 1 do not hold" in out and "hardware: " in out
    assert out.count("not measured") == 33
    assert main(["claims", "mode"]) == 1 and "did you mean 'made'" in capsys.readouterr().err


def test_the_report_begins_with_the_claims(run):
    assert "<h2>Claims" not in write_index(run.folder.parent).read_text(encoding="utf-8")
    run.record("ratio", 12.0, claim="order-faster", world="rendered")
    run.finish()
    page = write_index(run.folder.parent).read_text(encoding="utf-8")
    assert page.index("order-faster") < page.index("<h2 id=") and "half-second" not in page
    text = write_gallery(run.folder.parent).read_text(encoding="utf-8")
    assert text.index("## Claims") < text.index("order-faster") < text.index("## 20_quality")


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
