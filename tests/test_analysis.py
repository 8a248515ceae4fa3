"""Where refinement looks and how styles settle: identities of shares, bands, groups, stops and heads."""
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny import images, inverter

from restyle_lib import analysis, claims, figures, figures_analysis, heads, metrics
from restyle_lib.comparison import Curve
from restyle_lib.errors import UserError
from restyle_lib.statistics import Interval
from restyle_lib.trajectory import Trajectory

X = images(3)


def refined(steps=6, count=3):
    return inverter()(X[:count], steps)


def halves(count=3, size=(8, 8)):
    """Masks of an object on the right."""
    inside = torch.zeros(count, *size)
    inside[:, :, size[1] // 2:] = 1
    return {"background": 1 - inside, "head": inside}


def fading(count=4, steps=6, styles=10):
    """A trajectory whose changes halve: coarse styles move most, and the picture ever finer, then at eyes."""
    generator = torch.Generator().manual_seed(0)
    scale = torch.cat([torch.full([4], 4.0), torch.full([4], 2.0), torch.full([styles - 8], 1.0)])
    moves = torch.randn(count, styles, 5, generator=generator) * scale[None, :, None]
    rates = torch.cat([torch.full([8], 0.6), torch.full([styles - 8], 0.3)])[None, :, None]
    moved = [moves * rates**t for t in range(steps)]
    latents = torch.cumsum(torch.stack([torch.zeros_like(moves), *moved]), 0)
    column = torch.arange(8.0)
    pictures = [torch.zeros(count, 3, 8, 8)]
    for t in range(steps):
        wave = torch.cos(math.pi / 8 * min(t, 7) * (column + 0.5)).expand(count, 3, 8, 8)
        place = torch.ones(8) if t == 0 else (column > 4)
        pictures.append(pictures[-1] + 0.5**t * wave * place)
    return Trajectory(torch.stack(pictures), latents)


def test_the_change_is_the_squared_difference_of_consecutive_images():
    found = refined(4)
    maps = analysis.change(found)
    assert maps.shape == (4, 3, 8, 8)
    assert torch.allclose(maps.mean((2, 3))[2], metrics.l2(found.images[3], found.images[2]))


def test_parts_cover_each_pixel_once_and_shares_sum_to_one():
    cut = analysis.parts(halves())
    assert set(cut) == {"background", "head", "outline"}
    assert torch.allclose(sum(cut.values()), torch.ones(3, 8, 8))
    assert cut["outline"][0, 0].tolist() == [0, 0, 0, 1, 1, 0, 0, 0], "half of the band lies on either side"
    shares = analysis.shares(analysis.change(refined()), cut)
    assert torch.allclose(sum(shares.values()), torch.ones(6, 3, dtype=torch.float64))
    partly = analysis.parts({"background": 0.5 * halves()["background"], "body": 0.5 * halves()["head"]})
    assert partly["other"].max() > 0 and torch.allclose(sum(partly.values()), torch.ones(3, 8, 8))


def test_a_change_in_one_place_is_all_of_that_places_share():
    maps = torch.zeros(2, 1, 8, 8)
    maps[0, 0, 2, 7] = 0.3
    shares = analysis.shares(maps, analysis.parts(halves(1)))
    assert shares["head"][0, 0] == 1 and shares["background"][0, 0] == 0
    assert torch.isnan(shares["head"][1, 0]), "no change has no place"
    rows = analysis.focus_rows(maps, analysis.parts(halves(1)))
    assert [row["part"] for row in rows] == ["background", "head", "outline"]
    assert rows[1]["last - first"] == "–", "no image changes in both steps"
    assert analysis.parts({}) == {} and analysis.focus_rows(maps, {}) == []


def test_the_cosines_are_orthonormal_and_their_power_is_the_mean_square():
    basis = analysis.cosines(6)
    assert torch.allclose(basis @ basis.T, torch.eye(6, dtype=torch.float64), atol=1e-12)
    x = images(2, size=(6, 8))
    assert torch.allclose(analysis.spectrum(x).sum((1, 2)), x.square().mean((1, 2, 3)), atol=1e-6)


def test_a_wave_has_its_frequency_and_its_band():
    height, width, cycles = 16, 24, 3
    rows = torch.cos(math.pi * 2 * cycles / height * (torch.arange(height) + 0.5))
    wave = rows[:, None].expand(1, 3, height, width)
    frames = torch.stack([torch.zeros_like(wave), wave])
    assert analysis.mean_frequency(Trajectory(frames.contiguous()))[0, 0] == pytest.approx(cycles, abs=1e-4)
    errors = analysis.band_errors(frames, torch.zeros_like(wave))
    assert list(errors) == ["0-1", "1-2", "2-4", "4 and more"]
    assert errors["2-4"][1, 0] == pytest.approx(0.5, abs=1e-5) and errors["1-2"].abs().max() < 1e-9
    across = analysis.frequencies(height, width)
    assert across[0, 3] == pytest.approx(1.5 * height / width), "per height on both axes"


def test_the_bands_of_an_error_sum_to_it():
    found = refined(3)
    total = sum(analysis.band_errors(found, X).values())
    assert torch.allclose(total.float(), metrics.by_step(metrics.l2, found, X), atol=1e-6)


def test_the_change_of_styles_is_appendix_bs_formula():
    found = refined(2)
    squares = (found.latents[2] - found.latents[1])[:, 4].square().mean(0)
    assert analysis.style_change(found)[1, 4].item() == pytest.approx(squares.square().sum().sqrt().item())
    assert torch.allclose(analysis.residuals(found).sum(0), found.latents[-1] - found.latents[0], atol=1e-6)


def test_groups_of_styles_are_a_parameter():
    assert analysis.groups(10) == {"coarse": slice(0, 4), "medium": slice(4, 8), "fine": slice(8, 10)}
    assert analysis.groups(18, (3, 7))["fine"] == slice(7, 18)
    assert list(analysis.groups(6)) == ["coarse", "medium"]
    assert list(analysis.groups(9, (5,))) == ["coarse", "fine"]
    assert analysis.ends_of("3, 7") == (3, 7) == analysis.ends_of("3 7")
    with pytest.raises(UserError, match="rising"):
        analysis.ends_of("4 to 8")
    for wrong in ((8, 4), (0, 4), (), (4, 4), (1, 2, 3)):
        with pytest.raises(UserError, match="rising"):
            analysis.groups(10, wrong)


def test_group_intervals_hold_the_mean_of_the_formula():
    found = fading()
    v, courses = analysis.style_change(found), analysis.group_change(found)
    assert courses["coarse"][0].estimate == pytest.approx(v[0, :4].mean().item(), rel=1e-5)
    apart = analysis.group_change(found, minus="fine")
    assert apart.keys() == {"coarse", "medium"} and apart["coarse"][0].low > 0
    gap = courses["coarse"][1].estimate - courses["fine"][1].estimate
    assert apart["coarse"][1].estimate == pytest.approx(gap)


def test_settling_is_where_the_share_of_the_change_has_happened():
    assert analysis.settling([1, 0, 0], 0.9) == pytest.approx(0.9)
    assert analysis.settling(torch.ones(10), 0.9) == pytest.approx(9)
    assert analysis.settling([4, 2, 1]) < analysis.settling([4, 3, 2])
    assert math.isnan(analysis.settling([0, 0]))


@pytest.mark.parametrize("tolerance", [0.0, 0.15, 10.0])
def test_stops_are_those_of_the_loop(tolerance):
    network = inverter()
    full, early = network(X, 6), network(X, 6, tolerance=tolerance)
    at = analysis.stops(full, tolerance)
    assert torch.equal(at, early.stopped_at)
    assert torch.allclose(full.images[at, torch.arange(3)], early.images[-1], atol=1e-5)


def test_steps_that_are_needed_and_what_stopping_saves():
    errors = torch.tensor([[1.0, 1.0], [0.5, 0.9], [0.2, 0.3], [0.2, 0.1]])
    assert analysis.needed(errors).tolist() == [2, 3] and analysis.needed(errors, 3.0).tolist() == [1, 2]
    found = refined(6)
    l2 = metrics.by_step(metrics.l2, found, X)
    never, at_once = analysis.stopping_rows(found, l2, [0.0, 10.0])
    assert never["steps saved"] == 0 and never["mean steps"] == 6 and "0 [0, 0]" in never["early - full"]
    assert at_once["mean steps"] == 1 and at_once["error"] == pytest.approx(l2[1].mean().item())
    assert analysis.harder_longer(errors).count == 2


def test_claims_get_their_parts_and_hold_where_they_are_true():
    found, masks = fading(), halves(4)
    masks = masks | {"eyes": masks["head"] * 0.5, "hair": masks["head"] * 0.5, "head": 0 * masks["head"]}
    l2 = torch.cat([torch.linspace(1, 0.1, 10), torch.tensor([0.0999])])[:, None].expand(-1, 4)
    rows = [*analysis.focus_evidence(found, masks), *analysis.settling_evidence(found, l2)]
    known, values = claims.load(), {}
    for name, value, _, where in rows:
        record = {"world": "rendered", **where, **({"low": value.low} if isinstance(value, Interval) else {})}
        part = claims.check(name, record)["part"]
        values.setdefault(where["claim"], {}).setdefault(part, []).append((where.get("step"), value))
    expected = {"background-first", "detail-later", "change-falls", "coarse-to-fine", "coarse-most",
                "fine-least", "residuals-fall", "few-steps"}
    assert values.keys() == expected
    assert {name: claims.verdict(known[name], found) for name, found in values.items()} == dict.fromkeys(
        expected, claims.HOLDS)


def test_a_domain_without_a_refining_encoder_says_what_is_missing():
    study = SimpleNamespace(domain=SimpleNamespace(name="tiny"), missing=["ReStyle-pSp: train it"], made={})
    with pytest.raises(UserError, match="no encoder that refines: ReStyle-pSp: train it"):
        analysis.refined(study)
    study.made = {"pSp": refined(1), "ReStyle-e4e": refined(2)}
    assert list(analysis.refined(study)) == ["ReStyle-e4e"]


def test_too_little_gives_a_sentence_or_nothing():
    found = refined(1, count=1)
    with pytest.raises(UserError, match="one step or more"):
        analysis.change(Trajectory(found.images[:1]))
    with pytest.raises(UserError, match="one step or more"):
        analysis.residuals(Trajectory(found.images))
    l2 = metrics.by_step(metrics.l2, found, X[:1])
    assert not [*analysis.focus_evidence(found, halves(1))] and not [*analysis.settling_evidence(found, l2)]
    assert {w["claim"] for *_, w in analysis.focus_evidence(refined(2), halves())} == {"change-falls"}
    assert analysis.group_change(found)["coarse"][0].count == 1 and analysis.needed(l2).tolist() == [1]
    still = Trajectory(torch.zeros(3, 2, 3, 8, 8), torch.zeros(3, 2, 6, 8))
    assert torch.isnan(analysis.mean_frequency(still)).all()
    assert figures_analysis.style_map(analysis.style_change(still)).rows[0]["v"] == 0


def test_heads_differ_as_the_paper_says():
    rows = heads.cost_rows(heads.pair(heads.published("cars", 16), w_dim=8, device="meta"))
    assert [row["head"] for row in rows] == ["single", "pyramid"] and rows[1]["GFLOP, times"] > 1
    with pytest.raises(UserError, match="did you mean 'cars'"):
        heads.published("car")
    with pytest.raises(UserError, match="shrink=7"):
        heads.published("cars", 7)
    layer = torch.nn.Linear(3, 5, bias=False)
    assert heads.costs(layer, torch.zeros(2, 3)) == (15, 2 * 2 * 15 / 1e9)


def test_filled_encoders_run_and_count_like_shapes_alone():
    domain = heads.published("faces", 64)
    full, alone = (heads.pair(domain, w_dim=8, device=device) for device in ("cpu", "meta"))
    for head in heads.HEADS:
        code = full[head](torch.zeros(1, 6, 4, 4))
        assert code.isfinite().all() and code.std() > 0 and code.shape[1] == full[head].n_styles
        assert [p.shape for p in full[head].parameters()] == [p.shape for p in alone[head].parameters()]


def test_shapes_come_from_the_modules_and_are_drawn():
    domain = heads.published("faces", 16)
    for head, network in heads.pair(domain, w_dim=8, device="meta").items():
        rows = heads.shapes(network)
        assert sum(row["out"][0] for row in rows if row["part"] == "heads") == network.n_styles
        assert [row["out"][1] for row in rows if row["part"] == "map"] == [4, 2, 1]
        assert len([row for row in rows if row["part"] == "lateral"]) == (2 if head == "pyramid" else 0)
        assert len(figures_analysis.encoder(rows, 6, domain.encoder_size, head).rows) == len(rows)


def test_times_have_a_row_for_each_head_and_a_ratio():
    network = inverter()
    both = {"single": network.encoder, "pyramid": network.encoder}
    found = heads.times(both, network.generator, network.domain, steps=5, rounds=2)
    assert found.steps["single"].shape == (2, 5) and (found.steps["pyramid"] > 0).all()
    assert set(found.row("single")) == {"head", "s/step", "s/5 steps"}
    twice = heads.Timing({"single": np.ones((2, 5)), "pyramid": np.full((2, 5), 2.0)}, 1)
    assert twice.ratio()[:3] == (2, 2, 2)
    (_, value, _, where), = heads.evidence(timing=twice)
    claims.check("time", {"world": "published", "low": value.low, **where})
    *_, (_, seconds, _, where) = heads.evidence(timing=twice._replace(device="cuda"))
    assert seconds.estimate == 5 and where["claim"] == "half-second", "five steps of the single head"
    short = heads.Timing({head: np.ones((2, 3)) for head in heads.HEADS}, 1)
    assert not [*heads.evidence(timing=short)], "the claim is about five steps"
    with pytest.raises(UserError, match="at least one"):
        heads.times({}, network.generator, network.domain, rounds=0)


def test_equal_heads_differ_by_nothing():
    def curve(method, values):
        values, nothing = np.array([np.ones(3), values]), np.zeros(2)
        means = [values.mean(1)] * 3
        return Curve(method, np.array([0, 1]), nothing, nothing, *means, values, ("a", "b", "c"))

    ours, theirs = curve("pSp, single head", [0.2, 0.4, 0.6]), curve("pSp", [0.1, 0.2, 0.3])
    assert heads.relative(ours, ours)[:3] == (0, 0, 0)
    assert heads.relative(ours, theirs).estimate == pytest.approx(1)
    table = {kind: {c.method: c for c in (ours, theirs)} for kind in ("l2", "perceptual")}
    assert [row["measure"] for row in heads.quality_rows(table)] == ["l2", "perceptual"]
    told = [claims.check(name, {"world": "rendered", "low": value.low, **where})
            for name, value, _, where in heads.evidence(table)]
    assert [record["part"] for record in told] == ["l2", "perceptual"]
    assert not [*heads.evidence({"l2": {"pSp": theirs}})] and heads.quality_rows({}) == []
    study = SimpleNamespace(kinds=lambda: ["l2"], curves=lambda kind: {"pSp": theirs},
                            controls=lambda kind: table[kind])
    assert set(heads.measured(study)["l2"]) == {"pSp", "pSp, single head"}, "read where none is measured now"
    study.curves = lambda kind: {"pSp": ours, "pSp, single head": ours}
    assert heads.measured(study)["l2"]["pSp"] is ours
    assert heads.extra(SimpleNamespace(name="a"))["ReStyle-pSp, pyramid"] == "a/restyle-psp-pyramid"


def test_figures_carry_their_rows_and_tolerate_empty_masks(tmp_path):
    found, masks = refined(2), halves() | {"eyes": torch.zeros(3, 8, 8)}
    maps = analysis.change(found)
    means = {region: mask.mean(0) for region, mask in masks.items()}
    for joint in (False, True):
        drawn = figures_analysis.focus(maps.mean(1), X.mean(0), means, joint=joint)
        assert [row["step"] for row in drawn.rows] == [1, 2]
    figures.save(drawn, tmp_path / "f", "alt")
    each = figures_analysis.focus_each(X, found.images, maps, masks, labels=["a", "b", "c"])
    assert len(each.rows) == 6
    alone = figures_analysis.focus_each(X[:1], found.images[:, :1], maps[:, :1])
    assert alone.rows[0]["image"] == 0
    figures.save(figures_analysis.style_map(analysis.style_change(found)), tmp_path / "s", "alt")


def test_table_1_is_about_five_steps_whatever_else_was_recorded():
    def curve(method, last):
        values = np.array([[step, step + 1.0] for step in range(last + 1)])
        nothing, mean = np.zeros(last + 1), values.mean(1)
        return Curve(method, np.arange(last + 1), nothing, nothing, mean, mean, mean, values, ("a", "b"))

    one, other = heads.PAIRS[0]
    long, short = curve(one, 10), curve(other, 5)
    assert heads.relative(long, short).estimate == 0
    (row,) = heads.quality_rows({"l2": {one: long, other: short}})
    assert (row["steps"], row["single"], row["pyramid"]) == (5, 5.5, 5.5)
    (*_, where), = heads.evidence({"l2": {one: long, other: short}})
    assert where["step"] == 5
