"""Batches over a cluster of separate processes, one of which is killed while it works."""
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from test_workbook import books  # noqa: F401  (two tiny notebooks: 00_good, and 10_bad which fails)

from restyle_lib import runs
from restyle_lib.__main__ import main
from restyle_lib.cluster import work
from restyle_lib.files import ROOT


@pytest.fixture
def cluster(books, tmp_path, monkeypatch):  # noqa: F811
    """(address, two workers) of a scheduler; all are processes of their own, and start no kernels."""
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{Path(__file__).parent}")
    monkeypatch.setenv("SLOW", "1.5")
    place, dask, begun = tmp_path / "scheduler.json", [sys.executable, "-m", "dask"], []

    def begin(*words):
        begun.append(subprocess.Popen([*dask, *words, "--scheduler-file", place], cwd=tmp_path,
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        return begun[-1]
    begin("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
    while not place.exists():
        time.sleep(0.1)
    address = json.loads(place.read_text())["address"]
    assert main(["batch", _plan(tmp_path), "--scheduler", address]) == 1, "no workers yet"
    workers = [begin("worker", "--nthreads", "1", "--no-nanny", "--preload", "fake_notebook")
               for _ in range(2)]
    from distributed import Client
    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=300)
    yield address, workers
    for process in begun:
        process.kill()
        process.wait()


def _plan(folder):
    (folder / "plan.yaml").write_text("{notebook: 00, seed: [0, 1, 2]}")
    return str(folder / "plan.yaml")


def test_what_a_dead_worker_had_begun_runs_elsewhere(cluster, tmp_path, capsys):
    address, workers = cluster

    def kill():
        dying = psutil.Process(workers[0].pid)
        while not (tree := dying.children(recursive=True)):
            time.sleep(0.05)
        while not (tmp_path / "outputs" / tree[0].cmdline()[-1] / "made.txt").exists():
            time.sleep(0.05)
        for process in (dying, *tree):                    # as a machine that fails: all of it
            process.kill()
    killer = threading.Thread(target=kill)
    killer.start()
    assert main(["batch", _plan(tmp_path), "--scheduler", address]) == 0
    killer.join()
    folders = [runs.run_folder(f"00{n}-plan") for n in (1, 2, 3)]
    facts = [runs.read_facts(folder / "00_good") for folder in folders]
    assert [(f["status"], f["given"]["seed"]) for f in facts] == [("finished", n) for n in range(3)]
    assert all(len(runs.read_records(folder / "00_good")) == 5 for folder in folders)
    starts = [len((folder / "made.txt").read_text().splitlines()) for folder in folders]
    assert sorted(starts) == [1, 1, 2], "one was begun twice"
    assert capsys.readouterr().out.count("finished") == 3 and not list((tmp_path / "outputs").glob(".*.stop"))
    assert main(["batch", _plan(tmp_path), "--resume", "--scheduler", address]) == 0
    assert "3 of 3 runs were finished already" in capsys.readouterr().out


def test_a_scheduler_that_is_not_there_is_named(books, tmp_path, capsys):  # noqa: F811
    assert main(["batch", _plan(tmp_path), "--scheduler", "nowhere"]) == 1
    assert "no scheduler answers at nowhere" in capsys.readouterr().err


def test_a_machine_without_the_outputs_folder_says_so(tmp_path):
    from restyle_lib.batch import Job
    status, said, _ = work(Job("00_good", {}, run="001-plan"), str(tmp_path / ".a.stop"))
    assert status == 1 and "001-plan is not on" in said
