"""IDInvert's encoder: judged by a discriminator of images beside its other losses."""
import copy
import dataclasses
import json

import pytest
import torch
from tiny_encoder import DOMAIN, TINY, generator, pictures, tensors, train, trainer

from restyle_lib.checkpoints.own import load_model
from restyle_lib.metrics import to_floats
from restyle_lib.training import presets
from restyle_lib.training.encoder_settings import EncoderTraining
from restyle_lib.training.image_critic import ImageCritic

JUDGED = dataclasses.replace(TINY, scheme="onepass", steps=1, image_adversarial=0.08)


def test_it_learns_to_tell_real_images_from_those_shown():
    torch.manual_seed(0)
    critic = ImageCritic(DOMAIN, generator(), lr=2e-2, every=8)
    real, terms = to_floats(pictures(8)), []
    for number in range(12):
        _, judged = critic.weighted(0.08)(torch.rand(8, 3, 16, 16) * 2 - 1)
        terms.append(critic.step(real, number) | judged)
    assert terms[-1]["image_d"] < 0.5 * terms[0]["image_d"] and terms[-1]["image_accuracy"] > 0.9
    assert terms[-1]["image_adversarial"] > terms[0]["image_adversarial"]
    assert [n for n, row in enumerate(terms) if "image_r1" in row] == [0, 8]
    assert not any(p.requires_grad for p in critic.net.parameters())


def test_what_it_knows_is_its_state():
    critic, again = (ImageCritic(DOMAIN, generator()) for _ in range(2))
    real = to_floats(pictures(4))
    critic.weighted(1.0)(-real)
    critic.step(real, 0)
    again.load_state_dict(copy.deepcopy(critic.state_dict()))
    again.weighted(1.0)(-real)
    assert torch.equal(critic.step(real, 1)["image_d"], again.step(real, 1)["image_d"])
    assert torch.equal(critic.judge(real), again.judge(real))


def test_wide_images_are_judged_on_a_black_square():
    wide = dataclasses.replace(DOMAIN, crop=(2, 14, 0, 16), encoder_size=(12, 16))
    critic, images = ImageCritic(wide, generator()), torch.rand(2, 3, 12, 16)
    square = torch.full((2, 3, 16, 16), -1.0)
    square[:, :, 2:14] = images
    assert critic.side == 16 and torch.equal(critic.judge(images), critic.net(square))


def test_the_encoder_is_charged_with_it_and_the_critic_learns_last():
    t = trainer(JUDGED)
    t._mode(0)
    images = t.batch(0)
    (loss, parts), = t.passes(images, 0)
    torch.testing.assert_close(loss, parts["l2"] + 0.08 * parts["image_adversarial"])
    before = [p.clone() for p in t.image_critic.net.parameters()]
    loss.backward()
    assert all(torch.equal(a, b) and b.grad is None
               for a, b in zip(before, t.image_critic.net.parameters(), strict=True))
    terms = t.step(0)
    assert 0 <= terms["image_accuracy"] <= 1 and {"image_d", "image_r1", "l2_1"} <= set(terms)
    assert any(not torch.equal(a, b) for a, b in zip(before, t.image_critic.net.parameters(), strict=True))
    shares = trainer(dataclasses.replace(JUDGED, gradient_shares=1)).step(0)
    assert float(shares["share_l2"] + shares["share_image_adversarial"]) == pytest.approx(1)


def test_resumed_equals_uninterrupted_and_its_accuracy_is_logged(tmp_path):
    train(tmp_path / "whole", JUDGED)
    train(tmp_path / "parts", JUDGED, max_seconds=1e-6)
    train(tmp_path / "parts", JUDGED)
    whole, parts = tensors(tmp_path / "whole/last"), tensors(tmp_path / "parts/last")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    log = [json.loads(line) for line in (tmp_path / "whole/log.jsonl").read_text().splitlines()]
    assert all("image_accuracy" in row for row in log)
    assert load_model(tmp_path / "whole/last")[1]["facts"]["training"]["image_adversarial"] == 0.08


def test_without_it_nothing_changes():
    t = trainer(dataclasses.replace(JUDGED, image_adversarial=0.0))
    assert set(t.parts()) == {"encoder", "optimizer"} and "image_critic" in trainer(JUDGED).parts()
    assert not any(name.startswith("image") for name in t.step(0))
    assert "image_adversarial" not in EncoderTraining().options()
    first, second = (trainer(c).encoder.state_dict() for c in (JUDGED, t.c))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_preset_is_a_single_pass_judged_by_images():
    for size in ("embedded", "gpu", "published"):
        config, plain = presets.encoder("idinvert", size), presets.encoder("psp", size)
        assert config.image_adversarial == 0.08 and plain.image_adversarial == 0
        assert dataclasses.replace(config, image_adversarial=0.0) == plain
