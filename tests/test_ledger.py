"""What runs say about the claims: records to verdicts by world, pages, the order of methods, the figure."""
import json
import os
from types import SimpleNamespace

import pytest

from restyle_lib import claims, figures, figures_claims, ledger, runs, tables, workbook
from restyle_lib.__main__ import main
from restyle_lib.report import write_gallery, write_index
from restyle_lib.statistics import Interval

LESS, MORE = Interval(-2., -3., -1., 50), Interval(2., 1., 3., 50)
MANIFEST = claims.MANIFESTS / "claims.yaml"


def start(name="made", notebook="20_quality_against_time", domain="avatars"):
    parameters = {"profile": "smoke", "seed": 3, "device": "cpu", "run": name, "domain": domain}
    return runs.Run(runs.new_run("smoke", name) / notebook, parameters, SimpleNamespace())


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("RESTYLE_OUTPUTS", str(tmp_path / "outputs"))
    return start()


def measured(run):
    """Three claims: one holds here and not on published files, one by steps; and two that decide nothing."""
    for part in ("l2", "perceptual"):
        run.record("difference to one pass", LESS, claim="psp-better", part=part, world="rendered", seeds=1)
    run.record("difference to one pass", MORE, claim="psp-better", part="l2", world="published",
               domain="ffhq")
    for step, value in enumerate((5.0, 4, 3, 2, 1), 1):
        run.record("change", value, step=step, claim="change-falls", world="rendered", n=7)
    run.record("unbounded", 3.0)
    run.record("no number", float("nan"), claim="order-faster", world="rendered")
    return ledger.read(run.folder.parent)


def test_records_become_verdicts_by_world(run):
    entries = measured(run)
    record = runs.read_records(run.folder)[0]
    assert (record["value"], record["low"], record["high"], record["n"]) == (-2, -3, -1, 50)
    first, published, course = ledger.details(entries)
    assert [(r["claim"], r["measured on"], r["verdict"]) for r in (first, published, course)] == [
        ("psp-better", "rendered avatars", "holds"), ("psp-better", "published ffhq", "does not hold"),
        ("change-falls", "rendered avatars", "holds")]
    assert first["ours"] == "l2 -2 [-3, -1]; perceptual -2 [-3, -1]" and first["seeds"] == "1"
    assert course["ours"] == "steps 1–5: 5 → 4 → 3 → 2 → 1" and course["seeds"] == "–"
    assert first["n"] == "50" and first["hardware"] == runs.read_facts(run.folder)["hardware"]
    table = ledger.columns(entries)
    assert len(table) == 35 and len(ledger.columns(entries, measured=True)) == 2
    row = table[1]
    assert row["rendered"] == "avatars: holds, l2 -2 [-3, -1]; perceptual -2 [-3, -1] (n 50, 1 seed)"
    assert row["photographs"] == "not measured" and row["published"].startswith("ffhq: does not hold")
    assert row["paper"] == "holds: Figures 5 and 18"
    found = {row["columns"]: (row["claims in both"], row["agree"]) for row in ledger.agreement(entries)}
    assert len(found) == 6 and found == dict.fromkeys(found, (0, 0)) | {
        "rendered, published": (1, 0), "rendered, paper": (2, 2), "published, paper": (1, 0)}
    absent = {row["claim"]: row["needs"] for row in ledger.missing(entries)}
    assert len(absent) == 33 and absent["naive-leaves"] == "run 23_ablation_naive_refeeding"
    assert "a domain of church" in absent["churches-near"] and "e4e-better and editable" in absent[
        "edit-and-better"]


def test_a_claim_holds_in_a_world_if_it_does_on_each_of_its_domains(run):
    for domain, value in (("avatars", 12.0), ("minicars", 3.0)):
        run.record("ratio", value, claim="order-faster", world="rendered", domain=domain)
    entries = ledger.read(run.folder.parent)
    assert ledger.by_world(entries) == {"order-faster": {"paper": "holds", "rendered": "does not hold"}}
    rows = ledger.columns(entries, measured=True)
    assert rows[0]["rendered"].split("\n") == ["avatars: holds, 12 (n –, – seeds)",
                                               "minicars: does not hold, 3 (n –, – seeds)"]
    assert "holds, 12 (n –, – seeds); minicars" in repr(rows) and "<br>minicars" in rows._repr_html_()


def test_a_second_run_fills_in_what_the_first_did_not_measure(run):
    run.record("ratio", 12.0, claim="order-faster", world="rendered")
    other = start("other")
    other.record("ratio", 3.0, claim="order-faster", world="rendered")
    other.record("ratio", 1.0, claim="ten-fine", world="rendered")
    found = ledger.read(run.folder.parent, other.folder.parent)
    assert {e.claim.id: (e.ours, e.verdict) for e in found} == {"order-faster": ("12", "holds"),
                                                              "ten-fine": ("1", "holds")}


def test_one_claim_may_be_read_from_the_records_of_another(run):
    for domain in ("avatars", "lsun-church"):
        for part in ("l2", "perceptual"):
            run.record("single head to pyramid", 0.01, claim="head-same", part=part, world="published",
                       domain=domain)
    found = [(e.claim.id, e.domain) for e in ledger.read(run.folder.parent) if e.verdict == claims.HOLDS]
    assert found == [("head-same", "avatars"), ("head-same", "lsun-church"),
                     ("head-unstructured", "lsun-church")]


def test_the_command_prints_all_and_fails_only_when_asked_to(run, capsys):
    before = MANIFEST.read_bytes()
    measured(run)
    assert main(["claims", "made"]) == 0
    out = capsys.readouterr().out
    assert "2 of 35 claims have a verdict: 2 hold, 1 do not hold" in out and "hardware: " in out
    assert "psp-better" in out and "rendered, published" in out
    assert main(["claims", "made", "--strict"]) == 1
    assert "do not hold: psp-better (published ffhq)" in capsys.readouterr().err
    start("empty").finish()
    assert main(["claims", "empty", "--strict"]) == 0, "what was not measured does not fail"
    assert "run all --run empty" in capsys.readouterr().out
    assert main(["claims", "mode"]) == 1 and "did you mean 'made'" in capsys.readouterr().err
    assert main(["report", "made", "--gallery"]) == 1, "nothing is finished"
    run.finish()
    assert main(["report", "made", "--gallery"]) == 0
    assert MANIFEST.read_bytes() == before, "nothing edits a bound"


def test_the_report_begins_with_the_claims(run):
    assert "<h2>Claims" not in write_index(run.folder.parent).read_text(encoding="utf-8")
    run.record("ratio", 12.0, claim="order-faster", world="rendered")
    run.finish()
    page = write_index(run.folder.parent).read_text(encoding="utf-8")
    assert page.index("<span class='holds'>avatars: holds, 12") < page.index("<h2 id=")
    assert "Not measured: one-pass, psp-better" in page and "1 hold and 0 do not" in page
    assert "Measured on" in page and "<td data-of='paper'>holds: an order of magnitude</td>" in page
    text = write_gallery(run.folder.parent).read_text(encoding="utf-8")
    assert text.index("## Claims") < text.index("order-faster") < text.index("## 20_quality")


def test_what_the_claims_notebook_kept_opens_the_report_until_more_is_recorded(run):
    run.record("ratio", 12.0, claim="order-faster", world="rendered")
    place = run.folder.parent / "90_claims"
    place.mkdir()
    kept = place / "claims.json"
    row = {"claim": "order-faster", "rendered": "kept: does not hold | 1\nother: holds"}
    kept.write_text(json.dumps([row]))
    os.utime(run.folder / "records.jsonl", (1, 1))
    page = write_index(run.folder.parent).read_text(encoding="utf-8")
    assert "<span class='fails'>kept: does not hold" in page and "<span class='holds'>other: holds" in page
    run.finish()
    assert "does not hold \\| 1<br>other" in write_gallery(run.folder.parent).read_text(encoding="utf-8")
    os.utime(kept, (0, 0))
    assert "kept: does" not in write_index(run.folder.parent).read_text(encoding="utf-8")


def test_a_broken_claims_file_costs_the_table_and_nothing_else(run, tmp_path, monkeypatch, capsys):
    run.record("ratio", 12.0, claim="order-faster", world="rendered")
    monkeypatch.setattr(claims, "MANIFESTS", tmp_path)
    (tmp_path / "claims.yaml").write_text("written: {commit: a, date: b}\nclaims: [{idea: a}]")
    run.finish()
    page = write_index(run.folder.parent).read_text(encoding="utf-8")
    assert "The claims are not shown: " in page and "did you mean" in page and "1 numbers" in page
    assert "The claims are not shown" in write_gallery(run.folder.parent).read_text(encoding="utf-8")
    assert main(["claims", "made"]) == 1 and "claims[0].idea" in capsys.readouterr().err


def test_the_figure_has_a_mark_for_each_part_and_says_what_is_missing(run, tmp_path):
    rows = ledger.margins(measured(run))
    assert [(r["claim"], r["part"], r["verdict"]) for r in rows] == [
        ("psp-better", "l2", "holds"), ("psp-better", "perceptual", "holds"),
        ("psp-better", "l2", "does not hold"), ("change-falls", "change", "holds")]
    assert (rows[0]["margin"], rows[0]["low"], rows[0]["high"]) == (2, 1, 3), "in halves of the interval"
    assert rows[3]["margin"] == pytest.approx(1 / 5) and len(rows[3]["all"]) == 4, "the least fall of four"
    assert rows[1]["ours"] == "perceptual -2 [-3, -1]"
    figure = figures_claims.claims(rows, ["half-second"])
    figures.save(figure, tmp_path / "claims")
    assert "half-second" in figure.texts[0].get_text() and len(figure.rows) == 4
    empty = figures_claims.claims([], list(claims.load()))
    assert "nothing measured" in [text.get_text() for text in empty.axes[0].texts]


def test_the_notebook_reads_what_its_run_measured_and_never_fails_on_a_claim(run):
    before = MANIFEST.read_bytes()
    measured(run)
    target, failed = workbook.run(["90_claims"], ["device=cpu"], run="made")
    assert failed == {"90_claims": None} and target == run.folder.parent
    found = {r["name"]: r["value"] for r in runs.read_records(target / "90_claims")}
    assert (found["claims on a domain: holds"], found["claims on a domain: does not hold"]) == (2, 1)
    assert all(runs.read_facts(target / "90_claims")["checks"].values())
    page = (target / "index.html").read_text(encoding="utf-8")
    assert "<span class='fails'>ffhq: does not hold" in page and "<span class='quiet'>not measured" in page
    assert MANIFEST.read_bytes() == before


def test_the_order_of_methods_is_a_rank_correlation(run):
    last = {"pSp": 0.3, "e4e": 0.4, "ReStyle-e4e": 0.35, "optimisation in W+, 10": 0.9,
            "optimisation in W+, 200": 0.1, "mine": 0.0}
    for method, value in last.items():
        run.record("l2 at the last step", value, domain="avatars", method=method)
    records = runs.read_records(run.folder)
    same, = (row for row in ledger.order(records, "avatars") if "GANInverter" in row["source"])
    assert same["rank correlation"] == pytest.approx(1) and same["methods"] == 4
    assert same["share of orders"] == pytest.approx(1 / 24), "one order of 4! is as good"
    assert same["ours, best first"] == same["theirs, best first"] == \
        "optimisation in W+, pSp, ReStyle-e4e, e4e"
    assert ledger.order(records, "minicars") == []
    assert isinstance(ledger.order([], "avatars"), tables.Table)
