"""Batches that go on: what is skipped, what is made again, what is kept apart, what is stopped."""
import os
import signal
import subprocess
import sys
import time

import fake_notebook
import pytest
from test_workbook import books  # noqa: F401  (two tiny notebooks: 00_good, and 10_bad which fails)

from restyle_lib import batch, runs
from restyle_lib.__main__ import main
from restyle_lib.errors import STATUS, UserError
from restyle_lib.files import ROOT


@pytest.fixture
def begun(books, tmp_path, monkeypatch):  # noqa: F811
    """A function that runs a plan of jobs of no kernel -> the lines that they left in made.txt files."""
    monkeypatch.setattr(batch.subprocess, "Popen", fake_notebook.instead(subprocess.Popen))

    def run(text, *words, name="plan", status=0):
        (tmp_path / f"{name}.yaml").write_text(text)
        assert main(["batch", str(tmp_path / f"{name}.yaml"), *words]) == status
        return {path.parent.name: path.read_text().splitlines()
                for path in sorted((tmp_path / "outputs").glob("*/made.txt"))}
    return run


TWO = "{notebook: 00, seed: [0, 1]}"


def test_what_is_finished_is_not_made_again(begun, books, tmp_path):  # noqa: F811
    once = {"001-plan": ["00_good seed=0"], "002-plan": ["00_good seed=1"]}
    assert begun(TWO) == begun(TWO, "--resume") == once
    more = begun("{notebook: 00, seed: [0, 1, 2]}", "--resume")
    assert more == once | {"003-plan": ["00_good seed=2"]}
    (tmp_path / "outputs" / "002-plan" / "00_good" / "run.json").write_text('{"status": "running"}')
    assert begun(TWO, "--resume")["002-plan"] == ["00_good seed=1"] * 2
    book = books / "00_good.ipynb"
    book.write_text(book.read_text().replace("The work", "Other work"))
    assert begun(TWO, "--resume")["001-plan"] == ["00_good seed=0"] * 2, "another version of the code"


def test_a_failure_is_made_again_in_its_folder(begun):
    plan = "{notebook: [00, 10], seed: 3}"
    begun(plan, "--keep-going", status=1)
    assert begun(plan, "--resume", status=1) == {
        "001-plan": ["00_good seed=3", "10_bad seed=3", "10_bad seed=3"]}


def test_two_batches_never_mix(begun, capsys):
    assert list(begun(TWO)) == ["001-plan", "002-plan"] and len(begun(TWO)) == 4, "each has its own"
    assert len(begun(TWO, "--resume", name="other")) == 6, "a plan goes on with its own folders only"
    named = "{notebook: 00, run: mine}"
    assert begun(named)["mine"] == begun(named, "--resume")["mine"] == ["00_good"]
    capsys.readouterr()
    for name, words in (("plan", []), ("other", ["--resume"])):
        assert begun(named, *words, name=name, status=1)["mine"] == ["00_good"]
        assert "the run 'mine' is there already" in capsys.readouterr().err


def test_a_batch_that_died_is_waited_for_while_its_notebook_is_at_work(begun, books, tmp_path):  # noqa: F811
    (tmp_path / "plan.yaml").write_text("{notebook: 00, run: mine}")
    code = ("import subprocess, sys; sys.path.insert(0, sys.argv[1]); import fake_notebook\n"
            "from restyle_lib import batch, __main__\n"
            "batch.subprocess.Popen = fake_notebook.instead(subprocess.Popen)\n"
            "__main__.main(['batch', sys.argv[2]])")
    here, slow = os.path.dirname(__file__), os.environ | {"SLOW": "3", "PYTHONPATH": str(ROOT)}
    dead = subprocess.Popen([sys.executable, "-c", code, here, tmp_path / "plan.yaml"], env=slow,
                            stdout=subprocess.DEVNULL)
    made = tmp_path / "outputs" / "mine" / "made.txt"
    while not made.exists():
        assert dead.poll() is None
        time.sleep(0.05)
    os.kill(dead.pid, signal.SIGKILL)
    dead.wait()
    jobs = batch.read(tmp_path / "plan.yaml")
    with pytest.raises(UserError, match="a notebook that it began, is at work in .*mine"):
        batch.run(jobs, "plan", resume=True, say=lambda line: None)
    for _ in range(600):
        if runs.read_facts(made.parent / "00_good")["status"] == "finished":
            break
        time.sleep(0.1)
    time.sleep(0.5)
    assert batch.run(jobs, "plan", resume=True, say=lambda line: None)[0]["status"] == "finished"
    assert made.read_text() == "00_good\n", "its work counts"


@pytest.mark.parametrize("limit, settings, told", [
    ("minutes: 0.02", {"SLOW": "60"}, "was stopped after 0.0 minutes; its limit is 0.02"),
    ("memory_gb: 0.3", {"SLOW": "60", "HEAVY": "400"}, "GB of memory; its limit is 0.3")])
def test_a_run_over_its_limit_is_stopped_and_says_so(begun, monkeypatch, capsys, limit, settings, told):
    monkeypatch.setattr(batch, "GRACE", 0.1)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    clock = time.monotonic()
    begun(f"{{notebook: 00, {limit}}}", status=1)
    assert time.monotonic() - clock < 50 and told in capsys.readouterr().out
    facts = runs.read_facts(runs.run_folder("001-plan") / "00_good")
    assert facts["status"] == "failed" and told in facts["error"]


def test_a_run_is_reproduced_and_compared(begun, tmp_path, capsys):
    begun("{notebook: 00, seed: 4}")
    assert main(["batch", "--reproduce", "001-plan"]) == 0
    assert "against 001-plan, exactly: 4 same" in capsys.readouterr().out
    path = tmp_path / "outputs" / "001-plan" / "00_good" / "records.jsonl"
    path.write_text(path.read_text().replace("1.66667", "1.66668"))
    assert main(["batch", "--reproduce", "001-plan"]) == STATUS["drift"]
    assert main(["batch"]) == 1 and "either a plan" in capsys.readouterr().err
