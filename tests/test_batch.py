"""Plans: what they mean, what is refused before anything runs, how failures and their table look."""
import subprocess
import sys

import pytest
from test_workbook import books  # noqa: F401  (two tiny notebooks: 00_good, and 10_bad which fails)

from restyle_lib import batch, runs
from restyle_lib.__main__ import main
from restyle_lib.errors import UserError

POPEN = subprocess.Popen


@pytest.fixture
def plan(books, tmp_path):  # noqa: F811
    def write(text):
        (tmp_path / "my plan.yaml").write_text(text)
        return tmp_path / "my plan.yaml"
    return write


def told(jobs):
    return [(job.place, job.notebook[:2], *job.pairs) for job in jobs]


def test_lists_make_a_grid_and_folders_hold_each_notebook_once(plan):
    jobs = batch.read(plan("{notebook: [00, 10], seed: [0, 1], rate: 0.5}"))
    assert told(jobs) == [(0, "00", "seed=0", "rate=0.5"), (1, "00", "seed=1", "rate=0.5"),
                          (0, "10", "seed=0", "rate=0.5"), (1, "10", "seed=1", "rate=0.5")]
    assert told(batch.read(plan("- notebook: all\n- {notebook: 00_g, quick: true}"))) == [
        (0, "00"), (0, "10"), (1, "00", "quick=true")]
    assert told(batch.read(plan("{notebook: 00, words: [a, b]}"))) == [(0, "00", 'words=["a", "b"]')]
    assert len(batch.read(plan("{notebook: 00, words: [[a], [b]]}"))) == 2
    named = batch.read(plan("- {notebook: 00, run: x, seed: 1}\n- {notebook: 10, run: x, seed: 2}"))
    assert [job.place for job in named] == [0, 0]


@pytest.mark.parametrize("text, message", [
    ("{notebook: 0O}", "entry 1: unknown notebook '0O'"),
    ("- {notebook: 00}\n- {notebook: 10_bda}", "entry 2: unknown notebook '10_bda'; did you mean '10_bad'"),
    ("{notebook: 00, sed: 3}", "entry 1: unknown parameter of 00_good 'sed'; did you mean 'seed'"),
    ("{notebook: 00, seed: x}", "entry 1: seed=x: expected a whole number"),
    ("{notebook: 00, seed: [1, 2.5]}", "entry 1: seed=2.5: expected a whole number"),
    ("{notebook: 00, profile: quik}", "did you mean 'quick'"), ("{notebook: 00, seed: []}", "an empty list"),
    ("{seed: 3}", "entry 1: expected a table with a `notebook`"), ("[]", "a plan is a list of entries"),
    ("5", "a plan is a list of entries"), ("{notebook: [", "my plan.yaml, line 1: not valid YAML"),
    ("{notebook: 00, minutes: x}", "minutes is .x."),
    ("- {notebook: 00, run: x}\n- {notebook: 00, run: x}", "00_good stands twice in the run 'x'")])
def test_wrong_plans_are_refused_before_anything_runs(plan, tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        batch.read(plan(text))
    assert main(["batch", str(tmp_path / "my plan.yaml")]) == 1 and not (tmp_path / "outputs").exists()


def test_a_dry_run_starts_nothing(plan, tmp_path, capsys):
    assert main(["batch", str(plan("{notebook: 00, seed: [0, 1]}")), "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split()[:3] == ["2", "00_good", "seed=1"] and lines[-1] == "2 runs; nothing was started"
    assert not (tmp_path / "outputs").exists()


def test_a_batch_goes_on_if_told_and_its_runs_have_reports(plan, tmp_path, capsys):
    path = plan("{notebook: [10, 00], seed: 3}")
    assert main(["batch", str(path), "--keep-going", "--jobs", "2"]) == 1
    told = capsys.readouterr()
    rows = [line.split() for line in told.out.splitlines() if line.startswith("001-my-plan ")]
    assert [row[1:4] for row in rows] == [["10_bad", "seed=3", "failed"], ["00_good", "seed=3", "finished"]]
    assert float(rows[1][4]) > 0
    assert "failed: 10_bad in 001-my-plan: 10_bad failed under 'The work': no such thing" in told.out
    assert "1 of 2 runs failed or were not begun" in told.err
    assert runs.read_facts(tmp_path / "outputs" / "001-my-plan" / "00_good")["status"] == "finished"
    assert main(["report", "001-my-plan"]) == 0
    page = (tmp_path / "outputs" / "001-my-plan" / "index.html").read_text()
    assert "Title of 00_good" in page and "no such thing" in page


def stub(monkeypatch, *codes):
    """Jobs that are processes of Python's, which end with these codes."""
    left, begun = list(codes), []

    def start(words, **options):
        begun.append(words[5])
        code = left.pop(0)
        return POPEN([sys.executable, "-S", "-c", f"raise SystemExit({code})"], **options)
    monkeypatch.setattr(batch.subprocess, "Popen", start)
    return begun


def test_without_it_no_other_run_is_begun(plan, monkeypatch):
    begun = stub(monkeypatch, 1, 0)
    jobs = batch.read(plan("{notebook: 00, seed: [0, 1]}"))
    table, said = batch.run(jobs, "p", say=lambda line: None), []
    assert [row["status"] for row in table] == ["failed", "not run"] and begun == ["seed=0"]
    stub(monkeypatch, 1, 1)
    table = batch.run(jobs, "p", keep_going=True, say=said.append)
    assert [row["status"] for row in table] == ["failed", "failed"]
    assert said[1] == "failed: 00_good in 003-p: exit status 1"
