"""Curves of methods: envelopes, times, crossings and shares of the way, from rows whose answers are known."""
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import tiny

from restyle_lib import comparison, comparison_claims, figures_comparison
from restyle_lib.errors import UserError
from restyle_lib.lineup import Entry


def rows(method, values, seconds, images=("a", "b", "c"), spread=0.0):
    """Rows of a method whose mean at step t is values[t]; image i lies i * spread above the first."""
    middle, points = spread * (len(images) - 1) / 2, zip(values, seconds, strict=True)
    return [{"method": method, "image": image, "step": t, "seconds": second, "judge": 0.5,
             "l2": value + i * spread - middle} for t, (value, second) in enumerate(points)
            for i, image in enumerate(images)]


def curves(*parts, kind="l2", plans=None):
    protocol = SimpleNamespace(networks={"identity": ("judge", "")})
    return comparison.curves(SimpleNamespace(rows=[row for part in parts for row in part],
                                             protocol=protocol), kind, plans)


def test_a_curve_holds_means_intervals_and_the_images_in_one_order():
    found = curves(rows("r", [1.0, 0.5, 0.25], [0, 1, 2], spread=0.1)[::-1])["r"]
    assert found.steps.tolist() == [0, 1, 2] and found.passes.tolist() == [0, 1, 2]
    assert np.allclose(found.mean, [1, 0.5, 0.25]) and found.start == pytest.approx(1)
    assert (found.low <= found.mean).all() and (found.mean <= found.high).all()
    a, c = (found.values[:, found.images.index(name)] for name in "ac")
    assert np.allclose(c - a, 0.2)


def test_identity_is_turned_so_that_lower_is_better():
    assert np.allclose(curves(rows("r", [1.0], [0]), kind="identity")["r"].mean, 0.5)


def test_an_optimisation_counts_with_its_last_step_alone():
    found = curves(rows("long", [1.0, 0.2, 0.1], [0, 1, 10]), rows("short", [1.0, 0.6, 0.5], [0, 1, 5]),
                   plans={"long": 2, "short": 2})
    seconds, means, where = comparison.envelope(found.values())
    assert seconds.tolist() == [5, 10] and np.allclose(means, [0.5, 0.1])
    assert where == [("short", 2), ("long", 2)]
    free = curves(rows("encoder", [1.0, 0.2, 0.3], [0, 1, 10]))
    assert comparison.envelope(free.values())[1].tolist() == pytest.approx([1.0, 0.2])


def test_the_time_to_a_value_lies_between_its_neighbours_in_log_time():
    assert comparison.time_to([1, 100], [0.4, 0.2], 0.3) == pytest.approx(10)
    assert comparison.time_to([1, 100], [0.4, 0.2], 0.5) == 1
    assert comparison.time_to([1, 100], [0.4, 0.2], 0.1) == float("inf")


def test_the_step_of_the_crossing_and_the_shares_of_the_way():
    found = curves(rows("restyle", [1.0, 0.6, 0.4, 0.2], [0, 1, 2, 3], spread=0.1),
                   rows("pass", [1.0, 0.41], [0, 1], images=("c", "a"), spread=0.1),
                   rows("floor", [1.0, 0.1], [0, 9]))
    assert comparison.passes_at(found["restyle"], found["pass"]) == 2
    assert comparison.passes_at(found["pass"], found["floor"]) is None
    assert comparison.way(found["floor"], found["floor"]) == pytest.approx(1)
    assert comparison.way(found["restyle"], found["floor"]) == pytest.approx(0.8 / 0.9)
    assert comparison.way(found["restyle"], found["floor"], 1) == pytest.approx(0.4 / 0.9)
    same = comparison.gap(found["restyle"], found["restyle"])
    assert (same.estimate, same.low, same.high, same.count) == (0, 0, 0, 3)
    assert comparison.gap(found["restyle"], found["pass"]).count == 2


def test_the_table_compares_with_the_steps_of_the_training_and_counts_the_way_from_the_average():
    found = curves(rows("ReStyle-pSp", [1.0] * 5 + [0.4] * 5 + [0.8], range(11)),
                   rows("hybrid", [0.4, 0.3], [0, 9]), rows("floor", [1.0, 0.2], [0, 9]),
                   plans={"hybrid": 9, "floor": 9})
    told = comparison.summary(found, found["floor"], found["ReStyle-pSp"])
    assert [(row["method"], row["steps"], row["way to the floor"]) for row in told] == [
        ("ReStyle-pSp", 5, "75 %"), ("ReStyle-pSp", 10, "25 %"), ("hybrid", 1, "88 %"), ("floor", 1, "100 %")]
    first, *others = [row["difference to ReStyle-pSp"].split(" ")[0] for row in told]
    assert first == "" and others == ["0.4", "-0.1", "-0.2"]


def test_methods_on_different_images_are_not_compared():
    found = curves(rows("one", [1.0, 0.6], [0, 1]), rows("other", [1.0, 0.4], [0, 1], images=("x",)))
    with pytest.raises(UserError, match="different images"):
        comparison.gap(found["one"], found["other"])


def test_the_hardest_images_and_the_extremes_of_attributes():
    found = curves(rows("r", [1.0, 0.5], [0, 1], spread=0.1))["r"]
    assert comparison.hardest(found, 2) == ["c", "b"]
    table = {"yaw": [3.0, -40.0, 41.0]}
    assert comparison.extremes(table, ["a", "b", "c"], count=1) == {"yaw": ["b", "c"]}


def test_recorded_rows_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("method,image,step,seconds,l2,protocol\nm,7,2,,0.25,how\n")
    row = {"method": "m", "image": "7", "step": 2, "seconds": None, "l2": 0.25, "protocol": "how"}
    assert comparison.read_rows(path) == [row]
    path.write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="no table of scores"):
        comparison.read_rows(path)


def test_the_graph_has_a_point_a_line_and_an_envelope():
    found = curves(rows("restyle", [1.0, 0.6, 0.4], [0, 1, 2]), rows("pass", [1.0, 0.5], [0, 1]),
                   rows("optimised", [1.0, 0.3], [0, 30]), plans={"optimised": 1})
    figure = figures_comparison.quality({"l2": found, "perceptual": found}, comparison.METRICS,
                                        floors={"l2": 0.1},
                                        envelopes={"l2": {"optimisation": ([30.0], [0.3])}})
    assert [axes.get_xscale() for axes in figure.axes] == ["log", "log"]
    assert figure.axes[0].get_title() == comparison.METRICS["l2"]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert sorted(labels) == sorted(["restyle", "optimisation", "the generator's floor", "pass"])
    found |= {label: replace(found[label], recorded=True) for label in ("restyle", "pass")}
    found["pass, 40k passes (recorded)"] = found["pass"]
    figure = figures_comparison.quality({"l2": found}, comparison.METRICS)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert sorted(labels) == ["optimised", "pass"], \
        "a recorded control of several steps, or one that was trained on since, is in the data alone"


def evidence(*parts, plans=None, entries=(), kept=()):
    found = {kind: curves(*parts, kind=kind, plans=plans) for kind in ("l2", "identity")}
    study = SimpleNamespace(
        entries=list(entries), few=3, floor=lambda c: c.get("optimisation in W+, 30"), past=None,
        family=lambda name, c: [], controls=lambda kind: curves(*kept, kind=kind) if kept else {},
        envelopes=lambda c: {e.family: comparison.envelope([c[e.label]])[:2] for e in entries})
    return {where["claim"]: (value, where) for _, value, _, where in comparison_claims.evidence(study, found)
            if "claim" in where}


def test_the_claims_are_decided_by_the_curves():
    values = [1.0, 0.5, 0.4, 0.35, 0.3, 0.2, 0.2, 0.2, 0.2, 0.2, 0.21]
    refined = rows("ReStyle-pSp", values, range(11), spread=0.1)
    entry = Entry("optimisation in W+, 30", None, "optimisation in W+", 30)
    found = evidence(refined, rows("pSp", [1.0, 0.45], [0, 1], spread=0.1),
                     rows("optimisation in W+, 30", [1.0, 0.15], [0, 500]),
                     plans={"optimisation in W+, 30": 30}, entries=[entry])
    difference, where = found["psp-better"]
    assert difference.estimate == pytest.approx(-0.25) and where["step"] == 5 and where["part"] == "l2"
    assert found["soon-better"][0] == 2
    assert found["ten-fine"][0] == pytest.approx(1.05)
    assert found["order-faster"][0] == pytest.approx(100)
    assert "optimisation-best" not in found, "the longest plan is short of 1,500"


def test_equal_images_are_a_comparison_of_their_own():
    refined = rows("ReStyle-pSp", [1.0, 0.5, 0.4, 0.35, 0.3, 0.2], range(6), spread=0.1)
    found = evidence(refined, rows("pSp, equal images", [1.0, 0.45], [0, 1], spread=0.1))
    assert found["psp-better-images"][0].estimate == pytest.approx(-0.25) and "psp-better" not in found
    assert found["first-worse"][0].estimate == pytest.approx(0.05)
    worse = rows("ReStyle-pSp", [1.0, 0.6, 0.4, 0.35, 0.3, 0.25], range(6), spread=0.1)
    found = evidence(refined, kept=[worse, rows("pSp, equal images", [1.0, 0.45], [0, 1], spread=0.1)])
    assert found["psp-better-images"][0].estimate == pytest.approx(-0.2), "both curves are the recorded run's"
    assert found["first-worse"][0].estimate == pytest.approx(0.15)


def test_the_gain_on_one_domain_is_laid_beside_the_gain_on_another():
    found = {name: {"l2": curves(rows("ReStyle-pSp", [1.0, ours], [0, 5], spread=0.1),
                                 rows("pSp", [1.0, theirs], [0, 1], spread=0.1))}
             for name, ours, theirs in (("faces", 0.3, 0.4), ("cars", 0.2, 0.4))}
    (_, gain, _, where), = comparison_claims.across(found)
    assert gain.estimate == pytest.approx(0.3 / 0.4 - 0.2 / 0.4) and gain.count == 3
    assert (where["domain"], where["against"]) == ("cars", "faces")
    assert not [*comparison_claims.across({"faces": found["faces"], "other": {"l2": {}}})]


def test_one_step_of_the_loop_is_the_encoder_alone():
    network, images = tiny.inverter(single=True), tiny.images()
    study = SimpleNamespace(entries=[Entry("pSp", SimpleNamespace(inverter=network), "pSp")], images=images,
                            made={"pSp": network(images, steps=1)})
    (_, value, _, where), = comparison_claims._one_step(study)
    assert value <= 1e-6 and where["claim"] == "one-pass"


def test_a_quality_that_optimisation_never_reached_says_nothing_unless_it_took_long_enough():
    refined = rows("ReStyle-pSp", [1.0, 0.5, 0.4, 0.35, 0.3, 0.2], range(6), spread=0.1)
    entry = Entry("optimisation in W+, 30", None, "optimisation in W+", 30)
    for seconds, there in ((20, False), (5000, True)):
        found = evidence(refined, rows("optimisation in W+, 30", [1.0, 0.7], [0, seconds]),
                         plans={"optimisation in W+, 30": 30}, entries=[entry])
        assert ("order-faster" in found) == there
