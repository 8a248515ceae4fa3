"""The command line: cheap where it must be, one sentence for every failure."""

import subprocess
import sys

import pytest

from restyle_lib import runs
from restyle_lib.__main__ import main


@pytest.fixture(autouse=True)
def outputs(tmp_path, monkeypatch):
    monkeypatch.setenv("RESTYLE_OUTPUTS", str(tmp_path / "outputs"))
    return tmp_path / "outputs"


def test_list_show_and_help_load_nothing_heavy():
    heavy = [
        "torch",
        "papermill",
        "matplotlib",
        "nbconvert",
        "pandas",
        "torchvision",
        "ipywidgets",
        "sklearn",
    ]
    code = (
        "import sys\nfrom restyle_lib.__main__ import main\n"
        "assert main(['list']) == main(['show', '00']) == main(['--help']) == 0\n"
        "assert main(['train', '--help']) == main(['invert', '--help']) == 0\n"
        f"print('loaded', [m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "loaded []"
    assert "00_start_here" in done.stdout and "data_manifests/domains" in done.stdout


def test_as_a_program():
    done = subprocess.run(
        [sys.executable, "-m", "restyle_lib", "lst"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and done.stderr.startswith(
        "error: unknown command 'lst'; did you mean 'list'?"
    )


@pytest.mark.parametrize(
    "words, told",
    [
        ("lst", "did you mean 'list'"),
        ("show 77", "unknown notebook '77'; accepted: 00_start_here"),
        ("show", "Missing argument"),
        ("run", "Missing argument"),
        ("run seed=3", "name a notebook, or all"),
        ("run 00 sed=3", "did you mean 'seed'"),
        ("run 00 seed=three", "whole number"),
        ("run 00 images", "unknown notebook"),
        ("run 00 --profile smoky", "did you mean 'smoke'"),
        ("run 00 --profil smoke", "No such option"),
        ("run 00 domain=avatar", "did you mean 'avatars'"),
        ("run 00 device=gpu", "accepted: auto, cpu"),
        ("run all steps=-1", "whole number"),
        ("run 00 --run gallery", "not usable"),
        ("prepare 00 seed=x", "whole number"),
        ("report nothing", "there is no run"),
        ("clean", "--older-than"),
        ("clean nothing", "there is no run"),
        ("data export nowhere --out x", "accepted: afhq-wild, avatars"),
        ("data lst", "did you mean 'list'"),
        ("inspect no/such/file", "no/such/file"),
        ("train encodr", "did you mean 'encoder'"),
        ("train generator --out x total_image=3", "did you mean 'total_images'"),
    ],
)
def test_a_failure_is_one_sentence(words, told, capsys, outputs):
    assert main(words.split()) != 0
    told_lines = capsys.readouterr().err.splitlines()
    assert len(told_lines) == 1 and told_lines[0].startswith("error: ") and told in told_lines[0]
    assert not outputs.exists(), "refused before anything runs"


def test_debug_shows_the_traceback_wherever_it_stands(capsys):
    from restyle_lib.errors import UserError

    for words in (["--debug", "show", "77"], ["show", "77", "--debug"]):
        with pytest.raises(UserError):
            main(words)


def test_an_unexpected_failure_is_one_sentence_too(monkeypatch, capsys):
    monkeypatch.setattr("restyle_lib.workbook.notebooks", lambda: 1 / 0)
    assert main(["list"]) == 1
    assert (
        capsys.readouterr().err.splitlines()[-1]
        == "error: ZeroDivisionError: division by zero (--debug shows where)"
    )


def test_an_interruption_says_that_results_are_kept(monkeypatch, capsys):
    def stop():
        raise KeyboardInterrupt

    monkeypatch.setattr("restyle_lib.workbook.notebooks", stop)
    assert main(["list"]) == 130 and "what was finished is kept" in capsys.readouterr().err


def test_data_and_weights_are_listed(capsys):
    assert main(["data", "list"]) == main(["weights", "list"]) == 0
    out = capsys.readouterr().out
    assert "avatars" in out and "licence" in out and "networks in" in out


def test_clean_deletes_what_is_named_and_what_is_old(outputs, capsys):
    for name in ("one", "two"):
        (outputs / name / "00_start_here").mkdir(parents=True)
        (outputs / name / "00_start_here" / "run.json").write_text("{}")
    (outputs / "gallery").mkdir()
    assert main(["clean", "one", "--yes"]) == 0 and not (outputs / "one").exists()
    assert main(["clean", "--older-than", "1", "--yes"]) == 0 and (outputs / "two").exists()
    assert main(["clean", "--older-than", "0", "--yes"]) == 0 and not (outputs / "two").exists()
    assert (outputs / "gallery").exists() and runs.list_runs() == []


def test_a_failed_notebook_makes_the_status_non_zero(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(
        "restyle_lib.workbook.run", lambda *a, **k: (tmp_path, {"00": None, "10": "10 failed"})
    )
    assert main(["run", "00"]) == 1
    told = capsys.readouterr()
    assert "index.html" in told.out and told.err == "error: 1 of 2 notebooks failed: 10\n"
