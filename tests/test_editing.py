"""Directions: files, refusals, what the three ways find on worlds whose answer is known; edits, measured."""
import math
from types import SimpleNamespace

import numpy as np
import pytest
import sklearn.model_selection  # noqa: F401  (slow to import: before the tests' clock runs)
import sklearn.svm  # noqa: F401
import torch
from PIL import Image

import tiny
from restyle_lib import directions, edit_cli, edit_measures, editing, figures_editing
from restyle_lib.__main__ import main
from restyle_lib.directions import Direction, apply
from restyle_lib.errors import UserError
from restyle_lib.files import ASSETS
from restyle_lib.statistics import Interval
from restyle_lib.weights import load_generator


class Reader(torch.nn.Module):
    """Reads brightness and redness; smoothly, so that edits can be told by them."""
    attributes = [{"name": "bright", "kind": "real", "low": -1, "high": 1},
                  {"name": "red", "kind": "real", "low": -1, "high": 1}]

    def forward(self, images):
        red, green = images[:, 0].mean((1, 2)), images[:, 1].mean((1, 2))
        return {"bright": images.mean((1, 2, 3)), "red": red - green}


@pytest.fixture(scope="module")
def found():
    return editing.samples(tiny.generator(), tiny.domain(), Reader(), count=300)


def direction(**more):
    return Direction("up", torch.arange(1.0, 9), generator="a" * 64, attribute="bright", found="by hand",
                     **more)


def test_a_file_brings_back_all_fields(tmp_path):
    one = direction(layers=(0, 2), unit=0.5, accuracy=0.9, meaning="bright +1")
    one.save(tmp_path / "d.npz")
    again = directions.load(tmp_path / "d.npz")["up"]
    assert torch.equal(again.vector, one.vector)
    for name in ("name", "space", "layers", "unit", "attribute", "generator", "found", "accuracy", "meaning"):
        assert getattr(again, name) == getattr(one, name), name
    direction().save(tmp_path / "d.npz")
    assert math.isnan(Direction.load(tmp_path / "d.npz").accuracy)


def test_an_edit_adds_strength_units_to_its_layers_and_is_undone_by_its_opposite():
    w, one = torch.randn(2, 6, 8), direction(layers=(1, 3), unit=0.5)
    edited = apply(w, one, 2)
    assert torch.equal(edited[:, [0, 2, 4, 5]], w[:, [0, 2, 4, 5]])
    assert torch.allclose(edited[:, 1] - w[:, 1], one.vector.expand(2, 8), atol=1e-6)
    assert torch.allclose(apply(edited, one, -2), w, atol=1e-6) and torch.equal(apply(w, one, 0), w)
    each = apply(w, one, torch.tensor([0.0, 2.0]))
    assert torch.equal(each[0], w[0]) and torch.equal(each[1], edited[1])


def test_another_generator_or_shape_is_refused_with_the_reason():
    w = torch.randn(1, 6, 8)
    with pytest.raises(UserError, match="found in generator aaaaaaaaaaaa, this is bbbb"):
        apply(w, direction(), 1, "b" * 64)
    with pytest.raises(UserError, match="6 styles of width 4; it belongs to a generator of another size"):
        apply(w[..., :4], direction(), 1)
    with pytest.raises(UserError, match=r"moves style 7, the latents have the styles 0 to 5"):
        apply(w, direction(layers=(7,)), 1)
    with pytest.raises(UserError, match="was found in generator aaaa"):
        direction().check(tiny.generator())
    with pytest.raises(UserError, match="'many' is not a number"):
        apply(w, direction(), "many")
    with pytest.raises(UserError, match="not a number"):
        apply(w, direction(), float("nan"))
    with pytest.raises(UserError, match="not all zero"):
        Direction("none", torch.zeros(8))
    with pytest.raises(UserError, match="space 'w' with a vector"):
        Direction("wide", torch.ones(6, 8))


def test_a_trajectory_brings_its_own_generator():
    inverter = tiny.inverter()
    made = inverter(tiny.images(2), steps=1)
    with pytest.raises(UserError, match="do not mean the same"):
        apply(made, direction(), 1)
    one = direction().replace(generator=inverter.fingerprint)
    assert torch.equal(apply(made, one, 1), apply(made.latents[-1], one, 1))
    with pytest.raises(UserError, match="hold no latents"):
        apply(made.replace(latents=None), one, 1)


def test_published_files_load_and_others_are_refused(tmp_path):
    torch.save(torch.ones(1, 8), tmp_path / "smile.pt")
    torch.save(torch.ones(6, 8), tmp_path / "pose.pt")
    smile, pose = (directions.load(tmp_path / f"{n}.pt", "f")[n] for n in ("smile", "pose"))
    assert (smile.space, pose.space) == ("w", "w+") and smile.unit == 1 and smile.generator == "f"
    assert torch.equal(apply(torch.zeros(1, 6, 8), pose, 2), torch.full([1, 6, 8], 2.0))
    torch.save({"mean": torch.zeros(1, 8), "comp": torch.eye(8)[:3, None], "std": torch.tensor([3., 2., 0.])},
               tmp_path / "pca.pt")
    parts = directions.load(tmp_path / "pca.pt")
    assert list(parts) == ["pc0", "pc1"] and parts["pc0"].unit == 3
    torch.save({"weights": 1}, tmp_path / "other.pt")
    (tmp_path / "bad.pt").write_bytes(b"no")
    (tmp_path / "bad.npz").write_bytes(b"no")
    for name, told in (("other.pt", "accepted: a tensor"), ("bad.pt", "not a file of plain tensors"),
                       ("bad.npz", "no direction of this library"), ("gone.pt", "no such file")):
        with pytest.raises(UserError, match=told):
            directions.load(tmp_path / name)


def test_a_boundary_is_found_where_there_is_one(found):
    """The label is linear in w here, so the normal is known up to noise."""
    known = torch.nn.functional.normalize(torch.randn(8, generator=torch.Generator().manual_seed(1)), dim=0)
    w = torch.randn(400, 8, generator=torch.Generator().manual_seed(2))
    linear = SimpleNamespace(values={"bright": (w @ known).numpy()}, w=w, generator=found.generator,
                             fingerprint="x", spread={"bright": 1.0},
                             draw=lambda latents: latents,
                             read=lambda latents: {"bright": (latents[:, 0] @ known).numpy()})
    one = editing.interfacegan(linear, "bright", strictness=1.0)
    assert float(one.vector @ known) > 0.98 and one.accuracy > 0.95 and one.generator == "x"
    moved = editing.response(one, linear)["bright"]
    assert np.allclose(moved, 1.0, atol=0.02), "one unit is one standard deviation of the attribute"
    assert one.meaning == "bright +1"


def test_a_direction_in_a_generator_moves_its_attribute(found):
    one = editing.interfacegan(found, "bright")
    one.check(found.generator)
    moved = editing.response(one, found)
    assert 0.3 < moved["bright"].mean() < 2 and one.meaning.startswith("bright +")
    with pytest.raises(UserError, match="did you mean 'bright'"):
        editing.interfacegan(found, "brigt")
    with pytest.raises(UserError, match="draw more samples"):
        editing.interfacegan(editing.samples(found.generator, found.domain, Reader(), count=6), "red")


def test_what_is_conditioned_on_no_longer_counts(found):
    first, second = (editing.interfacegan(found, name) for name in ("bright", "red"))
    alone = editing.orthogonal(first, [second], found)
    assert abs(float(alone.vector @ second.vector)) < 1e-5 and alone.attribute == "bright"
    with pytest.raises(UserError, match="nothing of 'bright' is left"):
        editing.orthogonal(first, [first], found)


def test_principal_components_are_orthonormal_and_in_order(found):
    made = editing.ganspace(found, 5, layers=(0, 1))
    axes = torch.stack([one.vector for one in made])
    assert torch.allclose(axes @ axes.T, torch.eye(5), atol=1e-5)
    units = [one.unit for one in made]
    assert units == sorted(units, reverse=True) and made[0].layers == (0, 1)
    assert units[0] == pytest.approx(float((found.w @ made[0].vector).std()), rel=1e-4)


def test_sefa_amplifies_most_first_and_reads_only_its_layers(found):
    layers = (1, 2)
    made = editing.sefa(found, 8, layers)
    weights = torch.cat([found.generator.convs[j].affine.weight for j in layers])
    weights = weights / weights.norm(dim=1, keepdim=True)
    gains = [float((weights @ one.vector).norm()) for one in made]
    assert gains == sorted(gains, reverse=True)
    assert gains[0] == pytest.approx(float(torch.linalg.matrix_norm(weights, 2)), rel=1e-4)
    with pytest.raises(UserError, match="no style 6; accepted: 0 to 5"):
        editing.sefa(found, 1, (6,))


def test_names_of_directions(found, tmp_path):
    generator, domain = found.generator, found.domain
    assert editing.get("red", generator, domain, found).attribute == "red"
    with pytest.raises(UserError, match="unknown direction 'redd'; did you mean 'red'"):
        editing.get("redd", generator, domain, found)
    direction().save(tmp_path / "d.npz")
    with pytest.raises(UserError, match="was found in generator aaaa"):
        editing.get(str(tmp_path / "d.npz"), generator, domain)
    with pytest.raises(UserError, match="accepted: a direction's file"):
        editing.get("red", generator, domain)
    none = editing.samples(generator, domain, count=10)
    with pytest.raises(UserError, match="has no attribute reader"):
        editing.interfacegan(none, "red")


def made(method, gain, side, n=6, strengths=(-2, -1, 0, 1, 2)):
    """An Edit that moves the wanted attribute by `gain` and another by `side` a unit."""
    s = np.array(strengths, float)[:, None] * np.ones(n)
    return edit_measures.Edit(method, direction(), s[:, 0], torch.zeros(len(s), n, 3, 4, 4),
                              {"bright": gain * s, "red": side * s}, 1 - 0.1 * np.abs(s))


def test_methods_are_compared_at_an_equal_wanted_change():
    strong, weak = made("strong", 2.0, 0.5), made("weak", 1.0, 0.5)
    assert np.allclose(strong.slope(), 2) and strong.strength_for(1.0) == pytest.approx(0.5)
    gap = edit_measures.difference(strong, weak)
    assert gap.estimate == pytest.approx(0.25 - 0.5) and gap.high < 0
    assert edit_measures.difference(strong, weak, "kept").estimate == pytest.approx(0.95 - 0.9)
    feeble = made("feeble", 0.25, 0.5)
    assert edit_measures.target([strong, feeble]) == pytest.approx(0.5)
    rows = edit_measures.compare([strong, feeble])
    assert [row["strength"] for row in rows] == pytest.approx([0.25, 2.0])
    assert edit_measures.difference(strong, made("wrong", -1.0, 0.5)) is None
    with pytest.raises(UserError, match="by at most 0.50 deviations"):
        feeble.strength_for(1.0)
    names, attributes, table = edit_measures.matrix([strong])
    assert attributes == ["bright", "red"] and np.allclose(table, [[2, 0.5]])


def test_evidence_for_the_claims():
    edits = {"up": {"ReStyle-e4e": made("ReStyle-e4e", 1.0, 0.2), "e4e": made("e4e", 0.8, 0.2),
                    "optimisation in W+, 9": made("optimisation in W+, 9", 0.5, 0.4, n=3)}}
    found = {where["claim"]: (value, where) for _, value, _, where in edit_measures.evidence(edits)}
    assert found["editable"][0].estimate == pytest.approx(1.25)
    assert found["edit-clean"][0].estimate == pytest.approx(0.2 - 0.8) and found["edit-clean"][0].count == 3
    assert all(isinstance(value, Interval) for value, _ in found.values())
    from restyle_lib.claims import check
    for _, _, _, where in edit_measures.evidence(edits):
        check("x", where | {"world": "rendered", "low": 0, "high": 1})
    assert not list(edit_measures.evidence({"up": {"e4e": made("e4e", 1, 0)}}))


def test_an_edit_of_latents_starts_at_the_inversion(found):
    one = editing.interfacegan(found, "bright")
    latents = found.generator.styles(found.w[:3])
    images = found.draw(latents)
    e = edit_measures.edit(edit_measures.Inversion("known", latents), one, [-1, 1], found, images,
                           lambda x: torch.nn.functional.normalize(x.flatten(1)))
    assert e.strengths.tolist() == [-1, 0, 1] and torch.allclose(e.images[1], images)
    assert np.allclose(e.wanted[1], 0) and np.allclose(e.kept[1], 1, atol=1e-5)
    assert np.allclose(e.slope(), editing.response(one, found, latents)["bright"], atol=1e-5)
    figure = figures_editing.edits(images, {"known": e})
    assert len(figure.rows) == 4
    figures_editing.matrix(*edit_measures.matrix([e]))
    figures_editing.plane({"known": (Interval(0, 0, 0, 3), Interval(1, 1, 1, 3))}, "x", "y")


def test_a_perfect_inversion_is_consistent_and_real_images_are_realistic(found):
    known = {}

    def method(images, generator, domain):                     # remembers every latent that was asked for
        key = images.sum().item()
        return SimpleNamespace(latents=known.setdefault(key, found.generator.styles(found.w[:2]))[None])

    one = editing.interfacegan(found, "bright")
    latents = found.generator.styles(found.w[:2])
    images = found.draw(latents)
    known[found.draw(apply(latents, one, 1)).sum().item()] = apply(latents, one, 1)
    assert edit_measures.consistency(method, images, one, 1, found).max() < 1e-5
    network = torch.nn.Flatten()
    real = found.draw(found.w[:40])
    scores = edit_measures.realism(network, torch.cat([real, 3 * torch.ones_like(real[:2])]), real)
    assert (scores[:-2] > 1).mean() >= 0.5 and (scores[-2:] < 1).all()


def test_the_way_between_two_latents_and_its_animation(tmp_path):
    a, b = torch.randn(2, 6, 8)
    way = directions.interpolate(a, b, 5)
    assert torch.equal(way[0], a) and torch.equal(way[-1], b) and torch.allclose(way[2], (a + b) / 2)
    with pytest.raises(UserError, match="at least 2 frames"):
        directions.interpolate(a, b, 1)
    edit_cli.animate(np.random.default_rng(0).integers(0, 255, (5, 8, 8, 3), np.uint8), tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 8 and gif.size == (256, 256)


def test_the_command(tmp_path, monkeypatch, capsys, found):
    inverter = tiny.inverter()
    monkeypatch.setattr("restyle_lib.load_inverter", lambda *a, **k: inverter, raising=False)
    for i in range(2):
        Image.fromarray(np.full((8, 8, 3), 90 * i, np.uint8)).save(tmp_path / f"{i}.png")
    direction().replace(generator=inverter.fingerprint).save(tmp_path / "up.npz")
    words = ["edit", str(tmp_path / "0.png"), "--direction", str(tmp_path / "up.npz"), "--device", "cpu",
             "--strengths", "-3,0,3", "--out", str(tmp_path / "out")]
    assert main(words) == 0 and "1 images edited" in capsys.readouterr().out
    folder = next((tmp_path / "out").rglob("latents.npz")).parent
    assert torch.equal(directions.load(tmp_path / "out" / "up.npz")["up"].vector, direction().vector)
    assert {p.name for p in folder.iterdir()} == {"edit.png", "up_-3.png", "up_+0.png", "up_+3.png",
                                                 "latents.npz"}
    with np.load(folder / "latents.npz") as file:
        assert np.allclose(file["edited"][1], file["inversion"][0])
    words[words.index("-3,0,3")] = "-3,lots"
    assert main(words) == 1 and "'lots' is not a number" in capsys.readouterr().err
    assert main(["edit", "--out", "x"]) == 1 and "--interpolate A B" in capsys.readouterr().err
    ends = [str(tmp_path / f"{i}.png") for i in range(2)]
    assert main(["edit", "--interpolate", *ends, "--frames", "4", "--out", str(tmp_path / "way"), "--device",
                 "cpu"]) == 0
    assert (tmp_path / "way" / "animation.gif").is_file() and (tmp_path / "way" / "frame_003.png").is_file()
    strip = np.asarray(Image.open(tmp_path / "way" / "strip.png"))
    for end, columns in zip(ends, (strip[:, :192], strip[:, -192:]), strict=True):
        assert np.array_equal(columns[::24, ::24], np.asarray(Image.open(end))), "A stands first, B last"


@pytest.mark.parametrize("path", sorted(ASSETS.glob("*/directions/*.npz")), ids=lambda path: path.stem)
def test_shipped_directions_belong_to_the_shipped_generator(path):
    one = directions.load(path)[path.stem]
    one.check(load_generator(f"{path.parents[1].name}/generator"))
    assert one.generator and one.accuracy > 0.8 and one.meaning and path.stat().st_size < 50_000
