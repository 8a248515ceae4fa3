"""Blended generators, aligned latents, bootstrapping: identities that hold for any weights."""
import json

import numpy as np
import pytest
import tiny
import torch
from click.testing import CliRunner

from restyle_lib import latent_alignment, toonify, weights
from restyle_lib.__main__ import cli, main
from restyle_lib.checkpoints.own import load_model, save_model
from restyle_lib.data import load_images
from restyle_lib.errors import UserError
from restyle_lib.invert import invert
from restyle_lib.inverter import Inverter
from restyle_lib.models.features import AttributeReader, IdentityNet
from restyle_lib.models.stylegan2 import Generator, fingerprint
from restyle_lib.pixels import encode_png, to_pixels
from restyle_lib.statistics import Interval
from restyle_lib.trajectory import Trajectory

PARENT, CHILD = tiny.generator(32, seed=0), tiny.generator(32, seed=5)
SPECS = [{"name": "yaw", "kind": "real", "low": -45, "high": 45}, {"name": "glasses", "kind": "binary"},
         {"name": "hair_style", "kind": "category", "classes": 3},
         {"name": "smile", "kind": "real", "low": -1, "high": 1}]


def block(generator, side):
    state = generator.state_dict()
    return {name: tensor for name, tensor in state.items() if toonify._side(generator, name) == side}


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


# ---- blending

@pytest.mark.parametrize("coarse", ["child", "parent"])
def test_a_cut_takes_every_block_from_one_of_the_two(coarse):
    low, high = (CHILD, PARENT) if coarse == "child" else (PARENT, CHILD)
    mixed = toonify.blend(PARENT, CHILD, 16, coarse=coarse)
    for side in (4, 8, 16, 32):
        assert same(block(mixed, side), block(low if side < 16 else high, side)) and block(mixed, side)
    assert same(mixed.mapping.state_dict(), PARENT.mapping.state_dict())
    assert torch.equal(mixed.w_mean, PARENT.w_mean) and not mixed.training
    everything = [n for side in (4, 8, 16, 32) for n in block(mixed, side)]
    rest = [n for n in mixed.state_dict() if n not in everything]
    assert all(name.startswith(("mapping.", "w_mean")) for name in rest)


def test_a_generator_blended_with_itself_is_itself():
    for how in (dict(swap=8), dict(swap=32, soft=1.5), dict(swap=16, coarse="parent")):
        assert fingerprint(toonify.blend(PARENT, PARENT, **how)) == fingerprint(PARENT)


def test_a_soft_blend_goes_over_into_the_cut():
    rising = list(toonify.shares(32, 16, 0.7).values())
    assert rising == sorted(rising) and 0 < rising[0] < 0.5 < rising[-1] < 1
    assert rising[1] == pytest.approx(1 - rising[2])                 # 8 and 16 px lie alike around the cut
    assert toonify.shares(32, 16, 1e-6) == pytest.approx(toonify.shares(32, 16))
    mixed, share = toonify.blend(PARENT, CHILD, 16, soft=0.7), toonify.shares(32, 16, 0.7)[8]
    weight = mixed.convs[1].weight
    between = (1 - share) * CHILD.convs[1].weight + share * PARENT.convs[1].weight
    assert torch.allclose(weight, between, atol=1e-6)


@pytest.mark.parametrize("how, words", [
    (dict(swap=4), "swap=4: .* 8, 16, 32"), (dict(swap=64), "swap=64"), (dict(swap=12), "swap=12"),
    (dict(swap=16, soft=-1), "soft=-1"), (dict(swap=16, soft=float("nan")), "soft=nan"),
    (dict(swap=16, coarse="chid"), "did you mean 'child'")])
def test_impossible_blends_are_refused(how, words):
    with pytest.raises(UserError, match=words):
        toonify.blend(PARENT, CHILD, **how)


@pytest.mark.parametrize("change", [dict(resolution=16), dict(w_dim=12), dict(mapping_layers=3),
                                    dict(channels={4: 8, 8: 8, 16: 8, 32: 6}), dict(image_channels=1)])
def test_generators_of_two_shapes_are_refused_by_both_names(change):
    other = Generator(**{**PARENT.config, **change})
    with pytest.raises(UserError) as error:
        toonify.blend(PARENT, other, 8)
    assert toonify.shape(PARENT) in str(error.value) and toonify.shape(other) in str(error.value)


def test_the_command_writes_a_blend_that_names_its_parents(tmp_path):
    for name, generator in (("one", PARENT), ("two", CHILD)):
        save_model(tmp_path / name, generator, "generator", seed=3)
    one, two, mixed = (str(tmp_path / name) for name in ("one", "two", "mixed"))
    told = CliRunner().invoke(cli, ["train", "blend", one, two, "--swap", "16", "--coarse", "parent", "--out",
                                    mixed])
    assert told.exit_code == 0, told.output
    config = json.loads((tmp_path / "mixed/config.json").read_text())
    parent, child, mixed = (load_model(tmp_path / name)[0] for name in ("one", "two", "mixed"))
    facts = config["facts"]
    assert (facts["swap"], facts["soft"], facts["coarse"]) == (16, 0.0, "parent")
    marks = [facts[role]["generator"] for role in ("parent", "child")]
    assert marks == [fingerprint(parent), fingerprint(child)]
    assert facts["parent"]["name"] == "one" and facts["child"]["facts"] == {"seed": 3}
    assert config["generator"] == fingerprint(mixed) and config["generator"][:12] in told.output
    assert fingerprint(mixed) == fingerprint(toonify.blend(parent, child, 16, coarse="parent"))
    assert str(tmp_path) not in json.dumps(config)


@pytest.fixture
def both_shipped(tmp_path, monkeypatch):
    """An assets folder with a parent and a child."""
    monkeypatch.setattr(weights, "ASSETS", tmp_path)
    for name, generator in (("one", PARENT), ("two", CHILD)):
        save_model(tmp_path / name / "generator", generator, "generator")
    return tmp_path


@pytest.mark.parametrize("soft", [0.0, 0.7])
def test_a_recipe_is_the_blend_without_its_weights(both_shipped, soft):
    folder = both_shipped / "mixed/generator"
    for recipe, where in ((True, folder), (False, both_shipped / "file")):
        toonify.save_blend(where, "one", "two", 16, soft=soft, coarse="parent", recipe=recipe)
    assert [path.name for path in folder.iterdir()] == ["config.json"]
    small, whole = weights.load_generator("mixed"), load_model(both_shipped / "file")[0]
    assert same(small.state_dict(), whole.state_dict())
    assert fingerprint(small) == json.loads((folder / "config.json").read_text())["generator"]


def test_a_recipe_of_replaced_or_foreign_generators_is_refused(both_shipped, tmp_path):
    toonify.save_blend(both_shipped / "mixed/generator", "one", "two", 16, recipe=True)
    with pytest.raises(UserError, match="blends shipped generators, which .*elsewhere is not"):
        toonify.save_blend(both_shipped / "more", "one", _moved(both_shipped, "elsewhere"), 16, recipe=True)
    path = both_shipped / "mixed/generator/config.json"
    config = json.loads(path.read_text())
    for damage in ({"parent": "../one"}, {"swap": 3}, {"more": 1}, {"child": None}):
        path.write_text(json.dumps(config | {"blend": config["blend"] | damage}))
        with pytest.raises(UserError):
            weights.load_generator("mixed")
    path.write_text(json.dumps(config))
    save_model(both_shipped / "two/generator", tiny.generator(32, seed=6), "generator")
    with pytest.raises(UserError, match="replaced, blend them again"):
        weights.load_generator("mixed")


def _moved(folder, name):
    """A generator that lies beside the assets, shipped by nobody."""
    save_model(folder.parent / name, CHILD, "generator")
    return str(folder.parent / name)


def test_missing_weights_say_what_to_train(monkeypatch):
    monkeypatch.setattr(weights, "shipped", lambda: ["avatars/generator"])
    with pytest.raises(UserError, match="train blend avatars toons"):
        toonify.needed("toonify")
    with pytest.raises(UserError, match="train generator --domain toons --size tuned --init-from"):
        toonify.needed("toons/generator")
    with pytest.raises(UserError, match="did you mean"):
        toonify.needed("avatar/generator")
    assert toonify.needed("avatars") == "avatars"


# ---- alignment

def test_a_generator_is_aligned_with_itself_and_not_with_a_stranger():
    a, b = latent_alignment.same_latents(PARENT, PARENT, 24, seed=1)
    assert torch.equal(a, b) and latent_alignment.score(a, b).estimate == 1
    assert latent_alignment.score(a, b[latent_alignment.shuffled(24)]).estimate < 0.75
    small, _ = latent_alignment.same_latents(PARENT, PARENT, 4, domain=tiny.domain(32, encoder_size=(8, 8)))
    assert small.shape == (4, 3, 8, 8)
    with pytest.raises(UserError, match="8x8.*6x8"):
        latent_alignment.same_latents(PARENT, tiny.generator(16), 4)
    with pytest.raises(UserError, match="3 or more"):
        latent_alignment.score(a[:2], b[:2])


def test_a_common_change_of_style_leaves_the_score():
    a = torch.rand(30, 3, 16, 16) * 2 - 1
    style = torch.rand(1, 3, 16, 16)
    assert latent_alignment.score(a, 0.3 * a + style).estimate == 1


def test_correlation_is_of_true_pairs():
    rng = np.random.default_rng(0)
    read = {"yaw": rng.normal(size=80), "hair_style": rng.random((80, 3)), "flat": np.ones(80)}
    noisy = {**read, "yaw": read["yaw"] + 0.1 * rng.normal(size=80)}
    found = latent_alignment.correlations(read, noisy, ("yaw", "hair_style", "flat", "unknown"), resamples=50)
    assert list(found) == ["yaw", "hair_style", "flat"]
    assert found["yaw"]["true"].estimate > 0.9 and found["hair_style"]["true"].estimate == pytest.approx(1)
    assert found["flat"]["true"].estimate == found["flat"]["difference"].estimate == 0
    for rows in found.values():
        assert rows["difference"].estimate == pytest.approx(rows["true"].estimate - rows["shuffled"].estimate)
    partner = latent_alignment.shuffled(80)
    assert sorted(partner) == list(range(80)) and (partner != np.arange(80)).all()


def test_an_alignment_gathers_what_its_networks_can_tell():
    torch.manual_seed(0)
    reader = AttributeReader(SPECS, (8, 8), channels=(8, 8, 8, 8)).eval()
    network = IdentityNet((8, 8), channels=(8, 8, 8, 8), dim=8).eval()
    domain = tiny.domain(32, encoder_size=(8, 8))
    found = latent_alignment.alignment(PARENT, PARENT, reader, network, count=12, domain=domain)
    assert found["identity"]["true"].estimate == pytest.approx(1, abs=1e-5)
    assert {n: r["true"].estimate for n, r in found["attributes"].items()} == pytest.approx(
        {"yaw": 1, "smile": 1, "glasses": 1, "hair_style": 1})
    claims = list(latent_alignment.evidence(found, readable=("yaw", "smile")))
    assert [where["attribute"] for *_, where in claims] == ["yaw", "smile"]
    assert all(isinstance(value, Interval) and where["claim"] == "aligned" for _, value, _, where in claims)
    bare = latent_alignment.alignment(PARENT, CHILD, count=5)
    assert bare["attributes"] == bare["identity"] == {} and 0 <= bare["score"].estimate <= 1


def test_inspect_prints_the_score_of_two_generators(tmp_path, capsys):
    for name, generator in (("one", PARENT), ("two", CHILD), ("small", tiny.generator(16))):
        save_model(tmp_path / name, generator, "generator")
    assert main(["inspect", str(tmp_path / "one"), str(tmp_path / "two"), "--count", "5"]) == 0
    assert "alignment on 5 random w" in capsys.readouterr().out
    assert main(["inspect", str(tmp_path / "one"), str(tmp_path / "small")]) == 1
    assert "share no latent space" in capsys.readouterr().err


# ---- bootstrapping


def test_the_second_encoder_starts_from_the_firsts_latent_and_its_image():
    first, second = tiny.pair()
    images = tiny.images()
    made, begun = toonify.bootstrap(first, second, images, 2, 3), first(images, steps=2)
    assert torch.equal(made.latents[0], begun.latents[-1]) and torch.equal(made.images[0], begun.images[-1])
    pairs = torch.cat([images, begun.images[-1]], 1)
    assert torch.allclose(made.latents[1], begun.latents[-1] + second.encode(pairs), atol=1e-6)
    assert len(made.images) == 4 and made.generator == second.fingerprint
    assert torch.allclose(made.images[-1], second.synthesize(made.latents[-1]), atol=1e-5)


def test_the_ablation_draws_the_start_with_the_second_generator():
    first, second = tiny.pair()
    made = toonify.bootstrap(first, second, tiny.images(), 1, 2, rerender=True)
    assert torch.allclose(made.images[0], second.synthesize(made.latents[0]), atol=1e-6)
    assert not torch.allclose(made.images[0], first.synthesize(made.latents[0]), atol=1e-3)


def test_no_first_step_is_the_plain_start():
    first, second = tiny.pair()
    made, plain = toonify.bootstrap(first, second, tiny.images(), 0, 2), second(tiny.images(), 2)
    assert torch.equal(made.latents, plain.latents) and torch.equal(made.images, plain.images)


@pytest.mark.parametrize("steps", [(1, 0), (-1, 1)])
def test_steps_out_of_range_are_refused(steps):
    with pytest.raises(UserError, match="at least 1"):
        toonify.bootstrap(*tiny.pair(), tiny.images(), *steps)


def test_unlike_latents_are_refused():
    first, _ = tiny.pair()
    large = tiny.generator(32)
    second = Inverter(tiny.TinyEncoder(8).eval(), large, tiny.domain(32), name="large")
    with pytest.raises(UserError, match="6x8.*8x8.*one cannot start from the other"):
        toonify.bootstrap(first, second, tiny.images())


def test_files_are_bootstrapped_by_the_same_steps(tmp_path):
    first, second = tiny.pair()
    (tmp_path / "in.png").write_bytes(encode_png(to_pixels(tiny.images(1))[0]))
    x = load_images(tmp_path / "in.png", first.domain)
    for count in (0, 1, 2):
        how = dict(save="latents", start_from=first, first_steps=count, progress=False)
        invert([tmp_path / "in.png"], second, tmp_path / str(count), steps=2, **how)
        made = Trajectory.load(tmp_path / str(count) / "in.png" / "trajectory.npz")
        wanted = toonify.bootstrap(first, second, x, count, 2)
        assert torch.allclose(made.latents, wanted.latents, atol=1e-5)
    with pytest.raises(UserError, match="first_steps=-1"):
        invert([tmp_path / "in.png"], second, tmp_path / "no", start_from=first, first_steps=-1)
    with pytest.raises(UserError, match="start_from"):
        invert([tmp_path / "in.png"], second, tmp_path / "2", steps=2, save="latents", start_from=first)
