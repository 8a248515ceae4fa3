"""Ranger: its degenerate case, its parts, and resuming."""
import copy

import pytest
import torch

from restyle_lib.optimizers import Ranger, rectify


def run(make, steps=15, shape=(4, 3)):
    torch.manual_seed(0)
    parameter = torch.nn.Parameter(torch.randn(shape))
    optimizer, path = make([parameter]), []
    for _ in range(steps):
        optimizer.zero_grad()
        (parameter - torch.arange(3.0)).square().sum().backward()
        optimizer.step()
        path.append(parameter.detach().clone())
    return torch.stack(path)


@pytest.mark.parametrize("betas", [(0.95, 0.999), (0.9, 0.95)])
def test_without_lookahead_and_centralisation_it_is_radam(betas):
    ours = run(lambda p: Ranger(p, lr=0.05, alpha=1.0, centralise=False, betas=betas))
    theirs = run(lambda p: torch.optim.RAdam(p, lr=0.05, betas=betas, eps=1e-5))
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_lookahead_returns_halfway_to_the_slow_weights():
    path = run(lambda p: Ranger(p, lr=0.05, centralise=False), 6)
    fast = run(lambda p: Ranger(p, lr=0.05, centralise=False, alpha=1.0), 6)
    torch.manual_seed(0)
    start = torch.randn(4, 3)
    assert torch.equal(path[:5], fast[:5]) and torch.allclose(path[5], (start + fast[5]) / 2)


def test_centralised_gradients_keep_the_mean_of_every_row():
    path = run(lambda p: Ranger(p, lr=0.05), 5)  # five steps without the division by the second moment
    assert torch.allclose(path.mean(2), path[0].mean(1).expand(5, 4), atol=1e-6)
    vector = run(lambda p: Ranger(p, lr=0.05), shape=(3,))
    assert torch.equal(vector, run(lambda p: Ranger(p, lr=0.05, centralise=False), shape=(3,)))


def test_rectification_waits_until_the_variance_is_tractable():
    assert [step for step in range(1, 20) if rectify(step, 0.999) is None] == [1, 2, 3, 4, 5]
    assert abs(rectify(100_000, 0.999) - 1) < 1e-3


def test_weight_decay_shrinks_unused_weights():
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = Ranger([parameter], lr=0.1, weight_decay=0.5)
    parameter.grad = torch.zeros(3)
    optimizer.step()
    assert torch.allclose(parameter, torch.full((3,), 0.95))


def test_resuming_continues_bit_for_bit():
    torch.manual_seed(0)
    gradients = torch.randn(14, 4, 3)

    def steps(optimizer, parameter, part):
        for gradient in part:
            parameter.grad = gradient.clone()
            optimizer.step()
        return parameter

    whole = torch.nn.Parameter(torch.ones(4, 3))
    steps(Ranger([whole], lr=0.1), whole, gradients)
    half = torch.nn.Parameter(torch.ones(4, 3))
    optimizer = Ranger([half], lr=0.1)
    steps(optimizer, half, gradients[:8])
    rest = torch.nn.Parameter(half.detach().clone())
    resumed = Ranger([rest], lr=0.5)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert torch.equal(steps(resumed, rest, gradients[8:]), whole)


def test_a_closure_is_called_and_its_loss_returned():
    parameter = torch.nn.Parameter(torch.ones(2))

    def closure():
        loss = parameter.square().sum()
        loss.backward()
        return loss

    assert Ranger([parameter]).step(closure) == 2
