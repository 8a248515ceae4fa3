"""The encoder trainer: what one iteration is, on a toy generator of 16 pixels."""
import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_encoder import DOMAIN, FULL, TINY, generator, gradients, networks, pictures, tensors, train, trainer

from restyle_lib.checkpoints import own
from restyle_lib.checkpoints.own import load_model
from restyle_lib.errors import UserError
from restyle_lib.training import encoder as trainer_module
from restyle_lib.training.encoder import EncoderTrainer, EncoderTraining
from restyle_lib.training.latents import LatentCritic, stage_at
from restyle_lib.weights import load_inverter

def test_the_accumulated_gradient_is_the_sum_of_the_steps():
    t = trainer(losses={"l2": 1.0, "perceptual": 0.8, "identity": 0.1}, **networks())
    t._mode(0)
    images, each = t.batch(0), []
    for loss, _ in t.passes(images, 0):
        t.encoder.zero_grad()
        loss.backward()
        each.append(gradients(t.encoder))
    t.encoder.zero_grad()
    for loss, _ in t.passes(images, 0):
        loss.backward()
    torch.testing.assert_close(gradients(t.encoder), torch.stack(each).sum(0), rtol=1e-4, atol=1e-7)
    assert len(each) == 3 and not torch.allclose(each[0], each[2])


def test_no_gradient_flows_between_steps(monkeypatch):
    seen = []
    real_step = trainer_module.refine_step
    monkeypatch.setattr(trainer_module, "refine_step", lambda *a: seen.append(real_step(*a)) or seen[-1])
    t = trainer()
    t._mode(0)
    losses = [loss for loss, _ in t.passes(t.batch(0), 0)]
    for earlier, later in ((0, 1), (0, 2), (1, 2)):
        past = seen[earlier].latent
        assert torch.autograd.grad(losses[later], past, allow_unused=True, retain_graph=True) == (None,)
    assert torch.autograd.grad(losses[1], seen[1].latent)[0].abs().sum() > 0
    assert not any(p.requires_grad for p in t.generator.parameters())


def test_update_says_how_often_the_optimiser_steps():
    counts, weights = {}, {}
    for update in ("batch", "step"):
        t = trainer(dataclasses.replace(TINY, update=update))
        t.step(0)
        counts[update] = next(iter(t.optimizer.state.values()))["step"]
        weights[update] = torch.cat([p.detach().flatten() for p in t.encoder.parameters()])
    assert counts == {"batch": 1, "step": 3} and not torch.equal(weights["batch"], weights["step"])
    one = [trainer(dataclasses.replace(TINY, update=update, steps=1)) for update in ("batch", "step")]
    for t in one:
        t.step(0)
    for a, b in zip(one[0].encoder.parameters(), one[1].encoder.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("scheme", ["restyle", "onepass"])
def test_one_step_is_the_single_pass(scheme):
    t = trainer(dataclasses.replace(TINY, steps=1, scheme=scheme))
    t._mode(0)
    images = t.batch(0)
    (loss, _), = t.passes(images, 0)
    start = t.generator(t.generator.w_mean[None])
    seen = images if scheme == "onepass" else torch.cat([images, start.expand(len(images), -1, -1, -1)], 1)
    output = t.generator(t.generator.w_mean + t.encoder(seen))
    torch.testing.assert_close(loss, (output - images).square().mean())
    assert t.encoder.in_channels == (3 if scheme == "onepass" else 6)


def test_resumed_equals_uninterrupted(tmp_path):
    domain = dataclasses.replace(DOMAIN, flip=True)
    train(tmp_path / "whole", FULL, domain=domain)
    train(tmp_path / "parts", FULL, domain=domain, max_seconds=1e-6)
    assert json.loads((tmp_path / "parts/log.jsonl").read_text().splitlines()[-1])["step"] == 1
    train(tmp_path / "parts", FULL, domain=domain)
    whole, parts = tensors(tmp_path / "whole/last"), tensors(tmp_path / "parts/last")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    validations = [(tmp_path / run / "validation.jsonl").read_text() for run in ("whole", "parts")]
    assert validations[0] == validations[1] and len(validations[0].splitlines()) == 4


def test_a_run_leaves_what_it_did(tmp_path):
    top = np.zeros((5, 16, 16), dtype=np.float32)
    top[:, :8] = 1
    last = train(tmp_path, held_out=pictures(8)[:5], masks={"top": top}, losses={"l2": 1.0, "identity": 0.1},
                 networks=networks(), facts={"command": "train encoder"})
    config = load_model(last)[1]
    inverter = load_inverter(last, domain=DOMAIN, generator=generator())
    assert config["generator"] == inverter.fingerprint and config["facts"]["command"] == "train encoder"
    rows = [json.loads(line) for line in (tmp_path / "validation.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 2, 4] and len(rows[0]["l2"]) == 4
    assert len(rows[0]["regions"]["top"]) == 4 and rows[0]["l2"][0] == rows[2]["l2"][0]
    best = load_model(tmp_path / "best")[1]["facts"]["validation"]
    assert best["loss"] == min(row["loss"] for row in rows)
    from PIL import Image
    with Image.open(tmp_path / "samples/000000004.png") as strip:
        assert strip.size == (5 * 16, 5 * 16)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert {"loss", "l2_1", "l2_3", "identity"} <= set(log[0])


def test_overfitting_eight_images_falls(tmp_path):
    config = dataclasses.replace(TINY, batch=8, iterations=25, lr=5e-3, batch_norm="train", validate_every=25)
    train(tmp_path, config)
    first, last = (json.loads(line) for line in (tmp_path / "validation.jsonl").read_text().splitlines())
    assert last["l2"][-1] < 0.7 * first["l2"][0]


def test_progressive_stages():
    assert [stage_at(n, 20_000, 2_000, 18) for n in (0, 19_999, 20_000, 21_999, 22_000, 52_000, 10**6)] == [
        0, 0, 1, 1, 2, 17, 17]
    assert stage_at(51_999, 20_000, 2_000, 18) == 16
    assert stage_at(48_000, 20_000, 2_000, 16) == 15 and stage_at(44_000, 20_000, 2_000, 14) == 13
    config = dataclasses.replace(TINY, progressive=True, progressive_start=1, progressive_every=1)
    t = trainer(config)
    heads = t.encoder.heads[0]
    before = heads.linear_weight.detach().clone().view(heads.count, -1)
    t.step(0)
    moved = (heads.linear_weight.detach().view(heads.count, -1) != before).any(1)
    assert moved[0] and not moved[1:].any()
    t.step(1)
    moved = (heads.linear_weight.detach().view(heads.count, -1) != before).any(1)
    assert moved[:2].all() and not moved[2:].any()
    x = torch.cat([t.batch(0)] * 2, 1)
    exported = t.exported(2).eval()
    t.encoder.eval()
    assert exported.stage is None or exported.stage == t.encoder.stage
    exported.stage = None
    torch.testing.assert_close(exported(x), t.encoder(x))
    assert (exported(x)[:, 2:] == exported(x)[:, :1]).all()


def test_the_latent_critic_learns_and_keeps_out_of_the_way():
    torch.manual_seed(0)
    critic = LatentCritic(6, pool=4, lr=1e-2)
    real, fake = (torch.randn(8, 6) + 2 for _ in range(60)), (torch.randn(8, 3, 6) - 2 for _ in range(60))
    terms = [critic.step(a, b, n) for n, (a, b) in enumerate(zip(real, fake, strict=True))]
    assert terms[-1]["latent_d"] < 0.5 * terms[0]["latent_d"]
    assert [n for n, row in enumerate(terms) if "latent_r1" in row] == [0, 16, 32, 48]
    assert not any(p.requires_grad for p in critic.net.parameters())
    again = LatentCritic(6, pool=4, lr=1e-2)
    again.load_state_dict(critic.state_dict())
    a, b = torch.randn(2, 6), torch.randn(2, 3, 6)
    results = []
    for one in (critic, again):
        torch.manual_seed(1)
        results.append(one.step(a, b, 60)["latent_d"])
    assert torch.equal(*results)


@pytest.mark.parametrize("fakes", ["codes", "residuals"])
def test_what_the_critic_calls_false(fakes, monkeypatch):
    t = trainer(dataclasses.replace(TINY, adversarial=0.1, fakes=fakes))
    seen = []
    monkeypatch.setattr(t.critic, "step", lambda real, fake, number: seen.append((real, fake)) or {})
    t._mode(0)
    t._criticise(t.batch(0), 0)
    real, fake = seen[0]
    pair = torch.cat([t.batch(0), t.start_image.expand(2, -1, -1, -1)], 1)
    expected = t.encoder(pair) + (t.start if fakes == "codes" else 0)
    torch.testing.assert_close(fake, expected.detach())
    assert real.shape == (2, 12)


def test_shares_of_the_gradient_add_up_to_one():
    config = dataclasses.replace(TINY, gradient_shares=1, delta_norm=1e-2)
    t = trainer(config, {"l2": 1.0, "perceptual": 0.8, "w_norm": 0.1}, **networks())
    terms = t.step(0)
    shares = {name: float(value) for name, value in terms.items() if name.startswith("share_")}
    assert set(shares) == {"share_l2", "share_perceptual", "share_w_norm", "share_delta_norm"}
    assert sum(shares.values()) == pytest.approx(1)
    assert not any(name.startswith("share_") for name in t.step(1))


def test_grey_images_of_a_cropped_domain(tmp_path):
    domain = dataclasses.replace(DOMAIN, channels=1, crop=(2, 14, 0, 16), encoder_size=(12, 16))
    last = train(tmp_path, dataclasses.replace(TINY, iterations=1), domain=domain)
    assert load_model(last)[0].in_channels == 2


def test_mixed_precision_is_near_full_precision():
    losses = {}
    for amp in ("", "bf16"):
        t = trainer(dataclasses.replace(TINY, amp=amp))
        losses[amp] = float(t.step(0)["loss"])
        assert all(p.dtype == torch.float32 for p in t.encoder.parameters())
    assert losses["bf16"] == pytest.approx(losses[""], rel=0.05) and losses["bf16"] != losses[""]


def test_the_rate_cools_down():
    t = trainer(dataclasses.replace(TINY, iterations=10, cooldown=0.5))
    rates = [t._rate(n) for n in range(10)]
    assert rates[:6] == [1e-3] * 6 and all(a > b for a, b in zip(rates[5:], rates[6:], strict=False))
    assert trainer()._rate(3) == 1e-3


def test_what_is_refused(tmp_path):
    with pytest.raises(UserError, match="fewer than one batch"):
        train(tmp_path, dataclasses.replace(TINY, batch=9))
    with pytest.raises(UserError, match="accepted: batch, step"):
        EncoderTraining(update="bach")
    with pytest.raises(UserError, match="at least 1"):
        EncoderTraining(steps=0)
    with pytest.raises(UserError, match="steps=1"):
        EncoderTraining(scheme="onepass")
    with pytest.raises(UserError, match="trains on uint8 images"):
        EncoderTrainer(pictures(8)[:, :8], TINY, DOMAIN, generator(), {"l2": 1.0}, {}, torch.device("cpu"))
    with pytest.raises(UserError, match="needs the network 'perceptual'"):
        train(tmp_path, losses={"perceptual": 1.0})


def test_a_disk_that_is_full_before_the_first_step_ends_in_a_sentence(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(own, "os", SimpleNamespace(replace=full))        # the last move of the first export
    with pytest.raises(UserError, match="cannot write into .*No space left on device; the last good state"):
        train(tmp_path / "run", TINY)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_state(tmp_path):
    train(tmp_path, dataclasses.replace(TINY, iterations=3))
    good = tensors(tmp_path / "last")
    with pytest.raises(UserError, match="is kept"):
        train(tmp_path, dataclasses.replace(TINY, iterations=40, lr=1e30), force=True)
    assert all(torch.equal(value, good[name]) for name, value in tensors(tmp_path / "last").items())
