"""Methods side by side: what is missing is named, the costly see fewer images, envelopes gather plans."""
import tiny
import torch

from restyle_lib import lineup, weights
from restyle_lib.domains import load_domain
from restyle_lib.errors import UserError
from restyle_lib.inverter import draw_row
from restyle_lib.methods.foreign import Function
from restyle_lib.methods.onepass import EncoderMethod
from restyle_lib.methods.optimise import Optimise
from restyle_lib.trajectory import Trajectory


def average(images, generator, domain):
    latent = generator.w_mean.expand(1, len(images), -1, -1)
    return Trajectory(draw_row(generator, domain, latent[0])[None], latent)


def nothing(images, generator, domain):
    raise UserError("nothing came out")


def measured(tmp_path, *entries, few=2):
    inverter = tiny.inverter()
    images = tiny.images(3)
    return lineup.measure(entries, images, ["a", "b", "c"], inverter.generator, inverter.domain, {}, few=few,
                          folder=tmp_path, progress=False)


def test_a_domain_lists_what_it_has_and_names_what_it_lacks():
    domain = load_domain("avatars")
    entries, missing = lineup.lineup(domain, steps=3, longest=30, hybrid=10)
    labels = [entry.label for entry in entries]
    there = [e.label for e in lineup.ENCODERS if f"avatars/{e.weights}" in weights.shipped()]
    assert "ReStyle-pSp" in there and labels[:len(there)] == there
    assert [label for label in labels if label.startswith("optimisation in W+")] == [
        "optimisation in W+, 10", "optimisation in W+, 30"]
    assert entries[0].method.steps == 3 and not entries[0].costly
    assert all(entry.costly for entry in entries if entry.plan)
    gone = [e.label for e in lineup.ENCODERS if f"avatars/{e.weights}" not in weights.shipped()]
    assert [line.split(":")[0] for line in missing] == gone


def test_optimisations_see_the_first_images_alone(tmp_path):
    refined = EncoderMethod(inverter=tiny.inverter(), steps=2, timed=False)
    entries = [lineup.Entry("ReStyle", refined, "ReStyle"),
               lineup.Entry("W+, 2", Optimise(steps=2, perceptual=0, timed=False), "W+", 2)]
    scores, made, failed = measured(tmp_path, *entries)
    assert not failed and set(made) == {"ReStyle", "W+, 2"}
    assert len(scores.values("l2", method="ReStyle", step=0)) == 3
    assert len(scores.values("l2", method="W+, 2", step=0)) == 2


def test_a_method_that_fails_is_named_and_the_others_stay(tmp_path):
    entries = [lineup.Entry("average", Function(average), "average"),
               lineup.Entry("broken", Function(nothing), "broken")]
    scores, made, failed = measured(tmp_path, *entries)
    assert list(made) == ["average"] and failed == ["broken: nothing came out"]
    assert len(scores.rows) == 3


def test_the_example_of_ones_own_answers_with_the_average_style(tmp_path):
    from restyle_lib.methods import registry
    inverter = tiny.inverter()
    found = registry.get("restyle_lib.methods.example:average", inverter.domain)(
        tiny.images(2), inverter.generator, inverter.domain)
    assert torch.equal(found.images[0], inverter.start_image.expand(2, -1, -1, -1))
