"""Ablations: plans, variants trained at equal compute and resumed, absolute codes, recorded runs."""
import dataclasses

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from tiny_encoder import TINY, generator, pictures, trainer

from restyle_lib import ablation, lineup, weights
from restyle_lib.__main__ import main
from restyle_lib.checkpoints.own import read_config, save_model
from restyle_lib.comparison import Curve
from restyle_lib.data import domain_images, load_domain
from restyle_lib.errors import UserError
from restyle_lib.files import ASSETS, write_json
from restyle_lib.refine import refine, step
from restyle_lib.statistics import Interval
from restyle_lib.training import ablation as arms

PLAN = """\
domain: {folder}/domain.yaml
passes: 6
settings: {{batch: 2, batch_norm: frozen, save_every: 1, lr: 0.001}}
variants:
  first: {{steps: 3}}
  absolute: {{settings: {{codes: absolute, steps: 2}}, start: random, update: batch}}
  own: {{steps: 2, head: pyramid, losses: {{l2: 1.0, "mine.py:edges": 0.5}}}}
"""
MINE = """\
def edges(output, target):
    return (output.diff(dim=3) - target.diff(dim=3)).abs().mean()
def map(output, target):
    return (output - target).abs()
def constant(output, target):
    return target.mean()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A domain of 24 images in files, a generator, a plan and a loss."""
    folder = tmp_path_factory.mktemp("ablation")
    (folder / "images").mkdir()
    for i, image in enumerate(pictures(24)):
        Image.fromarray(image).save(folder / "images" / f"{i:02d}.png")
    save_model(folder / "g", generator(), "generator")
    (folder / "data.yaml").write_text(
        "name: toy\nsource: {kind: folder, path: images}\nlicence: made for a test\nsize: [16, 16]\n"
        "splits: {train: {part: [0, 0.5]}, test: {part: [0.5, 1]}}\n")
    (folder / "domain.yaml").write_text(
        f"name: toy\ntrain: {folder}/data.yaml\ngenerator: {folder}/g\nresolution: 16\n"
        "encoder_size: [16, 16]\nflip: false\nbackbone: irse_small\nhead_channels: 8\nlosses: {l2: 1.0}\n")
    (folder / "mine.py").write_text(MINE)
    return folder


def plan(folder, text=PLAN, name="plan.yaml"):
    (folder / name).write_text(text.format(folder=folder))
    return folder / name


# ---- absolute codes

def test_one_step_from_the_average_is_the_same_with_absolute_codes():
    inverter, images = tiny.inverter(), tiny.images()
    parts = inverter.encode, inverter.synthesize, images
    residual = refine(*parts, inverter.start, steps=2)
    absolute = refine(*parts, inverter.start, steps=2, base=inverter.start)
    assert torch.equal(residual.latents[1], absolute.latents[1])
    code = inverter.start + inverter.encode(torch.cat([images, absolute.images[1]], 1))
    torch.testing.assert_close(absolute.latents[2], code)
    assert not torch.allclose(residual.latents[2], absolute.latents[2])
    now = step(*parts, absolute.latents[1], absolute.images[1], inverter.start)
    torch.testing.assert_close(now.residual, absolute.latents[2] - absolute.latents[1])


def test_the_trainer_and_the_saved_encoder_keep_to_absolute_codes(tmp_path):
    found = {codes: trainer(dataclasses.replace(TINY, codes=codes, iterations=9)) for codes in
             ("residual", "absolute")}
    losses = {codes: [loss.detach() for loss, _ in t.passes(t.batch(0), 0)] for codes, t in found.items()}
    assert torch.equal(losses["residual"][0], losses["absolute"][0])
    assert not torch.equal(losses["residual"][1], losses["absolute"][1])
    assert "codes" not in found["residual"].c.options() and found["absolute"].c.options()["codes"]
    t = found["absolute"]
    save_model(tmp_path, t.exported(0).eval(), "encoder", half=False)
    inverter = weights.load_inverter(tmp_path, t.inverter.domain, generator=t.generator)
    assert torch.equal(inverter.base, inverter.start) and found["residual"].inverter.base is None
    images = t.batch(0)
    codes = inverter(images, 2)
    pair = torch.cat([images, codes.images[1]], 1)
    torch.testing.assert_close(codes.latents[2], inverter.start + inverter.encoder(pair))


# ---- plans

def test_the_shipped_plan_gives_every_variant_the_same_passes():
    shipped = arms.load()
    domain = load_domain(shipped.domain)
    for name in shipped.variants:
        config = shipped.config(name, seed=2)
        assert shipped.passes - config.steps < config.iterations * config.steps <= shipped.passes
        assert config.seed == 2 and shipped.losses(name, domain)[0] == domain.losses
        assert f"--only {name}" in shipped.command(name)
    assert shipped.config("update-batch").update == "batch" != shipped.config("baseline").update
    assert shipped.variants["baseline"].seeds == ablation.SEEDS
    assert {shipped.reference(n) for n in ("absolute", "extra-normal", "trunk-random")} == {"trunk"}
    own = arms.load(arms.PLAN.parent / "templates" / "ablation.yaml")
    assert len(own.losses("edges", load_domain(own.domain))[1]) == 1


@pytest.mark.parametrize("old, new, told", [
    ("steps: 3", "step: 3", "did you mean 'steps'"), ("passes:", "passses:", "did you mean 'passes'"),
    ("steps: 3", "steps: 0", "an integer from 1 on"),
    ("lr:", "rate:", "setting of the variant first"),
    ("0.001", "fast", "expected a number"), ("lr: 0.001", "iterations: 9", "unknown setting"),
    ("l2: 1.0", "l2s: 1.0", "did you mean 'l2'"), ("mine.py:edges", "mine.py:edge", "cannot be read"),
    ("mine.py:edges", "mine.py:map", r"returned a tensor \[2, 3, 16, 16\]; accepted: a scalar"),
    ("mine.py:edges", "mine.py:constant", "depends on the output"),
    ("steps: 3", "against: frst", "did you mean 'first'"),
    ("first:", "First one:", "needs a name of"), ("head: pyramid", "head: flat", "single or pyramid")])
def test_a_wrong_plan_is_one_sentence(folder, old, new, told):
    with pytest.raises(UserError, match=told):
        arms.load(plan(folder, PLAN.replace(old, new), "wrong.yaml"))


def test_nothing_to_compare_is_refused(folder, tmp_path):
    lonely = PLAN[:PLAN.index("  absolute")]
    with pytest.raises(UserError, match="two variants or more"):
        arms.load(plan(folder, lonely, "lonely.yaml"))
    for images, steps, told in ((1, 5, "two images"), (5, 1, "two steps")):
        with pytest.raises(UserError, match=told):
            arms.train(arms.load(plan(folder)), tmp_path, images=images, steps=steps)


# ---- training

def train(folder, out, **more):
    more = {"images": 4, "steps": 4, "device": "cpu", "headless": True, "say": str} | more
    return arms.train(arms.load(plan(folder)), out, **more)


def test_variants_are_trained_resumed_and_measured(folder, tmp_path, monkeypatch):
    whole = train(folder, tmp_path / "whole")
    assert [r["variant"] for r in whole] == ["absolute", "first", "own"]
    assert {r["variant"]: (r["iterations"], r["passes"]) for r in whole} == {
        "absolute": (3, 6), "first": (2, 6), "own": (3, 6)}
    assert train(folder, tmp_path / "parts", only=("first",), max_seconds=1e-9) == []
    real = arms.commands.encoder
    with monkeypatch.context() as patch:
        patch.setattr(arms.commands, "encoder", lambda *a, **k: real(*a, **k | {"max_seconds": 1e-9}))
        assert train(folder, tmp_path / "parts", only=("first",)) == []
    parts = train(folder, tmp_path / "parts", only=("first",))
    first = ablation.of(whole, "first")[0]
    for key in ("values", "curves", "sha256", "generator"):
        assert parts[0][key] == first[key]
    assert len(first["values"]) == 4 and np.shape(first["curves"]["l2"]) == (5, 3)
    assert np.mean(first["values"]) == pytest.approx(first["curves"]["l2"][3][0], rel=1e-3)
    plan_ = arms.load(plan(folder))
    table = ablation.rows(plan_, whole)
    assert [row["variant"] for row in table] == list(plan_.variants) and "not claimed" in table[1]["verdict"]
    facts = read_config(tmp_path / "whole" / "own" / "seed-0" / "last")
    assert facts["architecture"]["head"] == "pyramid" and facts["facts"]["losses"]["mine.py:edges"] == 0.5
    inverter = weights.load_inverter(tmp_path / "whole/first/seed-0/last", folder / "domain.yaml")
    rows = load_domain(folder / "domain.yaml").dataset("test").split("test").spread(4)
    x = domain_images(folder / "domain.yaml", indices=rows[:2])
    again = ablation.curves(inverter, x, {}, 3)["l2"][3]                     # a recorded point, once more
    assert again == pytest.approx(first["values"][:2], rel=1e-3)


def test_finished_variants_are_passed_over_and_changed_ones_refused(folder, tmp_path, capsys, monkeypatch):
    words = ["train", "ablation", str(plan(folder)), "--out", str(tmp_path), "--images", "3", "--steps", "3",
             "--device", "cpu", "--only", "first", "--seeds", "2"]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "first, seed 1" in told and "L2 at N" in told
    monkeypatch.setattr(arms.ablation, "curves", None)                                  # not measured again
    assert main(words) == 0
    path = plan(folder, PLAN.replace("lr: 0.001", "lr: 0.002"))
    assert main(words) != 0 and "trained with other settings" in capsys.readouterr().err
    plan(folder)
    assert main(["train", "ablation", str(path), "--out", str(tmp_path), "--only", "frst"]) != 0
    assert "did you mean 'first'" in capsys.readouterr().err


def test_a_projection_counts_the_trainings(folder):
    seconds, trainings = arms.project(arms.load(plan(folder)))
    assert seconds > 0 and trainings == 3


# ---- what differences are worth

def result(variant, mean, seed=0, generator="a", steps=2):
    values = [mean + 0.01 * i for i in range(5)]
    return {"variant": variant, "seed": seed, "steps": steps, "passes": 6, "generator": generator,
            "values": values, "curves": {"l2": [[mean] * 3] * 3}}


def test_a_difference_counts_beyond_the_spread_of_three_seeds(folder):
    found = arms.load(plan(folder))
    seeds = [result("first", mean, seed) for seed, mean in enumerate((0.20, 0.21, 0.22))]
    verdicts = {}
    for mean in (0.195, 0.10, 0.30):
        rows = ablation.rows(found, [*seeds, result("own", mean)])
        verdicts[mean] = rows[1]["verdict"]
        assert rows[1]["seeds' spread"] == pytest.approx(0.02)
    assert verdicts == {0.195: "no difference that this budget can show", 0.10: "better", 0.30: "worse"}
    assert ablation.spread(seeds[:2], "first") is None
    variants = found.variants | {"other": arms.Variant(against="own")}
    three = ablation.rows(dataclasses.replace(found, variants=variants),
                          [*seeds, result("own", 0.2), result("other", 0.19)])
    assert three[2]["seeds' spread"] == pytest.approx(0.02), "of the first, where the reference has one seed"
    assert three[2]["verdict"].startswith("no difference")
    rows = ablation.rows(found, [*seeds[:2], result("own", 0.1)])
    assert rows[1]["verdict"].startswith("not claimed")
    assert ablation.rows(found, [*seeds[:2], result("own", 0.1)], room=0.02)[1]["verdict"] == "better"
    recorded = [result("baseline", mean, seed) for seed, mean in enumerate((0.3, 0.35, 0.32))]
    assert ablation.noise(found, seeds)[0] == pytest.approx(0.02)
    assert ablation.noise(found, seeds[:1], recorded)[0] == pytest.approx(0.05)
    other = dataclasses.replace(found, passes=7)
    assert ablation.noise(other, seeds[:1], recorded)[0] is None and "not" in ablation.noise(found, [])[1]
    assert "after 7 passes" in ablation.noise(other, [], recorded)[1]
    assert ablation.verdict(Interval(-0.1, -0.2, 0.01, 5), 0.02).startswith("no difference")
    assert ablation.course(seeds, "first") == pytest.approx(np.full((3, 3), 0.21))


def test_recorded_runs_belong_to_one_generator(tmp_path):
    write_json(tmp_path / "results.json", {"runs": [result("first", 0.2)]})
    assert ablation.read(tmp_path / "results.json", "a")[0]["variant"] == "first"
    with pytest.raises(UserError, match="recorded with generator a"):
        ablation.read(tmp_path / "results.json", "b")
    with pytest.raises(UserError, match="no recorded ablations"):
        ablation.read(tmp_path / "none.json", "a")


def test_shipped_records_can_be_computed_again():
    """Of every domain that ships recorded runs: its generator's, and one point from its shipped encoder."""
    for path in ASSETS.glob("*/ablation.json"):
        domain = load_domain(path.parent.name)
        found = ablation.read(path, read_config(weights.find(domain.generator))["generator"])
        for told in ablation.of(found, ablation.SHIPPED):
            assert read_config(weights.find(told["model"]))["file"]["sha256"] == told["sha256"]
            inverter = weights.load_inverter(told["model"])
            rows = domain.dataset("test").split(told["split"]).spread(told["images"])[:2]
            x = domain_images(domain, told["split"], indices=rows)
            again = ablation.curves(inverter, x, {}, told["steps"])["l2"][-1]
            assert again == pytest.approx(told["values"][:2], rel=2e-3)


def test_evidence_of_naive_refeeding():
    def curve(label, values):
        values = np.array(values)[:, None] + np.array([0.0, 0.01])
        means = values.mean(1)
        return Curve(label, np.arange(len(values)), means, means, means, means, means, values, ("a", "b"))
    naive = curve("naive pSp", [0.5, 0.1, 0.2, 0.3, 0.4, 0.5])
    ours = curve("ReStyle-pSp", [0.5, 0.2, 0.1, 0.1, 0.1, 0.1])
    found = list(ablation.naive_evidence({"naive pSp": naive, "ReStyle-pSp": ours}))
    assert [(f["part"], f["step"]) for *_, f in found] == [
        *(("psp", t) for t in range(1, 6)), *(("l2", t) for t in range(2, 6))]
    assert [v for _, v, *_ in found][0] == pytest.approx(0.105) and all(v.high < 0 for _, v, *_ in found[5:])
    assert list(ablation.naive_evidence({"ReStyle-pSp": ours})) == []
    assert [e.label for e in lineup.NAIVE] == ["ReStyle-pSp", "ReStyle-e4e", "naive pSp", "naive e4e"]
