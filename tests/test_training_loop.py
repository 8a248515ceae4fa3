"""The loop: resumed equals uninterrupted, bad numbers and other settings stop it, a killed run can go on."""
import json
import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch

from restyle_lib.errors import UserError
from restyle_lib.training.loop import DataOrder, Loop, load_state, step_seed

pytestmark = pytest.mark.filterwarnings("error")


class Job:
    """A linear model that learns from random numbers; `break_at` turns the loss of that step into NaN."""

    def __init__(self, folder, total=9, break_at=-1, **settings):
        torch.manual_seed(1)
        self.model, self.break_at = torch.nn.Linear(5, 1), break_at
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.1)
        settings = dict(options={"lr": 0.1}, log_every=4, save_every=3, headless=True, seed=7) | settings
        self.loop = Loop(folder, {"model": self.model, "optimizer": self.optimizer}, total=total, **settings)

    def step(self, number):
        loss = (self.model(torch.randn(8, 5)) - 1).square().mean()
        loss = loss * float("nan") if number == self.break_at else loss
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return {"loss": loss}

    def run(self):
        return self.loop.run(self.step)


def equal(a, b):
    """Nested dicts, lists and tensors are the same, bit for bit."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(equal, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def rows(folder):
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [(row["step"], row["loss"]) for row in lines]


def test_resumed_equals_uninterrupted(tmp_path):
    Job(tmp_path / "whole").run()
    Job(tmp_path / "parts", total=5).run()
    assert Job(tmp_path / "parts").run() == 9
    whole, parts = (load_state(tmp_path / name / "state.pt") for name in ("whole", "parts"))
    assert equal(whole["parts"], parts["parts"]) and equal(whole["sums"], parts["sums"])
    assert rows(tmp_path / "whole") == rows(tmp_path / "parts") and len(rows(tmp_path / "whole")) == 2


def test_the_callers_random_state_is_left_alone(tmp_path):
    job = Job(tmp_path)
    before = torch.get_rng_state()
    job.run()
    assert torch.equal(before, torch.get_rng_state())


def test_other_settings_are_refused_and_listed(tmp_path):
    Job(tmp_path).run()
    with pytest.raises(UserError, match=r"lr was 0\.1, now 0\.2"):
        Job(tmp_path, options={"lr": 0.2})
    Job(tmp_path, options={"lr": 0.2}, free=("lr",))
    assert Job(tmp_path, options={"lr": 0.3}, force=True, total=11).run() == 11
    with pytest.raises(UserError, match="already holds a run"):
        Job(tmp_path, resume=False)
    assert Job(tmp_path, resume=False, force=True, total=2).run() == 2


def test_nan_names_the_loss_and_keeps_the_last_good_state(tmp_path):
    with pytest.raises(UserError, match="step 7: 'loss' is nan"):
        Job(tmp_path, break_at=7).run()
    state = load_state(tmp_path / "state.pt")
    assert state["step"] == 6 and all(t.isfinite().all() for t in state["parts"]["model"].values())
    assert Job(tmp_path).run() == 9


def test_every_term_that_is_not_finite_is_named(tmp_path):
    job = Job(tmp_path)
    with pytest.raises(UserError, match="step 0: 'loss' is nan, 'identity' is inf; the last good state"):
        job.loop.run(lambda number: {"loss": float("nan"), "l2": 1.0, "identity": float("inf")})


def test_broken_weights_are_never_saved(tmp_path):
    job = Job(tmp_path, total=3)
    job.model.bias.data.fill_(float("inf"))
    with pytest.raises(UserError, match="model.bias"):
        job.loop.save()
    assert not (tmp_path / "state.pt").exists()


def test_a_time_limit_stops_saves_and_resumes(tmp_path):
    assert Job(tmp_path, max_seconds=1e-9).run() == 1
    assert load_state(tmp_path / "state.pt")["step"] == 1
    assert Job(tmp_path).run() == 9


def test_hooks_and_saves_come_when_due(tmp_path):
    seen, saved = [], []
    Job(tmp_path, hooks=[(4, seen.append)], on_save=saved.append).run()
    assert seen == [4, 8, 9] and saved == [3, 6, 9]


def test_interrupt_saves_first(tmp_path):
    job = Job(tmp_path, hooks=[(2, lambda step: os.kill(os.getpid(), signal.SIGINT))])
    with pytest.raises(KeyboardInterrupt):
        job.run()
    assert load_state(tmp_path / "state.pt")["step"] == 2
    with pytest.raises(SystemExit):
        Job(tmp_path, hooks=[(5, lambda step: os.kill(os.getpid(), signal.SIGTERM))]).run()
    assert load_state(tmp_path / "state.pt")["step"] == 5


def test_a_killed_process_leaves_a_state_that_goes_on(tmp_path):
    code = """
        import os, signal, sys
        sys.path.insert(0, sys.argv[2])
        from test_training_loop import Job
        Job(sys.argv[1], hooks=[(8, lambda step: os.kill(os.getpid(), signal.SIGKILL))]).run()
    """
    here = os.path.dirname(os.path.abspath(__file__))
    environment = os.environ | {"PYTHONPATH": os.path.dirname(here)}
    command = [sys.executable, "-c", textwrap.dedent(code), tmp_path / "cut", here]
    done = subprocess.run(command, env=environment)
    assert done.returncode == -signal.SIGKILL and load_state(tmp_path / "cut" / "state.pt")["step"] == 6
    assert rows(tmp_path / "cut")[-1][0] == 8  # logged beyond the saved state: dropped on resuming
    Job(tmp_path / "cut").run()
    Job(tmp_path / "whole").run()
    assert rows(tmp_path / "cut") == rows(tmp_path / "whole")
    states = [load_state(tmp_path / name / "state.pt")["parts"] for name in ("cut", "whole")]
    assert equal(*states)


def test_an_unreadable_state_is_one_sentence(tmp_path):
    (tmp_path / "state.pt").write_bytes(b"half a file")
    with pytest.raises(UserError, match="cannot be read"):
        Job(tmp_path)
    torch.save({"model": 1}, tmp_path / "state.pt")
    with pytest.raises(UserError, match="not a training state"):
        Job(tmp_path)


def test_data_order_is_a_function_of_seed_and_step():
    order = DataOrder(7, 3, seed=5)
    forward = np.concatenate([order(step) for step in range(14)])
    backward = np.concatenate([DataOrder(7, 3, seed=5)(step) for step in reversed(range(14))][::-1])
    assert (forward == backward).all()
    assert all(sorted(epoch) == list(range(7)) for epoch in forward.reshape(6, 7))
    assert len({tuple(epoch) for epoch in forward.reshape(6, 7)}) > 1
    assert step_seed(1, 2) == step_seed(1, 2)
    assert len({step_seed(1, 2), step_seed(2, 1), step_seed(1, 2, 1)}) == 3
    with pytest.raises(UserError, match="2 images, fewer than one batch of 3"):
        DataOrder(2, 3, seed=0)
