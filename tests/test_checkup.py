"""What a training shows in its first minutes, on a toy generator of 16 pixels."""
import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from test_train_encoder import DOMAIN, TINY, generator, pictures, train

from restyle_lib import metrics
from restyle_lib.checkpoints.own import load_model
from restyle_lib.domains import load_domain
from restyle_lib.errors import UserError
from restyle_lib.training import checkup
from restyle_lib.training.small import pooled, small_domain, stages

CONFIG = dataclasses.replace(TINY, lr=5e-3, batch_norm="train")
PARTS = {"domain": DOMAIN, "generator": generator(), "networks": {}}


@pytest.mark.parametrize(("lr", "passes"), [(5e-3, True), (0.0, False)])
def test_eight_images_are_learnt_by_heart_unless_nothing_is_learnt(lr, passes):
    eight, before = pictures(8), torch.get_rng_state()
    found = checkup.overfit(eight, dataclasses.replace(CONFIG, lr=lr), iterations=25, **PARTS)
    assert found["passes"] is passes and (found["share"] <= found["bound"]) is passes
    assert len(found["curve"]) == 25 and found["share"] == found["after"] / found["before"]
    assert torch.equal(before, torch.get_rng_state())


def test_the_pace_of_a_trainer():
    trainer = checkup.encoder_trainer(pictures(8), CONFIG, **PARTS)
    found = checkup.pace(trainer, iterations=2)
    assert found["seconds"] > 0 and 0 < found["waiting"] < 1 and found["memory"] > 0


def test_a_trend_is_the_slope_of_the_later_half():
    steps = np.arange(40)
    change, error = checkup.trend(steps, np.r_[np.full(20, 9.0), np.exp(-0.01 * steps[:20])])
    assert change == pytest.approx(100 * (math.exp(-1) - 1)) and error < 1e-6
    change, error = checkup.trend(steps, 1 + 0.1 * np.random.default_rng(0).standard_normal(40))
    assert abs(change) < 3 * error
    assert math.isnan(checkup.trend(steps[:2], steps[1:3])[0])


GOOD = dict(hours=3.0, limit=12.0, change=-5.0, error=1.0, closer=0.9, share=0.3, bound=0.5)


@pytest.mark.parametrize("bad", [{}, {"hours": 13.0}, {"change": -1.5}, {"change": math.nan}, {"closer": 0.5},
                                 {"share": 0.6}])
def test_go_only_if_every_question_is_answered_well(bad):
    verdicts = [row["verdict"] for row in checkup.decide(**GOOD | bad)]
    assert verdicts.count("NO-GO") == len(bad) and len(verdicts) == 4


def test_a_run_folder_is_read_back(tmp_path):
    train(tmp_path, held_out=pictures(8)[:5], masks={"all": np.ones((5, 16, 16))}, generator=generator())
    log = checkup.read_log(tmp_path)
    assert log["loss"][0].tolist() == [1, 2, 3, 4] and log["loss"][1].dtype == float
    assert checkup.read_log(tmp_path, "validation.jsonl")["l2"][1].shape == (3, 4)
    inside = checkup.read_log(tmp_path, "validation.jsonl")["all"][1]
    assert np.allclose(inside, checkup.read_log(tmp_path, "validation.jsonl")["l2"][1])
    grid = checkup.read_grid(tmp_path / "samples/000000004.png", (16, 16))
    assert grid.shape == (5, 5, 16, 16, 3) and np.array_equal(grid[:, 0], pictures(8)[:5])
    with pytest.raises(UserError, match="nothing has been logged"):
        checkup.read_log(tmp_path / "none")
    assert {"loss", "l2_3"} <= set(json.loads((tmp_path / "log.jsonl").read_text().splitlines()[0]))


def test_the_nearest_is_found_in_l2_and_by_another_distance():
    images = np.random.default_rng(0).integers(0, 256, (20, 6, 6, 3), dtype=np.uint8)
    index, distance = metrics.nearest(images[[7, 3]], images, batch=6)
    assert index.tolist() == [7, 3] and distance.max() < 1e-4
    pairs = metrics.to_floats(images)
    index, distance = metrics.nearest(images[:4], images[4:], batch=5)
    everything = (pairs[:4, None] - pairs[None, 4:]).square().mean((2, 3, 4))
    assert torch.equal(index, everything.argmin(1))
    torch.testing.assert_close(distance, everything.min(1).values)
    found = metrics.nearest(images[:4], images[4:], shortlist=16,
                            distance=lambda a, b: (a - b).abs().mean((1, 2, 3)))
    wanted = (pairs[:4, None] - pairs[None, 4:]).abs().mean((2, 3, 4)).min(1)
    assert torch.equal(found[0], wanted.indices)
    torch.testing.assert_close(found[1], wanted.values)


def test_a_smaller_domain_keeps_the_proportions():
    small = small_domain(load_domain("minicars"), 16, train="toons")
    assert (small.resolution, small.crop, small.encoder_size) == (16, (2, 14, 0, 16), (12, 16))
    assert small.train == "toons" and small.generator is None and not small.losses
    for side in (24, 128, 4):
        with pytest.raises(UserError, match="no whole fraction"):
            small_domain(load_domain("minicars"), side)
    images = np.arange(2 * 4 * 8 * 3, dtype=np.uint8).reshape(2, 4, 8, 3)
    assert pooled(images, (4, 8)) is images
    assert pooled(images, (2, 4))[1, 0, 1].tolist() == images[1, :2, 2:4].mean((0, 1)).round().tolist()
    with pytest.raises(UserError, match="cannot be averaged"):
        pooled(images, (3, 4))


def test_stages_double_and_end_at_the_budget():
    assert stages(1000, 4, 10) == [120, 250, 500, 1000] and stages(9, 5, 10) == [10]


def test_other_settings_on_resuming_are_listed_and_refused(tmp_path):
    train(tmp_path, dataclasses.replace(TINY, iterations=1))
    other = dataclasses.replace(TINY, iterations=2, lr=2e-3)
    with pytest.raises(UserError, match=r"iterations was 1, now 2; lr was 0\.001, now 0\.002"):
        train(tmp_path, other)
    train(tmp_path, other, force=True)
    assert load_model(tmp_path / "last")[1]["facts"]["iterations"] == 2
