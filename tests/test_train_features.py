"""Feature networks on a toy world: bars whose height, place, colour and shape are known."""
import dataclasses
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from restyle_lib.checkpoints.own import load_model
from restyle_lib.errors import UserError
from restyle_lib.metrics import features, verification_auc
from restyle_lib.models.features import AttributeReader
from restyle_lib.training import distortions
from restyle_lib.training.features import ArcMargin, FeatureTraining, _Trainer, as_spec, train_features
from restyle_lib.training.measure import measure

SPEC = [{"name": "place", "kind": "real", "low": -1, "high": 1, "flips": True},
        {"name": "bright", "kind": "binary", "flips": False},
        {"name": "shape", "kind": "category", "classes": ["bar", "box", "line"], "flips": False}]
SMALL = {"channels": [8, 8, 16, 16]}
TINY = FeatureTraining(images=96, batch=16, augment=0.5, network=SMALL, save_every=32, log_every=16)
PERCEPTUAL = dataclasses.replace(TINY, calibration=2, network={"channels": [8, 8, 16, 16, 16]})


def world(count, seed=0):
    """uint8 [count, 16, 16, 3] and labels; an identity is the height and width of its bar."""
    rng = np.random.default_rng(seed)
    images, identity = rng.integers(90, 110, (count, 16, 16, 3)), np.arange(count) % 8
    labels = {"identity": identity, "place": rng.uniform(-1, 1, count), "bright": rng.integers(0, 2, count),
              "shape": rng.integers(0, 3, count)}
    for row in range(count):
        centre = int(8 + 5 * labels["place"][row])
        wide, high = ((2, 12), (4, 4), (1, 14))[labels["shape"][row]]
        top = identity[row] % 4
        images[row, top:top + high, max(0, centre - wide):centre + wide] = 60 + 150 * labels["bright"][row]
        images[row, 13:, 4 * (identity[row] // 4):4 * (identity[row] // 4) + 4] = (250, 20, 20)
    return images.astype(np.uint8), labels


def train(kind, out, config=TINY, count=64, **more):
    images, labels = world(count)
    return train_features(kind, images, labels, out, attributes=SPEC, config=config, headless=True, **more)


def test_arc_margin_without_a_margin_is_a_scaled_softmax():
    torch.manual_seed(0)
    head, x = ArcMargin(4, 5, 10.0), F.normalize(torch.randn(6, 4))
    classes = torch.arange(6) % 5
    expected = F.cross_entropy(10 * x @ F.normalize(head.centres).T, classes)
    torch.testing.assert_close(head(x, classes, 0.0)[0], expected, rtol=1e-4, atol=1e-4)
    assert head(x, classes, 0.3)[0] > expected


def test_paired_margin_compares_with_the_other_picture_and_with_other_identities():
    torch.manual_seed(0)
    head, x = ArcMargin(4, 0, 10.0), F.normalize(torch.randn(6, 4))
    who = torch.tensor([1, 2, 1, 1, 2, 1])              # pairs (0, 3), (1, 4), (2, 5)
    expected = []
    for row in range(6):
        own = (row + 3) % 6
        seen = [own] + [k for k in range(6) if who[k] != who[row]]
        expected.append(F.cross_entropy(10 * (x[seen] @ x[row])[None], torch.tensor([0])))
    torch.testing.assert_close(head(x, who, 0.0)[0], torch.stack(expected).mean(), rtol=1e-4, atol=1e-4)
    assert head(x, who, 0.3)[0] > head(x, who, 0.0)[0]
    same = F.normalize(torch.eye(4)[[0, 1, 2, 0, 1, 2]])
    assert head(same, torch.tensor([1, 2, 3, 1, 2, 3]), 0.0)[1] == 1


def test_batches_are_pairs_of_one_identity(tmp_path):
    images, labels = world(64)
    trainer = _Trainer("identity", images, labels, [], TINY, "cpu")
    rows = trainer._rows(3)
    who = labels["identity"][rows]
    assert len(rows) == 16 and (who[:8] == who[8:]).all() and (rows[:8] != rows[8:]).all()
    assert (rows == trainer._rows(3)).all() and not (rows == trainer._rows(4)).all()
    classes = _Trainer("identity", images, labels, [], dataclasses.replace(TINY, centres="classes"), "cpu")
    assert classes.tasks["margin"].centres.shape == (8, 128) and len(classes._rows(0)) == 16


@pytest.mark.parametrize("kind", ["identity", "attributes", "perceptual"])
def test_every_kind_ships_with_what_was_measured(tmp_path, kind):
    config = TINY if kind != "perceptual" else PERCEPTUAL
    held_out = world(40, seed=9)
    folder = train(kind, tmp_path, config, held_out=held_out)
    model, stored = load_model(folder, kind)
    facts = stored["facts"]
    again = json.loads(json.dumps(measure(kind, model, *held_out, SPEC)))
    assert facts["held_out"] == again and facts["images"] == 96 and facts["seed"] == 0
    if kind == "perceptual":
        x = torch.rand(2, 3, 16, 16) * 2 - 1
        assert set(again["distance"]) == set(distortions.KNOWN) == set(again["l2"])
        torch.testing.assert_close(model.distance(x, x), torch.zeros(2))
        assert 0 <= again["distance_in_order"] <= 1
    if kind == "identity":
        assert again["pairs"] == 6000
    if kind == "attributes":
        assert set(again["attributes"]) == {"place", "bright", "shape"}


def test_the_reader_learns(tmp_path):
    config = dataclasses.replace(TINY, images=1280, lr=1e-2, augment=0.2)
    held_out = world(64, seed=9)
    folder = train("attributes", tmp_path, config, count=256, held_out=held_out)
    facts = load_model(folder)[1]["facts"]["held_out"]["attributes"]
    assert facts["bright"]["accuracy"] > 0.9 and facts["place"]["r"] > 0.8


def test_the_identity_net_learns(tmp_path):
    config = dataclasses.replace(TINY, images=3840, lr=1e-2, augment=0.2)
    folder = train("identity", tmp_path, config, count=256)
    images, labels = world(64, seed=9)
    assert verification_auc(features(load_model(folder)[0], images), labels["identity"], count=500) > 0.8


@pytest.mark.parametrize("kind", ["identity", "attributes", "perceptual"])
def test_resumed_equals_uninterrupted(tmp_path, kind):
    config = TINY if kind != "perceptual" else PERCEPTUAL
    whole = load_model(train(kind, tmp_path / "whole", config))[0].state_dict()
    train(kind, tmp_path / "parts", config, max_seconds=1e-6)
    assert not (tmp_path / "parts" / kind).exists()
    parts = load_model(train(kind, tmp_path / "parts", config))[0].state_dict()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_bad_requests_are_refused(tmp_path):
    images, labels = world(8)
    with pytest.raises(UserError, match="did you mean 'identity'"):
        train_features("identitty", images, labels, tmp_path)
    with pytest.raises(UserError, match="fewer than one batch"):
        train_features("attributes", images, labels, tmp_path, attributes=SPEC, config=TINY)
    with pytest.raises(UserError, match="needs labels for shape"):
        train_features("attributes", images, {"place": [0] * 8, "bright": [0] * 8}, tmp_path, attributes=SPEC,
                       config=dataclasses.replace(TINY, batch=4))


def test_specs_are_read_from_objects():
    from restyle_lib.rendered.draws import Attribute
    assert as_spec(Attribute("yaw", "real", "instance", -45, 45, flips=True)) == {
        "name": "yaw", "kind": "real", "low": -45, "high": 45, "flips": True}
    assert as_spec(Attribute("hat", "category", "instance", classes=("a", "b")))["classes"] == ["a", "b"]


def test_known_changes():
    x = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    torch.testing.assert_close(distortions.blur(torch.ones(1, 1, 8, 8), 1.5), torch.ones(1, 1, 8, 8))
    assert torch.equal(distortions.shift(x, 0, 0), x)
    moved = distortions.shift(x, torch.tensor([0, 1, -2]), torch.tensor([2, 0, 0]))
    assert torch.equal(moved[0, :, :, 2:], x[0, :, :, :-2]) and torch.equal(moved[1, :, 1:], x[1, :, :-1])
    assert torch.equal(moved[2, :, :-2], x[2, :, 2:]) and torch.equal(moved[2, :, -1], x[2, :, -1])
    assert torch.equal(distortions.mirrored(x, torch.tensor([True, False, False]))[0], x[0].flip(2))
    assert torch.equal(distortions.imperfect(x, 0), x)
    means, share = distortions.ordering(lambda a, b: (a - b).square().mean((1, 2, 3)), x, None, x.flip(0))
    assert "other picture" not in means and means["noise 0.05"] < means["noise 0.2"] and 0 <= share <= 1


def test_a_network_trains_on_from_another(tmp_path):
    first = train("attributes", tmp_path / "first")
    config = dataclasses.replace(TINY, lr=0.0, seed=5)
    second = train("attributes", tmp_path / "second", config, init_from=first)
    before, after = (dict(load_model(folder)[0].named_parameters()) for folder in (first, second))
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert [run["images"] for run in load_model(second)[1]["facts"]["before"]] == [96]
    with pytest.raises(UserError, match="differs"):
        train("attributes", tmp_path / "other", dataclasses.replace(TINY, network={}), init_from=first)


def test_emphasis_is_a_weight_in_the_mean():
    torch.manual_seed(0)
    reader = AttributeReader(SPEC, (16, 16), channels=[8, 8, 16, 16]).eval()
    x, y = torch.rand(4, 3, 16, 16), {"place": torch.rand(4), "bright": torch.ones(4)}
    plain, terms = reader.loss(x, y)
    torch.testing.assert_close(plain, (terms["place"] + terms["bright"]) / 2)
    weighted = (3 * terms["place"] + terms["bright"]) / 4
    torch.testing.assert_close(reader.loss(x, y, {"place": 3.0})[0], weighted)
