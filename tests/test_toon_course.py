"""From a parent generator to its child, alignments on the way, and the figures that show them."""
import pytest
import tiny
import torch

from restyle_lib import figures_toonify, latent_alignment, toon_study, toonify, weights
from restyle_lib.checkpoints.own import load_model, save_model
from restyle_lib.errors import UserError
from restyle_lib.models.features import AttributeReader, IdentityNet
from restyle_lib.models.stylegan2 import fingerprint
from restyle_lib.statistics import Interval

PARENT, CHILD = tiny.generator(32, seed=0), tiny.generator(32, seed=5)
SPECS = [{"name": "yaw", "kind": "real", "low": -45, "high": 45}, {"name": "glasses", "kind": "binary"}]


def test_the_way_begins_at_the_parent_and_ends_at_what_the_child_draws():
    assert fingerprint(toonify.towards(PARENT, CHILD, 0)) == fingerprint(PARENT)
    w = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    end, middle = toonify.towards(PARENT, CHILD, 1), toonify.towards(PARENT, CHILD, 0.5)
    assert torch.equal(end(w), CHILD(w)) and torch.equal(end.mapping(w), PARENT.mapping(w))
    between = (PARENT.convs[1].weight + CHILD.convs[1].weight) / 2
    assert torch.allclose(middle.convs[1].weight, between, atol=1e-6)
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(UserError, match="0 to 1"):
            toonify.towards(PARENT, CHILD, share)


def test_a_ladder_goes_from_little_of_the_child_to_much():
    for coarse in ("child", "parent"):
        found = toonify.ladder(PARENT, CHILD, soft=0.5, coarse=coarse)
        cuts = [label for label in found if not label.startswith("soft")]
        swaps = [8, 16, 32] if coarse == "child" else [32, 16, 8]
        assert cuts == [f"swap at {side} px" for side in swaps]
        theirs = [sum(torch.equal(mine, child) for mine, child in zip(
            found[label].state_dict().values(), CHILD.state_dict().values(), strict=True)) for label in cuts]
        assert theirs == sorted(set(theirs)) and list(found)[-1] == "soft swap, 16 px"
    assert list(toonify.ladder(PARENT, CHILD, [32], soft=0)) == ["swap at 32 px", "soft swap, 32 px"]


def test_a_course_says_what_its_places_are(tmp_path):
    across, places = toonify.course(PARENT, CHILD)
    assert "share of the way" in across and list(places) == ["0", "0.25", "0.5", "0.75", "1"]
    assert places["0"] is PARENT and places["1"] is CHILD
    for count in (1000, 2000):
        between = toonify.towards(PARENT, CHILD, count / 4000)
        save_model(tmp_path / str(count), between, "generator", images=count)
    across, places = toonify.course(PARENT, CHILD, [tmp_path / "1000", tmp_path / "2000"])
    assert "images" in across and list(places) == ["0", "1,000", "2,000", "the end"]
    assert fingerprint(places["2,000"]) == fingerprint(load_model(tmp_path / "2000")[0])
    save_model(tmp_path / "untold", CHILD, "generator")
    _, places = toonify.course(PARENT, CHILD, [tmp_path / "1000", tmp_path / "untold"])
    assert list(places) == ["0", "saved 1", "saved 2", "the end"]
    save_model(tmp_path / "small", tiny.generator(16), "generator")
    with pytest.raises(UserError, match="one shape"):
        toonify.course(PARENT, CHILD, [tmp_path / "small"])


def test_what_is_missing_is_told_and_what_nobody_means_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(weights, "shipped", lambda: ["avatars/generator"])
    here, missing = toonify.there({"a": "avatars/generator", "b": "toons/generator", "c": ""})
    assert here == {"a": "avatars/generator"} and len(missing) == 1
    assert missing[0].startswith("b: the weights toons/generator are not here; make them:")
    save_model(tmp_path / "own", CHILD, "generator")
    assert toonify.there({"a": str(tmp_path / "own")})[0] and toonify.there({"a": "toonify"})[1]
    with pytest.raises(UserError, match="did you mean"):
        toonify.there({"a": "avatar/generator"})


def test_a_series_measures_each_generator_once():
    torch.manual_seed(0)
    reader, again = (AttributeReader(SPECS, (8, 8), channels=(8, 8, 8, 8)).eval() for _ in range(2))
    network = IdentityNet((8, 8), channels=(8, 8, 8, 8), dim=8).eval()
    how = dict(count=12, domain=tiny.domain(32, encoder_size=(8, 8)))
    others = {"parent": PARENT, "child": CHILD, "the end": CHILD}
    found = latent_alignment.series(PARENT, others, reader, network, keep=2, again=again,
                                    style=lambda x: x.mean((1, 2, 3)), **how)
    assert found["the end"] is found["child"] and len(found["child"]["images"][1]) == 2
    assert found["parent"]["toon-ness"] != found["child"]["toon-ness"] and "toon-ness" in str(
        latent_alignment.table(found))
    assert found["parent"]["score"].estimate == 1 and set(found["child"]["readers"]) == {"yaw", "glasses"}
    alone = latent_alignment.alignment(PARENT, CHILD, reader, network, **how)
    assert alone["attributes"] == found["child"]["attributes"] and alone["score"] == found["child"]["score"]
    lines, chance = latent_alignment.lines(found.values(), ["yaw"])
    assert len(lines["yaw"]) == len(chance) == 3 and lines["yaw"][0].estimate == pytest.approx(1)
    table = latent_alignment.table(found, ["yaw"])
    assert [row["generator"] for row in table] == list(others)
    assert table[0]["mean r, true"] == pytest.approx(1)
    figure = figures_toonify.alignments(lines, ["0", "1", "2"], "place", "r", chance)
    assert len(figure.rows) == 3 and figure.rows[0]["series"] == "yaw"


def test_figures_keep_every_number_of_a_study():
    first, second = tiny.pair()
    images = tiny.images(3)
    found = toon_study.variants(first, second, images, first_steps=(1,), steps=2, single=first)
    measured = toon_study.measure({**found, "input": images[None]}, images, toons=images,
                                  toonness=lambda x: x.mean((1, 2, 3)).sigmoid())
    rows = toon_study.table(measured)
    assert [row["step"] for row in rows] == [1, 2, 2, 2, 0] and rows[-1]["L2 to the true toon"] == 0
    figure = figures_toonify.courses(measured, ["toon-ness", "L2 to the true toon", "unknown"], ("input",))
    assert len(figure.axes) == 2 and len(figure.rows) == 2 * (2 + 3 * 3 + 1)
    figure = figures_toonify.tradeoff(measured, ["L2 to the true toon"], ("input",))
    last = [row for row in figure.rows if row["variant"] == "average toon"][-1]
    assert last["step"] == 2 and last["mean"] == pytest.approx(rows[1]["L2 to the true toon"])
    shown = figures_toonify.looks(["one pass", "average toon", "bootstrap, 1", "re-rendered"])
    assert len({look[:2] for look in shown.values()}) == 4


def test_what_was_begun_is_taken_up():
    first, second = tiny.pair()
    images = tiny.images(3)
    begun = first(images, 3)
    made = toonify.bootstrap(first, second, images, 2, 2, begun=begun)
    again = toonify.bootstrap(first, second, images, 2, 2)
    assert torch.equal(made.latents, again.latents) and torch.equal(made.images, again.images)
    reused = toon_study.variants(first, second, images, first_steps=(1, 3), steps=2, begun=begun, batch=2)
    fresh = toon_study.variants(first, second, images, first_steps=(1, 3), steps=2)
    assert all(torch.allclose(reused[label].images, fresh[label].images, atol=1e-5) for label in fresh)
    for count, chosen in ((4, images), (1, images[:2])):
        with pytest.raises(UserError, match="holds 3 steps of 3"):
            toonify.bootstrap(first, second, chosen, count, 1, begun=begun)


def test_places_without_a_number_are_gaps():
    value = Interval(0.5, 0.4, 0.6, 9)
    figure = figures_toonify.alignments({"a": [value, None], "b": [value, value]}, ["x", "y"], "place", "r")
    assert [row["place"] for row in figure.rows] == ["x", "x", "y"]
