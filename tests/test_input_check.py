"""The check of inputs: its limits come from held-out images, and what is no avatar is warned about."""
import numpy as np
import pytest
import tiny
import torch

import restyle_lib as rl
from restyle_lib import data, figures_analysis, input_check
from restyle_lib.input_check import SLACK, SURE, check_inputs


@pytest.fixture(scope="module")
def inverter():
    return rl.load_inverter("avatars/restyle-psp")


def photograph_like(side=64):
    """Light and shade over many scales, as in photographs: a spectrum that falls with frequency."""
    noise = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    grid = torch.fft.fftfreq(side)
    spectrum = torch.fft.fft2(noise) / (grid[:, None].square() + grid.square() + side**-2).sqrt()
    image = torch.fft.ifft2(spectrum).real
    return (image / image.std() * 0.5).clamp(-1, 1)


def test_an_avatar_passes_and_what_is_none_is_warned_about(inverter):
    held_out = rl.domain_images("avatars", "val", indices=np.array([8, 9]))
    car = data.to_tensor(data.images("minicars", "test", (64, 64), count=1))
    check = check_inputs(inverter, torch.cat([held_out, photograph_like(), car]), steps=3, count=12)
    assert check.outside.tolist() == [False, False, True, True]
    told = list(check.warnings(["a", "b", "photo.jpg", "car.png"]))
    assert len(told) == 2 and told[0].startswith("WARNING: photo.jpg") and "12 held-out images" in told[0]
    assert "L2" in told[0] and "perceptual" in told[0], "by both measures"
    figure = figures_analysis.input_check(check, "abcd")
    over = {row["image"] for row in figure.rows if row["error"] > row["limit"] > row["usual"] > 0}
    assert len(figure.rows) == 8 and over == {"c", "d"}


def test_limits_follow_from_the_errors_of_the_reference(inverter):
    check = check_inputs(inverter, photograph_like(), steps=2, count=6)
    again = inverter(check.reference, 2)
    logs = (again.images[-1] - check.reference).square().mean((1, 2, 3)).log()
    limit = float((logs.mean() + SURE * logs.std(correction=0)).exp())
    assert check.limits["L2"] == pytest.approx(limit, rel=1e-3) and len(check.reference) == 6
    assert torch.equal(check.trajectory.images, inverter(photograph_like(), 2).images)


def test_without_a_dataset_samples_stand_in_and_it_is_said():
    inverter = tiny.inverter()
    check = check_inputs(inverter, tiny.images(), steps=2, count=8)
    assert "8 samples of the generator" in check.basis and check.limits.keys() == {"L2"}
    drawn = inverter(check.reference, 2).images[-1]
    logs = (SLACK["L2"] * (drawn - check.reference).square().mean((1, 2, 3))).log()
    limit = float((logs.mean() + SURE * logs.std(correction=0)).exp())
    assert check.limits["L2"] == pytest.approx(limit, rel=1e-3)
    assert torch.equal(check.reference, input_check._samples(inverter, 8, 0, 3)), "seeded, whatever the batch"
