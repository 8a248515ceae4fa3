"""How an encoder's training begins: a trunk, another encoder, or samples whose latents are known."""
import dataclasses
import json

import pytest
import torch
from tiny_encoder import FULL, TINY, generator, tensors, train, trainer

from restyle_lib.checkpoints.own import save_model
from restyle_lib.errors import UserError
from restyle_lib.models.features import IdentityNet


def test_starting_from_a_trunk_or_an_encoder(tmp_path):
    source = IdentityNet((16, 16))
    t = trainer()
    line, = t.start_from(trunk=source)
    assert "missing" in line
    stem = t.encoder.backbone.stem.weight
    assert torch.equal(stem[:, :3], source.backbone.stem.weight) and (stem[:, 3:] == 0).all()
    save_model(tmp_path / "identity", source, "identity")
    named = trainer()
    assert named.start_from(trunk=str(tmp_path / "identity")) == [line], "by its folder, too"
    assert torch.allclose(named.encoder.backbone.stem.weight, stem, rtol=1e-3)      # files hold halves
    last = train(tmp_path / "a", dataclasses.replace(TINY, iterations=1))
    again = trainer()
    again.start_from(init_from=last)
    for name, value in tensors(last).items():
        assert torch.equal(again.encoder.state_dict()[name], value)
    with pytest.raises(UserError, match="differs"):
        trainer(dataclasses.replace(TINY, scheme="onepass", steps=1)).start_from(init_from=last)


def test_known_latents_are_learnt_from_samples_alone(tmp_path):
    config = dataclasses.replace(TINY, batch=8, steps=2, iterations=30, warm_iterations=30, lr=5e-3,
                                 batch_norm="train", log_every=10, validate_every=30)
    train(tmp_path, config, losses={"l2": 1.0})
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert log[-1]["latent_2"] < 0.92 < log[0]["latent_1"] and "l2" not in log[0]


def test_warm_iterations_come_first_and_resume(tmp_path):
    config = dataclasses.replace(FULL, warm_iterations=2, gradient_shares=0)
    train(tmp_path / "whole", config)
    train(tmp_path / "parts", config, max_seconds=1e-6)
    train(tmp_path / "parts", config)
    whole, parts = tensors(tmp_path / "whole/last"), tensors(tmp_path / "parts/last")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    log = [json.loads(line) for line in (tmp_path / "whole/log.jsonl").read_text().splitlines()]
    assert ["latent" in row for row in log] == [True, True, False, False, False]


def test_modulations_are_what_the_layers_read():
    network, seen = generator(), []
    w = torch.randn(2, network.n_styles, network.w_dim)
    layers = [*network.convs, *network.to_images]
    hooks = [layer.affine.register_forward_hook(lambda _m, _x, y: seen.append(y)) for layer in layers]
    network(w)
    for hook in hooks:
        hook.remove()
    found = network.modulations(w)
    assert len(found) == len(seen) == len(layers)
    for m in found:                                      # scaled by a layer's constant
        assert any(s.shape == m.shape and torch.allclose(m / m.norm(), s / s.norm()) for s in seen)
