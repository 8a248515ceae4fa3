"""Run folders: names, records, provenance, lookup."""

import json
from types import SimpleNamespace

import pytest

from restyle_lib import profiles, runs
from restyle_lib.errors import UserError


@pytest.fixture(autouse=True)
def outputs(tmp_path, monkeypatch):
    monkeypatch.setenv("RESTYLE_OUTPUTS", str(tmp_path / "outputs"))
    return tmp_path / "outputs"


def make(name="", notebook="00_start_here", seed=0, **sizes):
    folder = runs.new_run("smoke", name)
    parameters = {"profile": "smoke", "seed": seed, "device": "cpu", "run": folder.name, "domain": "avatars"}
    return runs.Run(folder / notebook, parameters, SimpleNamespace(**sizes))


def test_runs_are_numbered_and_names_are_kept(outputs):
    assert runs.new_run("smoke").name == "001-smoke"
    assert runs.new_run("quick").name == "002-quick"
    assert runs.new_run("quick", "mine").name == "mine" == runs.new_run("quick", "mine").name
    assert runs.new_run("smoke").name == "003-smoke"


@pytest.mark.parametrize("name", ["gallery", "../x", "a b", ".hidden", "a/b"])
def test_unusable_names_are_refused(name):
    with pytest.raises(UserError, match="not usable"):
        runs.new_run("smoke", name)


def test_outputs_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RESTYLE_OUTPUTS", str(tmp_path / "file"))
    with pytest.raises(UserError, match="RESTYLE_OUTPUTS"):
        runs.new_run("smoke")


def test_records_come_back_with_what_they_were_measured_on():
    run = make(seed=7)
    run.record("l2", 0.25, "mean squared difference", step=3, n=10)
    run.record("better", True)
    run.record("bad", float("nan"))
    first, second, third = runs.read_records(run.folder)
    assert first == {
        "name": "l2",
        "value": 0.25,
        "unit": "mean squared difference",
        "step": 3,
        "n": 10,
        "seed": 7,
    }
    assert second["value"] is True and third["value"] is None
    with pytest.raises(UserError, match="one number"):
        run.record("list", [1, 2])


def test_a_run_says_what_decides_it():
    facts = json.loads((make(images=3).folder / "run.json").read_text())
    assert facts["status"] == "running" and facts["sizes"] == {"images": 3}
    assert {
        "commit",
        "dirty",
        "python",
        "platform",
        "hardware",
        "packages",
        "files",
        "command",
    } <= facts.keys()
    assert facts["packages"]["torch"] and "data_manifests/domains/avatars.yaml" in facts["files"]


def test_finish_prints_checks_and_counts_and_writes_the_index(capsys):
    run = make()
    run.record("a", 1)
    run.finish(falls_at_every_step=True)
    assert capsys.readouterr().out.splitlines() == [
        "falls at every step: True",
        "records: 1, all finite: True",
        "figures: 0",
    ]
    facts = runs.read_facts(run.folder)
    assert facts["status"] == "finished" and facts["checks"] == {"falls at every step": True}
    assert facts["peak_memory_mb"] > 1 and (run.folder.parent / "index.html").exists()


def test_a_second_start_in_a_folder_begins_anew():
    run = make("same")
    run.record("a", 1)
    assert runs.read_records(make("same").folder) == []


def test_find_takes_the_newest_that_fits():
    first, second = make("one", seed=1), make("two", seed=2)
    for run, when in ((first, "2026-01-01"), (second, "2026-01-02")):
        run.facts["started"] = when
        run.finish()
    make("three", seed=3)
    assert runs.find("00_start_here") == second.folder
    assert runs.find("00_start_here", seed=1) == first.folder == runs.find("00_start_here", run="one")
    with pytest.raises(UserError, match="run 00_start_here seed=3"):
        runs.find("00_start_here", seed=3)
    assert [p.name for p in runs.list_runs()] and runs.run_folder("two") == second.folder.parent
    with pytest.raises(UserError, match="did you mean 'two'"):
        runs.run_folder("tow")


def test_start_resolves_seeds_and_says_so(capsys):
    import torch

    run = runs.start("00_start_here", profile="quick", seed=5, device="cpu", run="r", images=3)
    assert run.sizes.images == 3 and run.sizes.steps == profiles.sizes("00_start_here", "quick", {}).steps
    assert torch.initial_seed() == 5 and not run.interactive
    assert "profile quick · seed 5 · device cpu · domain avatars" in capsys.readouterr().out
    again = runs.start("00_start_here", profile="quick", seed=5, device="cpu", run=run)
    assert again.folder == run.folder


@pytest.mark.parametrize(
    "wrong, told",
    [
        ({"profile": "quik"}, "did you mean 'quick'"),
        ({"device": "gpu"}, "accepted: auto, cpu"),
        ({"domain": "avatar"}, "did you mean 'avatars'"),
        ({"image": 3}, "did you mean 'images'"),
        ({"images": -1}, "whole number"),
        ({"images": 1.5}, "whole number"),
        ({"device": "cuda:77"}, "CUDA|ordinal"),
    ],
)
def test_start_refuses(wrong, told, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError, match=told):
        runs.start("00_start_here", **{"device": "cpu", **wrong})


def test_gpu_profiles_need_a_gpu_or_a_word(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError, match="device=cpu to go on"):
        runs.choose_device("auto", "gpu")
    assert runs.choose_device("cpu", "gpu") == runs.choose_device("auto", "quick") == "cpu"


def test_sizes_come_from_the_profile_unless_given():
    table = profiles.sizes("00_start_here", "smoke", {"images": 0, "steps": 9})
    assert table.steps == 9 and table.images == profiles.sizes("00_start_here", "smoke", {}).images


def test_a_domain_may_be_an_absolute_path(tmp_path):
    (tmp_path / "mine.yaml").write_text("name: mine")
    files = runs.provenance(str(tmp_path / "mine.yaml"))["files"]
    assert [name for name in files if name.endswith("mine.yaml")] and len(files) == 1
