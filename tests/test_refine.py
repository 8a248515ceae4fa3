"""Identities of Equations 1-4."""
import pytest
import tiny
import torch

from restyle_lib.errors import UserError
from restyle_lib.refine import one_pass, refine, step

K, D = 6, 8


def zero(pair):
    return torch.zeros(len(pair), K, D)


def draw(latents):
    """A stand-in for a generator: images [B, 3, 8, 8] that show the latents' first values."""
    return torch.tanh(latents.flatten(1)[:, :24].repeat(1, 8).view(-1, 3, 8, 8))


def halving(pair):
    """Residuals that move each latent half of the way to its target, image by image at another pace."""
    target, now = pair[:, 0, 0, 0], pair[:, 3, 0, 0].atanh()
    return (0.5 * (target - now))[:, None, None].expand(-1, K, D)


def test_one_step_of_a_six_channel_encoder_is_the_single_pass():
    inverter, images = tiny.inverter(), tiny.images()
    pair = torch.cat([images, inverter.start_image.expand_as(images)], 1)
    trajectory = inverter(images, steps=1)
    assert torch.equal(trajectory.latents[1], inverter.start + inverter.encoder(pair))
    assert torch.equal(trajectory.images[1], inverter.synthesize(trajectory.latents[1]))


def test_one_step_of_a_wrapped_three_channel_encoder_is_the_single_pass():
    inverter, images = tiny.inverter(single=True), tiny.images()
    trajectory = refine(one_pass(inverter.encoder, 3), inverter.synthesize, images, inverter.start, steps=1)
    assert torch.equal(trajectory.latents[1], inverter.start + inverter.encoder(images))
    assert torch.equal(inverter(images, steps=1).latents, trajectory.latents)


def test_zero_residual_leaves_w_unchanged():
    start = torch.randn(K, D)
    trajectory = refine(zero, draw, tiny.images(), start, steps=4)
    assert torch.equal(trajectory.latents, start.expand(5, 3, K, D))
    assert trajectory.stopped_at.tolist() == [4, 4, 4]


def test_residuals_sum_to_the_way_from_start_to_end():
    inverter, residuals = tiny.inverter(), []
    trajectory = inverter(tiny.images(), steps=5, callback=lambda t, now, _: residuals.append(now.residual))
    assert torch.allclose(sum(residuals), trajectory.latents[-1] - trajectory.latents[0], atol=1e-6)
    assert trajectory.step.tolist() == [0, 1, 2, 3, 4, 5] and trajectory.seconds is None


def test_no_gradient_flows_between_steps():
    inverter, images = tiny.inverter(), tiny.images()
    inverter.encoder.requires_grad_(True)
    start = inverter.start.expand(3, -1, -1)
    first = step(inverter.encode, inverter.synthesize, images, start, inverter.start_image.expand_as(images))
    first.latent.retain_grad()
    second = step(inverter.encode, inverter.synthesize, images, first.latent, first.image)
    second.image.square().mean().backward()
    assert first.latent.grad is None
    alone = {name: p.grad.clone() for name, p in inverter.encoder.named_parameters()}
    inverter.encoder.zero_grad()
    again = step(inverter.encode, inverter.synthesize, images, first.latent.detach(), first.image.detach())
    again.image.square().mean().backward()
    for name, parameter in inverter.encoder.named_parameters():
        assert parameter.grad.any() and torch.equal(parameter.grad, alone[name])


def test_inference_holds_no_graph():
    inverter = tiny.inverter()
    inverter.encoder.requires_grad_(True)
    assert not inverter(tiny.images(), steps=2).latents.requires_grad


def test_stopped_images_leave_the_batch_and_their_rows_repeat():
    images = tiny.images()
    images[:, 0, 0, 0] = torch.tensor([0.1, 0.9, 0.0])       # the third begins where it is to go
    start, sizes = torch.zeros(K, D), []
    start[0, 1] = 1.0                                        # gives the latents a spread
    trajectory = refine(halving, draw, images, start, steps=8, tolerance=0.1,
                        callback=lambda t, now, active: sizes.append((t, active.tolist())))
    stopped = trajectory.stopped_at.tolist()
    assert stopped[2] == 1 and 1 < stopped[0] < stopped[1] < 8
    assert sizes == [(t, [b for b in range(3) if stopped[b] >= t]) for t in range(1, max(stopped) + 1)]
    full = refine(halving, draw, images, start, steps=8)
    for b, last in enumerate(stopped):
        assert torch.equal(trajectory.latents[:last + 1, b], full.latents[:last + 1, b])
        assert torch.equal(trajectory.latents[last:, b], trajectory.latents[last, b].expand(9 - last, K, D))
        assert torch.equal(trajectory.images[last:, b], trajectory.images[last, b].expand(9 - last, 3, 8, 8))
    assert full.stopped_at.tolist() == [8, 8, 8]


def test_a_batch_equals_its_images_one_by_one():
    inverter, images = tiny.inverter(), tiny.images(4)
    together = inverter(images, steps=3)
    for b in range(4):
        alone = inverter(images[b:b + 1], steps=3)
        assert torch.allclose(alone.latents[:, 0], together.latents[:, b], atol=1e-5)
        assert torch.allclose(alone.images[:, 0], together.images[:, b], atol=1e-5)


def test_starting_elsewhere_uses_the_given_latent_and_image():
    inverter, images = tiny.inverter(), tiny.images()
    latents, pictures = torch.randn(3, 6, 8), tiny.images(seed=9)
    trajectory = inverter(images, steps=1, start=latents, start_images=pictures)
    assert torch.equal(trajectory.latents[0], latents) and torch.equal(trajectory.images[0], pictures)
    assert torch.equal(trajectory.latents[1], latents + inverter.encoder(torch.cat([images, pictures], 1)))
    assert torch.equal(inverter(images, steps=1, start=latents).images[0], inverter.synthesize(latents))


def test_time_counts_work_and_early_stops_save_it():
    images = tiny.images()
    images[:, 0, 0, 0] = torch.tensor([0.9, 0.0, 0.0])
    start = torch.zeros(K, D)
    start[0, 1] = 1.0
    seconds = refine(halving, draw, images, start, steps=6, tolerance=0.05, timed=True).seconds
    assert seconds.shape == (7, 3) and (seconds.diff(dim=0) >= 0).all()
    assert seconds[-1, 1] == seconds[1, 1] < seconds[-1, 0]


@pytest.mark.parametrize("steps", [0, -1])
def test_no_steps_are_refused(steps):
    with pytest.raises(UserError, match=f"steps={steps}: at least 1"):
        refine(zero, draw, tiny.images(), torch.zeros(K, D), steps=steps)


def test_wrong_shapes_are_refused():
    with pytest.raises(UserError, match="encoder gives latents"):
        refine(lambda pair: torch.zeros(len(pair), 1, D), draw, tiny.images(), torch.zeros(K, D), steps=1)
    with pytest.raises(UserError, match="start's image"):
        refine(zero, draw, tiny.images(size=(8, 16)), torch.zeros(K, D), steps=1)
