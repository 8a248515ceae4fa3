"""The figures of the loop, and what the notebooks measure for them."""
import numpy as np
import torch

import restyle_lib as rl
from restyle_lib import data, figures_loop, metrics


def test_the_diagram_is_of_the_tensors_given():
    image, before, after = torch.rand(3, 3, 6, 8)
    residual, latent = torch.rand(4, 5), torch.rand(4, 5)
    figure = figures_loop.loop_diagram(image, before, after, residual, latent, 2)
    rows = {row["tensor"]: row for row in figure.rows}
    assert list(rows) == ["x", "y_2", "x_2", "Delta_2", "w_2", "w_3", "y_3"]
    assert rows["x_2"]["shape"] == "6x6x8" and rows["w_3"]["max"] == (residual + latent).max()


def test_errors_are_means_over_the_images_that_have_the_region():
    table = np.array([[1.0, 3.0, np.nan], [0.5, 0.5, np.nan]])
    figure = figures_loop.errors({"eyes": table}, "L2", trained=1)
    assert [(row["step"], row["L2"], row["n"]) for row in figure.rows] == [(0, 2.0, 2), (1, 0.5, 2)]
    assert all(row["low"] <= row["L2"] <= row["high"] for row in figure.rows)


def test_an_error_for_each_step_and_image():
    images, frames = torch.rand(3, 1, 4, 4), torch.rand(5, 3, 1, 4, 4)
    found = metrics.by_step(metrics.l2, rl.Trajectory(frames), images)
    assert found.shape == (5, 3) and torch.equal(found[2], metrics.l2(frames[2], images))
    inside = metrics.by_step(metrics.region_l2, frames, images, torch.ones(3, 4, 4))
    assert torch.allclose(inside, found)


def test_masks_of_a_domain_belong_to_its_images():
    masks = data.domain_masks("avatars", indices=[3])
    assert {"eyes", "mouth"} <= set(masks) and masks["eyes"].shape == (1, 64, 64)
    assert torch.allclose(sum(masks.values()), torch.ones(()), atol=1e-4)
