"""Judges and MoCo: their losses beside slow twins, the queue, the slow copy, and what ships."""
import copy
import dataclasses
import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_train_features import PERCEPTUAL, SPEC, TINY, train, world

from restyle_lib.checkpoints.own import load_model
from restyle_lib.errors import UserError
from restyle_lib.metrics import attribute_distance, legibility
from restyle_lib.models.features import ContrastNet, PerceptualNet
from restyle_lib.statistics import auc, roc, threshold_accuracy
from restyle_lib.training import contrast, presets
from restyle_lib.training.features import ContrastTraining, _Trainer
from restyle_lib.training.margins import ArcMargin, CurricularMargin
from restyle_lib.training.measure import measure, similarities

SMALL = {"identity-judge": TINY, "perceptual-judge": dataclasses.replace(
             PERCEPTUAL, network={"channels": [8, 8, 16, 16]}),
         "moco": ContrastTraining(images=96, batch=16, queue=32, dim=8, network=TINY.network, save_every=32)}


def slow_curricular(cosine, own, margin, t, scale):
    """CurricularFace in plain numbers: cosine [B, n], the own column of each row, t already moved."""
    losses = []
    for row, right in zip(cosine.tolist(), own.tolist(), strict=True):
        nearest = math.cos(min(math.pi, math.acos(row[right]) + margin))
        logits = [scale * (nearest if j == right else c if c <= nearest else (t + c) * c)
                  for j, c in enumerate(row)]
        losses.append(math.log(sum(map(math.exp, logits))) - logits[right])
    return sum(losses) / len(losses)


def test_curricular_weights_equal_a_slow_twin_while_t_moves():
    torch.manual_seed(0)
    head, who = CurricularMargin(6, 5, 8.0), torch.arange(7) % 5
    t = 0.0
    for _ in range(3):
        x = F.normalize(torch.randn(7, 6))
        cosine = x @ F.normalize(head.centres.detach()).T
        t = 0.99 * t + 0.01 * float(cosine.gather(1, who[:, None]).mean())
        loss = head(x, who, 0.3)[0].item()
        assert float(head.t) == pytest.approx(t, abs=1e-6)
        assert loss == pytest.approx(slow_curricular(cosine, who, 0.3, t, 8.0), abs=1e-4)
    before = head.t.clone()
    head.eval()(x, who, 0.3)
    assert torch.equal(head.t, before), "only training moves it"


def test_curricular_grows_from_lenient_to_strict_and_leaves_easy_ones_alone():
    x, who = F.normalize(torch.eye(4)[[0, 1]] + 0.8 * torch.eye(4)[[1, 0]]), torch.tensor([0, 1])
    judge, plain = (kind(4, 2, 16.0).eval() for kind in (CurricularMargin, ArcMargin))
    for head in (judge, plain):
        torch.nn.init.eye_(head.centres)
    lenient = judge(x, who, 0.5)[0]
    judge.t.fill_(1.0)
    assert lenient < plain(x, who, 0.5)[0] < judge(x, who, 0.5)[0], "hard ones count less, then more"
    assert judge(torch.eye(4)[:2], who, 0.1)[0] == plain(torch.eye(4)[:2], who, 0.1)[0]
    pairs = F.normalize(torch.randn(6, 4, generator=torch.Generator().manual_seed(1)))
    assert CurricularMargin(4, 0, 8.0)(pairs, torch.tensor([0, 1, 2] * 2), 0.2)[0].isfinite()


def test_info_nce_equals_a_slow_twin():
    torch.manual_seed(0)
    q, key, queue = (F.normalize(torch.randn(n, 8)) for n in (5, 5, 9))
    expected = [F.cross_entropy(torch.stack([a @ k, *(a @ other for other in queue)])[None] / 0.2,
                                torch.tensor([0])) for a, k in zip(q, key, strict=True)]
    torch.testing.assert_close(contrast.info_nce(q, key, queue, 0.2)[0], torch.stack(expected).mean())
    assert contrast.info_nce(q, q, queue, 0.2)[1] == 1


def momentum(keys=12):
    torch.manual_seed(0)
    return contrast.Momentum(ContrastNet((16, 16), [4, 4, 8, 8]), 4, keys)


def test_the_queue_holds_the_last_keys():
    nets, given = momentum(12), [F.normalize(torch.randn(4, 4)) for _ in range(5)]
    for number, keys in enumerate(given, 1):
        nets.enqueue(keys)
        if number >= 3:
            last = torch.cat(given[number - 3:number])
            assert {tuple(row) for row in nets.queue.tolist()} == {tuple(row) for row in last.tolist()}


def test_the_slow_copy_follows_exactly_and_learns_nothing_else():
    nets = momentum()
    before = {name: value.clone() for name, value in nets.key.state_dict().items()}
    with torch.no_grad():
        for tensor in nets.query.state_dict().values():
            tensor.copy_(torch.randn(tensor.shape) if tensor.is_floating_point() else tensor + 3)
    nets.train().follow(0.9)
    for name, now in nets.key.state_dict().items():
        new = nets.query.state_dict()[name]
        expected = 0.9 * before[name] + 0.1 * new if now.is_floating_point() else new
        torch.testing.assert_close(now, expected)
    assert not nets.key.training and nets.query.training
    assert not any(p.requires_grad for p in nets.key.parameters())
    x = torch.randn(4, 3, 16, 16)
    whole, alone = (nets.embed(nets.key, part) for part in (x, x[:1]))
    torch.testing.assert_close(whole[:1], alone, msg="no key depends on its batch")


def test_views_keep_size_and_come_from_torchs_random_state():
    x = torch.rand(3, 3, 12, 16) * 2 - 1
    torch.manual_seed(1)
    first = contrast.view(x)
    torch.manual_seed(1)
    assert first.shape == x.shape and torch.equal(contrast.view(x), first)
    assert not torch.equal(contrast.view(x), first)


@pytest.mark.parametrize("kind", SMALL)
def test_judges_and_moco_resume_bit_for_bit_and_ship_what_was_measured(tmp_path, kind):
    held_out = world(40, seed=9)
    whole, stored = load_model(train(kind, tmp_path / "whole", SMALL[kind], held_out=held_out))
    assert stored["kind"] == kind.removesuffix("-judge") and stored["facts"]["images"] == 96
    again = json.loads(json.dumps(measure(stored["kind"], whole, *held_out, SPEC)))
    assert stored["facts"]["held_out"] == again
    train(kind, tmp_path / "parts", SMALL[kind], max_seconds=1e-6)
    assert not (tmp_path / "parts" / kind).exists()
    parts = load_model(train(kind, tmp_path / "parts", SMALL[kind]))[0].state_dict()
    assert all(torch.equal(value, parts[name]) for name, value in whole.state_dict().items())


def test_a_judge_shares_neither_seed_nor_trunk_nor_start_with_what_it_judges():
    seeds = [presets.feature(kind).seed for kind in presets.FEATURES]
    assert len(set(seeds)) == len(seeds)
    images, labels = world(16)
    for kind in ("identity", "perceptual"):
        plain, judge = (_Trainer(name, images, labels, SPEC, presets.feature(name, batch=8), "cpu")
                        for name in (kind, f"{kind}-judge"))
        assert plain.model.config.get("backbone") != judge.model.config["backbone"] == "resnet_small"
        assert type(plain.model) is type(judge.model)
        assert not {name for name in plain.model.state_dict() if name.endswith("weight")} == {
            name for name in judge.model.state_dict() if name.endswith("weight")}
    assert isinstance(_Trainer("identity-judge", images, labels, SPEC, TINY, "cpu").tasks["margin"],
                      CurricularMargin)


def test_a_perceptual_network_on_a_backbone():
    network = PerceptualNet((16, 16), (4, 6, 8, 10), backbone="resnet_small").eval()
    twin = PerceptualNet(**copy.deepcopy(network.config)).eval()
    twin.load_state_dict(network.state_dict())
    x, y = torch.randn(2, 2, 3, 16, 16)
    assert [m.shape[1:] for m in network(x)] == [(4, 16, 16), (6, 8, 8), (8, 4, 4), (10, 2, 2)]
    assert torch.equal(network.distance(x, y), twin.distance(x, y)) and (network.distance(x, y) > 0).all()


def test_bad_settings_of_moco_are_refused(tmp_path):
    for changes, told in (({"queue": 40}, "multiple of batch=16"), ({"momentum": 1.0}, "below 1"),
                          ({"temperature": 0.0}, "above 0"), ({"batch": 128, "queue": 128}, "one batch")):
        with pytest.raises(UserError, match=told):
            train("moco", tmp_path, dataclasses.replace(SMALL["moco"], **changes))
    with pytest.raises(UserError, match="did you mean 'identity-judge'"):
        train("identity-juge", tmp_path)
    images, labels = world(16)
    with pytest.raises(UserError, match="needs labels for identity"):
        _Trainer("identity-judge", images, {"place": labels["place"]}, SPEC[:1], TINY, "cpu")


def test_roc_has_the_area_of_the_ranks():
    rng = np.random.default_rng(0)
    positive = np.arange(200) % 2 == 0
    scores = np.round(rng.normal(size=200) + positive, 1)            # with ties
    alarms, hits = roc(scores, positive)
    assert (alarms[0], hits[0], alarms[-1], hits[-1]) == (0, 0, 1, 1)
    area = (np.diff(alarms) * (hits[1:] + hits[:-1]) / 2).sum()
    assert area == pytest.approx(auc(scores, positive))
    assert threshold_accuracy(positive + 0.0, positive) == 1 and threshold_accuracy(scores, positive) > 0.6


def test_attribute_distance_is_gowers_and_can_be_weighted():
    values = {"place": [0.0, 1.0, -1.0], "bright": [0, 1, 1], "shape": [2, 2, 0]}
    first, second = np.array([0, 1, 2]), np.array([1, 2, 2])
    np.testing.assert_allclose(attribute_distance(values, SPEC, first, second),
                               [(0.5 + 1 + 0) / 3, (1 + 0 + 1) / 3, 0])
    shown = [spec | {"weight": float(spec["name"] == "bright")} for spec in SPEC]
    np.testing.assert_allclose(attribute_distance(values, shown, first, second), [1, 0, 0])
    read = {"place": {"r": 0.5}, "bright": {"auc": 0.75}, "shape": {"accuracy": 1.0}}
    assert legibility(read, SPEC) == {"place": 0.25, "bright": 0.25, "shape": 1.0}


def test_similarities_rank_pairs_as_their_distances_do():
    images, labels = world(12)
    apart, found = similarities({}, images, labels, SPEC, pairs=30)
    assert set(found) == {"l2", "colour"} and len(apart) == 30 == len(found["l2"])
    assert (found["l2"] <= 0).all() and (apart >= 0).all()
