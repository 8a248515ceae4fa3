"""What bootstrapping keeps and how much of a toon comes out: measured against inputs whose truth is known."""
import numpy as np
import pytest
import tiny
import torch

from restyle_lib import figures_toonify, toon_study
from restyle_lib.models.features import AttributeReader, IdentityNet, PerceptualNet

SPECS = [{"name": "yaw", "kind": "real", "low": -45, "high": 45}, {"name": "glasses", "kind": "binary"},
         {"name": "hair_style", "kind": "category", "classes": 3},
         {"name": "smile", "kind": "real", "low": -1, "high": 1}]


def test_kept_attributes_are_one_where_nothing_is_lost():
    truth = {"yaw": np.array([-45.0, 45.0]), "glasses": np.array([1.0, 0.0]), "hair_style": np.array([2, 0])}
    read = {"yaw": np.array([-45.0, 0.0]), "glasses": np.array([1.0, 0.25]),
            "hair_style": np.array([[0, 0, 1], [0.5, 0.5, 0]])}
    for name, wanted in (("yaw", [1, 0.5]), ("glasses", [1, 0.75]), ("hair_style", [1, 0.5])):
        assert toon_study.kept(read, truth, SPECS, (name,)).tolist() == wanted
    assert toon_study.kept(read, truth, SPECS, ("smile",)) is None


def test_what_nobody_knows_is_read_from_the_inputs():
    torch.manual_seed(0)
    reader, images = AttributeReader(SPECS, (8, 8), channels=(8, 8, 8, 8)).eval(), tiny.images(4)
    truth = toon_study.known({}, reader, images)
    assert set(truth["glasses"].tolist()) <= {0.0, 1.0} and truth["hair_style"].shape == (4,)
    assert toon_study.known({"yaw": 1}, reader, images) == {"yaw": 1}


def test_every_variant_is_measured_at_every_step():
    torch.manual_seed(0)
    first, second = tiny.pair()
    images = tiny.images(4)
    found = toon_study.variants(first, second, images, first_steps=(0, 1, 3), steps=2, single=first, batch=3)
    assert list(found) == ["one pass", "average toon", "bootstrap, 1", "bootstrap, 3", "re-rendered"]
    reader = AttributeReader(SPECS, (8, 8), channels=(8, 8, 8, 8)).eval()
    measured = toon_study.measure(
        found, images, reader=reader, truth={}, toons=images, toonness=lambda x: x.mean((1, 2, 3)).sigmoid(),
        distance=PerceptualNet((8, 8), (8, 8, 8, 8, 8)).eval(),
        identity_network=IdentityNet((8, 8), channels=(8, 8, 8, 8), dim=8).eval())
    assert {"toon-ness", "attributes", "pose", "identity", "L2 to the true toon"} <= measured.keys()
    assert all(table["average toon"].shape == (3, 4) and table["one pass"].shape == (2, 4)
               for table in measured.values())
    perfect = toon_study.measure({"input": images[None]}, images, toons=images)
    assert not perfect["L2 to the true toon"]["input"].any()
    differences = toon_study.against(measured["identity"], "average toon")
    assert len(differences) == 2 and all(d[:3] == (0, 0, 0) for d in differences)
    assert len(toon_study.against(measured["identity"], "one pass")) == 1
    alone = found["bootstrap, 1"].select([0])
    figure = figures_toonify.bootstrap_diagram(images[0], alone, "first", "second")
    assert {row["tensor"] for row in figure.rows} >= {"x", "w_1", "y_1"}


def test_equal_toonness_compares_like_with_like():
    ones = np.ones((1, 6))
    toon = {"average toon": np.array([[.1], [.9], [.9], [.9]]) * ones,
            "other": np.array([[.1], [.4], [.8], [.95]]) * ones}
    keeps = {"average toon": np.array([[.1], [.3], [.4], [.5]]) * ones,
             "other": np.array([[1], [.9], [.7], [.4]]) * ones}
    measured = {"toon-ness": toon, "attributes": keeps, "eyeglasses": keeps, "identity": keeps}
    level, pairs = toon_study.at_equal_toonness(measured, "other")
    assert level == pytest.approx(0.9)
    mine, theirs = pairs["attributes"]
    assert mine == pytest.approx(0.7 - 0.3 * 2 / 3) and theirs == pytest.approx(0.5)
    told = {(w["claim"], w["part"]): v for _, v, _, w in toon_study.evidence(measured, "other")}
    assert told["boot-preserves", "agreement"].estimate == pytest.approx(0.0, abs=1e-9)
    assert set(told) == {("boot-preserves", "agreement"), ("boot-items", "eyeglasses")}
    toon["other"] = toon["other"] * 0.5
    assert not list(toon_study.evidence(measured, "other"))           # no toon at all
    assert toon_study.point(toon["other"], keeps["other"], 0.99) is None


def test_the_judge_of_style_tells_what_it_learnt(monkeypatch):
    torch.manual_seed(0)
    pictures = {"plain": np.random.default_rng(0).integers(0, 255, (24, 8, 8, 3), dtype=np.uint8)}
    pictures["toon"] = pictures["plain"] // 4 + 96
    monkeypatch.setattr(toon_study.data, "images",
                        lambda name, split, size, count, **how: pictures[name][:count])
    network = PerceptualNet((8, 8), (8, 8, 8, 8, 8)).eval().requires_grad_(False)
    monkeypatch.setattr(toon_study, "feature_network", lambda domain, device: ("a network", network))
    judge = toon_study.toonness(tiny.domain(encoder_size=(8, 8)), "plain", "toon", count=24, held_out=12)
    x = [torch.from_numpy(pictures[n]).permute(0, 3, 1, 2) / 127.5 - 1 for n in ("plain", "toon")]
    assert judge.accuracy > 0.9 and judge.on_imperfect > 0.6 and judge.count == 24
    assert judge(x[0]).mean() < 0.4 < 0.6 < judge(x[1]).mean() and judge(x[0]).shape == (24,)
