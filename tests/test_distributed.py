"""Two processes are as good as one: training, inversion, both killed and begun again by torchrun's agent.

They are begun as torchrun begins its own, by this file as a script; but forked, as imports take long."""
import csv
import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import test_invert
import tiny
import tiny_encoder
import torch
from torch import distributed as dist

from restyle_lib import distributed, invert, journal
from restyle_lib.__main__ import main as command
from restyle_lib.errors import UserError
from restyle_lib.training.encoder import EncoderTrainer
from restyle_lib.trajectory import Trajectory

HERE = Path(__file__).resolve().parent
COUNT = 11


def one_update(folder):
    """Weights after each of four iterations of three steps, and how often gradients were exchanged."""
    config = dataclasses.replace(tiny_encoder.TINY, batch=4, delta_norm=1e-3)
    trainer = tiny_encoder.trainer(config, {"l2": 1.0, "perceptual": 0.8, "identity": 0.1, "w_norm": 0.01},
                                   **tiny_encoder.networks())
    exchange, exchanged, weights = dist.all_reduce, [], []

    def counted(*a, **k):
        exchanged.append(1)
        return exchange(*a, **k)
    dist.all_reduce = counted
    with distributed.averaging():
        for number in range(4):
            trainer.step(number)
            weights.append(torch.cat([p.detach().flatten() for p in trainer.encoder.parameters()]).numpy())
    dist.all_reduce = exchange
    name = f"{distributed.size()}.{distributed.rank()}.npz"
    np.savez(folder / name, weights=weights, exchanged=len(exchanged))


def training(out, dies):
    """A whole training; where `dies`, the second process is killed in its first life, in the third step."""
    step, mark = EncoderTrainer.step, out.with_suffix(".died")

    def mortal(self, number):
        if dies and number == 2 and distributed.rank() == 1 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return step(self, number)
    EncoderTrainer.step = mortal
    config = dataclasses.replace(tiny_encoder.TINY, batch=4, steps=2, save_every=1, validate_every=4,
                                 noise="random")
    tiny_encoder.train(out, config)


def inversion(folder, out, dies):
    """An inversion of eleven images; where `dies`, the second process is killed in its first life."""
    add, mark = journal.Journal.add, out.with_suffix(".died")

    def mortal(self, names, digests, rows):
        if dies and len(self.done) >= 2 and distributed.rank() == 1 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        add(self, names, digests, rows)
    journal.Journal.add, journal.SHARD = mortal, 4
    summary = invert.invert([folder / "photos"], tiny.inverter(), out, steps=2, batch=2, progress=False)
    if distributed.rank() == 0:
        (out.parent / f"{out.name}.said").write_text(f"{summary.finished} {summary.kept} {len(summary.bad)}")


def work(folder):
    """What each of two processes does, in each of its three lives; what is finished costs nothing again."""
    distributed.start("cpu")
    if not (folder / f"2.{distributed.rank()}.npz").exists():
        one_update(folder)
    training(folder / "whole", False)
    training(folder / "killed", True)
    inversion(folder, folder / "two", True)


def main(folder):
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    torch.set_num_threads(1)
    for number in range(COUNT):
        test_invert.picture(folder / "photos" / f"{number:02d}.png")
    (folder / "photos" / "broken.png").write_bytes(b"no image")
    settings = LaunchConfig(1, 1, 2, rdzv_backend="c10d", rdzv_endpoint="localhost:0", start_method="fork",
                            max_restarts=2, monitor_interval=0.05, run_id="work")
    elastic_launch(settings, work)(folder)
    test_invert.picture(folder / "photos" / "03.png")
    inversion(folder, folder / "two", False)
    inversion(folder, folder / "one", False)
    one_update(folder)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("distributed")
    paths = os.pathsep.join([str(HERE.parent), str(HERE)])
    done = subprocess.run([sys.executable, __file__, folder], capture_output=True, text=True, check=False,
                          env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths})
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_two_processes_at_half_the_batch_are_one_at_the_full_batch(made):
    one, *two = (np.load(made / f"{name}.npz") for name in ("1.0", "2.0", "2.1"))
    assert np.abs(np.diff(one["weights"], axis=0)).max(1).min() > 1e-4, "each iteration moves the weights"
    for part in two:
        assert np.abs(part["weights"] - one["weights"]).max(1).max() < 1e-5
        assert part["exchanged"] == 4, "once an iteration, after its three backward passes"
    assert np.array_equal(two[0]["weights"], two[1]["weights"]) and one["exchanged"] == 0


def test_a_killed_process_goes_on_from_the_last_state(made):
    assert (made / "killed.died").exists()
    whole, killed = tiny_encoder.tensors(made / "whole/last"), tiny_encoder.tensors(made / "killed/last")
    assert all(torch.equal(whole[name], killed[name]) for name in whole)
    assert (made / "whole/validation.jsonl").read_text() == (made / "killed/validation.jsonl").read_text()
    assert '"processes": 2' in (made / "killed/environment.json").read_text()


def rows(path):
    with open(path, newline="", encoding="utf-8") as stream:
        return sorted(csv.reader(stream))


def test_shares_of_an_inversion_join_without_duplicates_or_gaps(made):
    assert (made / "two.died").exists()
    assert (made / "two.said").read_text() == f"1 {COUNT - 1} 1", "only the changed image was inverted again"
    assert (made / "one.said").read_text() == f"{COUNT} 0 1"
    one, two = made / "one", made / "two"
    assert rows(one / "finished.csv") == rows(two / "finished.csv")
    for a, b in zip(rows(one / "metrics.csv"), rows(two / "metrics.csv"), strict=True):
        assert a[:2] == b[:2] and (a[2] == b[2] or float(a[2]) == pytest.approx(float(b[2]), abs=1e-5))
    assert sorted(p.name for p in two.glob("*.csv")) == ["finished.csv", "metrics.csv"]
    assert not list(two.glob("*/trajectory.npz"))
    names = [name for p in sorted(two.glob("trajectories_*.npz")) for name in Trajectory.load(p).names]
    assert sorted(set(names)) == [f"{n:02d}.png" for n in range(COUNT)]


def test_a_process_needs_its_share(monkeypatch):
    monkeypatch.setattr(distributed, "size", lambda: 3)
    monkeypatch.setattr(distributed, "rank", lambda: 2)
    assert list(distributed.share(range(6))) == [4, 5]
    with pytest.raises(UserError, match="a batch of 8 has no 3 equal parts"):
        distributed.share(range(8))
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert command(["train", "world", "--out", "x"]) == command(["train", "ablation", "--out", "x"]) == 1


if __name__ == "__main__":
    main(Path(sys.argv[1]))
