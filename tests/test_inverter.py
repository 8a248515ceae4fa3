"""Where crop and pooling live, and what does not fit together."""
import dataclasses

import pytest
import tiny
import torch
from torch.nn import functional as F

from restyle_lib import bench, data, metrics, weights
from restyle_lib.domains import load_domain
from restyle_lib.errors import UserError
from restyle_lib.inverter import Inverter, crop, pool

WIDE = dict(crop=(2, 14, 0, 16), encoder_size=(6, 8))


def test_crop_and_pooling_commute():
    images = torch.rand(2, 3, 512, 512)
    pooled_first = crop(pool(images, (256, 256)), (32, 224, 0, 256))
    cropped_first = pool(crop(images, (64, 448, 0, 512)), (192, 256))
    assert torch.equal(pooled_first, cropped_first)
    assert torch.allclose(cropped_first, F.adaptive_avg_pool2d(images[..., 64:448, :], (192, 256)), atol=1e-6)


def test_the_feedback_image_is_the_pooled_full_size_output():
    inverter, seen, full = tiny.inverter(**WIDE), [], {}
    images = tiny.images(size=(6, 8))

    class Watching(torch.nn.Module):
        n_styles, w_dim, in_channels, input_size = 6, 8, 6, (6, 8)

        def forward(self, pair):
            seen.append(pair)
            return inverter.encoder(pair)

    watched = Inverter(Watching(), inverter.generator, inverter.domain)
    trajectory = watched(images, steps=3, full=lambda t, active, drawn: full.update({t: drawn}))
    for t in (1, 2, 3):
        assert full[t].shape == (3, 3, 12, 16)
        assert torch.equal(full[t], inverter.render(trajectory.latents[t]))
        assert torch.equal(trajectory.images[t], pool(full[t], (6, 8)))
        assert torch.equal(seen[t - 1], torch.cat([images, trajectory.images[t - 1]], 1))


def test_the_start_is_the_average_style_and_its_image():
    inverter = tiny.inverter()
    assert torch.equal(inverter.start, inverter.generator.w_mean)
    expected = F.avg_pool2d(inverter.generator(inverter.generator.w_mean[None]), 2)[0]
    assert torch.equal(inverter.start_image, expected)
    trajectory = inverter(tiny.images(), steps=1)
    assert torch.equal(trajectory.images[0], expected.expand(3, -1, -1, -1))


def test_bfloat16_networks_keep_latents_and_sums_exact(monkeypatch):
    inverter, images = tiny.inverter(), tiny.images()
    half, whole = inverter.bfloat16()(images, steps=3), inverter(images, steps=3)
    assert half.latents.dtype == half.images.dtype == torch.float32
    assert half.generator == whole.generator and torch.equal(half.latents[0], whole.latents[0])
    error = (half.images - whole.images).std() / whole.images.std()
    assert 0 < error < 0.1, "near, and not the same: the networks did compute in bfloat16"
    assert next(inverter.generator.parameters()).dtype == torch.float32, "the inverter given is as it was"
    monkeypatch.setattr("restyle_lib.bench.matmul_peaks", lambda *_, **__: {torch.bfloat16: 0.0})
    with pytest.raises(UserError, match="cpu computes bfloat16 slower than float32; use float32"):
        bench.check_bfloat16("cpu")


def test_bfloat16_changes_nothing_that_the_perceptual_judge_sees():
    spec = load_domain("avatars")
    dataset = data.domain_dataset(spec, "test")
    x = metrics.to_floats(data.images(dataset, "test", spec.encoder_size, count=8, progress=False)[:])
    inverter = weights.load_inverter("avatars/restyle-psp", spec)
    whole, half = (network(x, steps=5).images[-1] for network in (inverter, inverter.bfloat16()))
    judge = weights.load_network(spec.networks["judge_perceptual"], "judge_perceptual")
    assert 0 < metrics.perceptual(judge, whole, half).max() < 0.01
    assert metrics.perceptual(judge, whole, x).min() > 0.01, "which is less than any error of the inversion"


def test_one_channel_from_end_to_end():
    inverter = tiny.inverter(channels=1)
    trajectory = inverter(tiny.images(channels=1), steps=2)
    assert trajectory.images.shape == (3, 3, 1, 8, 8)
    assert inverter.render(trajectory.latents[-1]).shape == (3, 1, 16, 16)


@pytest.mark.parametrize("images, message", [
    (torch.zeros(2, 3, 8, 9), r"takes \[B, 3, 8, 8\]"), (torch.zeros(3, 8, 8), r"takes \[B, 3, 8, 8\]"),
    (torch.zeros(2, 1, 8, 8), r"takes \[B, 3, 8, 8\]"), (torch.zeros(0, 3, 8, 8), r"takes \[B, 3, 8, 8\]"),
    (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), "floating point in"),
    (torch.full((2, 3, 8, 8), 255.0), "from 255 to 255")])
def test_other_images_are_refused(images, message):
    with pytest.raises(UserError, match=message):
        tiny.inverter()(images, steps=1)


@pytest.mark.parametrize("encoder, message", [
    (dict(n_styles=8), "styles is 8, .* need 6"), (dict(w_dim=16), "style width is 16, .* need 8"),
    (dict(in_channels=2), "takes 2 channels, .* needs 6"),
    (dict(input_size=(16, 16)), r"input size is \(16, 16\), .* need \(8, 8\)")])
def test_encoders_of_another_domain_are_refused(encoder, message):
    with pytest.raises(UserError, match=message):
        Inverter(tiny.TinyEncoder(**encoder), tiny.generator(), tiny.domain())


@pytest.mark.parametrize("change, message", [
    (dict(resolution=32, crop=(0, 16, 0, 16)), "resolution is 16, the domain tiny says 32"),
    (dict(channels=1), "image channels is 3, the domain tiny says 1")])
def test_generators_of_another_domain_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        Inverter(tiny.TinyEncoder(), tiny.generator(), dataclasses.replace(tiny.domain(), **change))
