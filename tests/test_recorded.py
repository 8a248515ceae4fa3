"""Recorded comparisons: written, read beside what is measured now, refused for another generator."""
import json
from dataclasses import replace

import numpy as np
import pytest
import tiny

from restyle_lib import data, figures, lineup, metrics, recorded, scoring, weights
from restyle_lib.domains import load_domain
from restyle_lib.errors import UserError
from restyle_lib.methods.onepass import EncoderMethod
from restyle_lib.methods.optimise import Optimise
from restyle_lib.metrics import to_floats

PLUS = "optimisation in W+"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Three images, two of them for optimisations of 2 and 4 steps."""
    inverter, images = tiny.inverter(), tiny.images(3)
    entries = [lineup.Entry("ReStyle-pSp", EncoderMethod(inverter=inverter, steps=2), "ReStyle-pSp")]
    entries += [lineup.Entry(f"{PLUS}, {n}", Optimise(steps=n, perceptual=0, record=(1,)), PLUS, n)
                for n in (2, 4)]
    names, folder = ["a", "b", "c"], tmp_path_factory.mktemp("kept")
    scores, made, _ = lineup.measure(entries, images, names, inverter.generator, inverter.domain, {}, few=2,
                                     folder=folder, progress=False)
    return lineup.Study(inverter.domain, inverter.generator, images, None, names, {}, entries, [], scores,
                        made, 2)


def shorter(study, path):
    """The same without the long optimisation, and with the record of the whole."""
    entries = [entry for entry in study.entries if entry.plan < 4]
    rows = [row for row in study.scores.rows if not row["method"].endswith(", 4")]
    past = recorded.read(path, study.generator, study.scores.protocol.networks)
    return lineup.Study(study.domain, study.generator, study.images, None, study.names, {}, entries, [],
                        scoring.Scores(rows, study.scores.protocol),
                        {e.label: study.made[e.label] for e in entries}, 2, past)


def test_what_was_recorded_is_read_again_and_labelled(study, tmp_path):
    recorded.write(tmp_path / "c.json", study, "make it")
    quick = shorter(study, tmp_path / "c.json")
    found, whole = quick.curves("l2"), study.curves("l2")
    new = ["ReStyle-pSp", f"{PLUS}, 2"]
    assert list(found) == [*new, f"{PLUS}, 4 (recorded)"], "only what is not computed now"
    curve = found[f"{PLUS}, 4 (recorded)"]
    assert curve.recorded and curve.plan == 4 and curve.images == ("a", "b")
    assert np.allclose(curve.values, whole[f"{PLUS}, 4"].values, rtol=1e-4)
    assert quick.floor(found) is curve and quick.family(PLUS, found) == [found[f"{PLUS}, 2"], curve]
    assert set(quick.envelopes(found)) == {PLUS, PLUS + recorded.SUFFIX}
    assert not any(family.startswith("ReStyle") for family in quick.envelopes(quick.past.curves("l2"))), \
        "an encoder is a point or a line of its own"
    assert [c.plan for c in quick.kept_family(PLUS, "l2")] == [2, 4], "all plans of the recorded run"
    assert "make it" in quick.past.told
    assert figures.look(f"{PLUS}, 4 (recorded)")[:2] == figures.look(PLUS)[:2]


def test_controls_stand_beside_the_encoder_that_was_trained_as_long(study, tmp_path):
    recorded.write(tmp_path / "c.json", study, "make it")
    text = (tmp_path / "c.json").read_text()
    facts = json.loads(text)
    earlier = len(facts["methods"])
    facts["methods"]["ReStyle-pSp, 40k passes"] = facts["methods"]["ReStyle-pSp"]
    facts["rows"] += [[earlier, image, step, seconds, 2 * l2, None, None]
                      for a, image, step, seconds, l2, *_ in facts["rows"] if a == 0]
    (tmp_path / "c.json").write_text(json.dumps(facts))
    again = shorter(study, tmp_path / "c.json")
    now, then = again.kept("l2")["ReStyle-pSp"], again.controls("l2")["ReStyle-pSp"]
    assert np.allclose(then.values, 2 * now.values) and then.method.startswith("ReStyle-pSp, 40k passes")
    (tmp_path / "c.json").write_text(text)
    alone = shorter(study, tmp_path / "c.json")
    assert np.array_equal(alone.controls("l2")["ReStyle-pSp"].values, now.values), "where there is no other"


def test_what_begins_where_an_encoder_ends_does_not_begin_with_the_average(study):
    first = study.entries[0].method
    hybrid = lineup.Entry("hybrid", Optimise(steps=2, perceptual=0, first=first), "hybrid", 2)
    absent = lineup.Entry("absent", first, "absent")
    more = replace(study, entries=[*study.entries, hybrid, absent], made=study.made | {"hybrid": None})
    assert more.from_average == ["ReStyle-pSp", f"{PLUS}, 2", f"{PLUS}, 4"]


def test_a_record_of_another_generator_or_judge_does_not_count(study, tmp_path):
    recorded.write(tmp_path / "c.json", study, "make it")
    assert recorded.read(tmp_path / "none.json", study.generator, {}) is None
    with pytest.raises(UserError, match="was recorded with generator"):
        recorded.read(tmp_path / "c.json", tiny.generator(channels=1), {})
    other = recorded.read(tmp_path / "c.json", study.generator, {"l2": ("another measure", "")})
    assert not other.curves("l2")
    (tmp_path / "c.json").write_text("{}")
    with pytest.raises(UserError, match="no recorded comparison"):
        recorded.read(tmp_path / "c.json", study.generator, {})


@pytest.mark.parametrize("domain", [n.split("/")[0] for n in weights.shipped() if n.endswith("/generator")])
def test_a_point_of_what_ships_comes_out_again(domain):
    path = recorded.place(domain)
    if not path.exists():
        pytest.skip(f"no comparison was recorded for {domain}")
    facts, spec = json.loads(path.read_text()), load_domain(domain)
    plans = {plan: label for label, (family, plan, _) in facts["methods"].items() if family == PLUS}
    plan, label = min(plans.items())
    image = facts["images"][0]
    source = data.domain_dataset(spec, "test").split("test")
    row = [list(map(str, source.names)).index(image)]
    x = to_floats(data.images(data.domain_dataset(spec, "test"), "test", indices=row, progress=False)[:])
    method = lineup.registry.get("optimise-w+", spec, steps=plan)
    found = method(x, weights.load_generator(spec.generator), spec)
    past = recorded.read(path, weights.load_generator(spec.generator), {})
    curve = past.curves("l2")[label + recorded.SUFFIX]
    again = metrics.l2(found.images[-1], x).item()
    assert again == pytest.approx(curve.values[-1][curve.images.index(image)], rel=0.05)
