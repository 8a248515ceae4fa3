"""Baselines and what is held against them: every kind of difference, its exit status, its reports."""
import csv
import json
import subprocess
from xml.etree import ElementTree

import fake_notebook
import pytest
from test_workbook import books  # noqa: F401  (two tiny notebooks: 00_good, and 10_bad which fails)

from restyle_lib import batch, drift, runs
from restyle_lib.__main__ import main
from restyle_lib.errors import STATUS, UserError
from restyle_lib.files import write_json


@pytest.fixture
def made(books, tmp_path):  # noqa: F811
    """A function that writes a finished run of 00_good -> its folder."""
    def make(name, threads=1, noise=0.0):
        place = tmp_path / "outputs" / name / "00_good"
        place.mkdir(parents=True)
        write_json(place / "run.json", {"status": "finished", "started": f"2026-01-0{threads}",
                                        "threads": threads, "seconds": 2.0, "parameters": {},
                                        "given": {}, "commit": "c0"})
        rows = [{"name": "mean L2", "value": 1 / (1 + t) + noise, "unit": "on [-1, 1]", "step": t, "n": 4}
                for t in range(3)]
        rows += [{"name": "identity similarity", "value": 0.9, "unit": "", "n": 4},
                 {"name": "time of an inversion", "value": 0.5, "unit": "s per image"}]
        (place / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return place.parent
    return make


def edit(folder, change):
    """Applies change(rows) -> rows to a run's records."""
    place = folder / "00_good" / "records.jsonl"
    rows = change(runs.read_records(place.parent))
    place.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def blessed(made, tmp_path):
    found = drift.baseline([made(f"r{i}", 1 + i % 2) for i in range(5)])
    path = tmp_path / "base.json"
    path.write_text(json.dumps(found))
    return path


def scaled(name, factor):
    return lambda rows: [r | {"value": r["value"] * factor} if r["name"] == name else r for r in rows]


def test_a_baseline_has_the_spread_of_its_repeats(made):
    found = drift.baseline([made(f"n{i}", 1 + i % 2, noise=0.02 * (i % 2)) for i in range(5)])
    rows = {row["record"]: row for row in found["records"]}
    noisy = rows["mean L2 (step 0)"]
    assert noisy["value"] == 1.0 and noisy["tolerance"] == pytest.approx(4 * 0.02)
    assert rows["identity similarity"]["tolerance"] == pytest.approx(0.9e-3)
    assert [rows[k]["better"] for k in ("mean L2 (step 0)", "identity similarity")] == ["lower", "higher"]
    assert rows["time of an inversion"]["timing"] and rows["seconds of the notebook"]["better"] == "lower"
    assert found["repeats"] == 5 and found["threads"] == [1, 2] and found["claims"] == {}


def test_a_record_that_a_repeat_lacks_is_not_blessed(made):
    first, second = made("a"), made("b")
    edit(second, lambda rows: rows[:2] + [rows[3] | {"value": None}])
    assert [name.split(": ")[1] for name in drift.baseline([first, second])["unsure"]][:2] == [
        "mean L2 (step 2)", "identity similarity"]


@pytest.mark.parametrize("change, verdict, status", [
    (lambda rows: rows, None, "done"),
    (scaled("mean L2", 1.0005), None, "done"),
    (scaled("mean L2", 1.01), "worse", "drift"), (scaled("mean L2", 0.99), "better", "drift"),
    (scaled("identity similarity", 0.99), "worse", "drift"),
    (scaled("identity similarity", 1.01), "better", "drift"),
    (lambda rows: rows[1:], "missing", "drift"),
    (lambda rows: [rows[0] | {"value": None}, *rows[1:]], "worse", "drift"),
    (lambda rows: [*rows, rows[0] | {"name": "something else"}], "new", "done"),
    (lambda rows: [*rows, rows[0]], "new", "done"),
    (scaled("time of an inversion", 2), None, "done")])
def test_every_difference_is_told_apart(made, blessed, change, verdict, status):
    folder = made("now")
    edit(folder, change)
    rows = drift.compare(folder, drift.load(blessed))
    assert {row["verdict"] for row in rows} - {"same"} == ({verdict} if verdict else set())
    assert drift.status(rows) == drift.status(rows, strict=True) == STATUS[status]
    assert not verdict or verdict in repr(drift.told(rows)[0])


def test_slowness_counts_only_where_it_is_asked_for(made, blessed):
    edit(made("now"), scaled("time of an inversion", 2))
    rows = drift.compare(runs.run_folder("now"), drift.load(blessed), timing=True)
    assert drift.status(rows) == STATUS["slower"]
    edit(made("fast"), scaled("time of an inversion", 0.5))
    rows = drift.compare(runs.run_folder("fast"), drift.load(blessed), timing=True)
    verdicts = {row["record"]: row["verdict"] for row in rows}
    assert verdicts["time of an inversion"] == "faster" and drift.status(rows) == 0


def test_a_crash_is_graver_than_drift(made, blessed):
    folder = made("now")
    edit(folder, scaled("mean L2", 2))
    facts = runs.read_facts(folder / "00_good")
    (folder / "00_good" / "run.json").write_text(json.dumps(facts | {"status": "running"}))
    assert drift.status(drift.compare(folder, drift.load(blessed), timing=True)) == STATUS["crash"]
    (folder / "00_good").rename(folder / "00_other")
    rows = drift.compare(folder, drift.load(blessed))
    assert ("00_good", "the notebook: not run") in {(row["notebook"], row["record"]) for row in rows}


def test_a_lost_claim_counts_where_it_is_strict(made, blessed):
    claim = {"claim": "one-pass", "part": "difference", "world": "rendered", "domain": "avatars", "seeds": 1}
    first, now = made("first"), made("now")
    for folder, value in ((first, 1e-9), (now, 1.0)):
        edit(folder, lambda rows, v=value: [rows[0] | claim | {"value": v}])
    against = drift.baseline([first], floor=0.0)
    assert against["claims"] == {"one-pass on rendered avatars": "holds"}
    against["records"] = []
    rows = [row for row in drift.compare(now, against) if row["verdict"] != "new"]
    assert [row["verdict"] for row in rows] == ["lost"]
    assert (drift.status(rows), drift.status(rows, strict=True)) == (0, STATUS["claim lost"])


def test_reports_for_machines(made, blessed, tmp_path, capsys):
    edit(made("now"), lambda rows: scaled("mean L2", 2)(rows) + [rows[0] | {"name": "<b>&\x01"}])
    report = tmp_path / "junit.xml"
    assert main(["compare", "now", str(blessed), "--json", "--junit", str(report)]) == STATUS["drift"]
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert found["status"] == STATUS["drift"] and len(found["rows"]) == 5
    assert told.err == f"error: now against {blessed}: drift (3 worse, 1 same, 1 new)\n"
    suite = ElementTree.parse(report).getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("5", "3", "0")
    assert suite.findall("testcase")[-1].get("name") == "<b>&? (step 0)"


def test_history_has_each_run_once_and_a_picture(made, blessed, tmp_path):
    folders = {"one": made("one"), "two": made("two", 2)}
    edit(folders["two"], scaled("mean L2", 1.01))
    path = tmp_path / "outputs" / "history" / "base.csv"
    for name in ("one", "two", "one"):
        rows = drift.compare(folders[name], drift.load(blessed))
        assert drift.history(folders[name], rows, path).read_bytes()[1:4] == b"PNG"
    with open(path, newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["run"] for row in rows[::4]] == ["two", "one"] and len(rows) == 8
    assert {row["verdict"] for row in rows[:4]} == {"worse", "same"} and rows[0]["commit"] == "c0"
    assert "history" not in {f.name for f in runs.list_runs()}


def test_bless_repeats_a_run_and_keeps_what_is_done(made, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(batch.subprocess, "Popen", fake_notebook.instead(subprocess.Popen))
    made("base")
    out = tmp_path / "b.json"
    assert main(["bless", "base", "--out", str(out)]) == 0
    found = drift.load(out)
    assert found["repeats"] == 6 and found["threads"] == [1, 2] and len(found["records"]) == 6
    assert main(["bless", "base", "--out", str(out)]) == 0
    assert "5 of 5 runs were finished already" in capsys.readouterr().out
    lines = [(tmp_path / "outputs" / f"base-repeat-{i}" / "made.txt").read_text() for i in range(1, 6)]
    assert lines == ["00_good\n"] * 5
    for words in (["--repeats", "4"], ["--threads", "2"], ["--threads", "1,x"], ["--threads", "0,1"]):
        assert main(["bless", "base", *words]) == 1


@pytest.mark.parametrize("text, message", [
    ("{", "is no baseline"), ("[]", "is no baseline"), ('{"format": 2}', "of format 2"),
    ('{"format": 1, "records": [{"notebook": 1}], "claims": {}}', "is no baseline")])
def test_other_files_are_no_baselines(tmp_path, text, message):
    (tmp_path / "b.json").write_text(text)
    with pytest.raises(UserError, match=message):
        drift.load(tmp_path / "b.json")
    with pytest.raises(UserError, match="unknown baseline 'none'"):
        drift.load("none")
