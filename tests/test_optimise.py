"""Optimisation: identities of the loop, on a generator of 16 pixels."""
import dataclasses

import pytest
import tiny
import torch

from restyle_lib.errors import UserError
from restyle_lib.inverter import Inverter
from restyle_lib.methods import kept
from restyle_lib.methods.domain_guided import DomainGuided
from restyle_lib.methods.noise import Streams, autocorrelation, content, normalise, spread
from restyle_lib.methods.onepass import EncoderMethod
from restyle_lib.methods.optimise import Optimise, plans, recorded
from restyle_lib.metrics import l2
from restyle_lib.models.features import PerceptualNet
from restyle_lib.trajectory import Trajectory, join


def targets(count=3):
    """Images that the tiny generator can draw."""
    inverter = tiny.inverter()
    z = torch.randn(count, 8, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        return inverter.synthesize(inverter.generator.styles(inverter.generator.mapping(z))).clamp(-1, 1)


def network():
    torch.manual_seed(6)
    return PerceptualNet((8, 8), [4, 4, 8, 8, 8]).eval().requires_grad_(False)


def method(kind=Optimise, **changes):
    return kind(**(dict(steps=8, perceptual=0.0) | changes))


def invert(images, kind=Optimise, start=None, **changes):
    return method(kind, **changes)(images, tiny.generator(), tiny.domain(), start=start)


def test_the_ramps_are_shares_of_the_plan():
    m = method(steps=100)
    assert m.rate(0.005) < m.rate(0.025) < m.rate(0.05) == m.rate(0.5) == m.rate(0.75) == 1
    assert m.rate(0.75) > m.rate(0.9) > m.rate(0.999) > 0 and m.rate(0.875) == pytest.approx(0.5)
    assert m.jitter(0) == 0.05 and m.jitter(0.375) == pytest.approx(0.0125) and m.jitter(0.75) == 0
    assert method(ramp_up=0, ramp_down=0).rate(0) == 1 == method(ramp_up=0, ramp_down=0).rate(1)
    assert plans() == (10, 30, 100, 300, 1000, 1500) and plans(100) == (10, 30, 100)
    assert recorded(30) == [0, 1, 2, 5, 10, 20, 30] and recorded(1) == [0, 1]
    assert [dataclasses.replace(m, steps=n).rows[-1] for n in plans(30)] == [10, 30]


@pytest.mark.parametrize("space", ["w", "w+"])
def test_it_comes_nearer_to_images_that_the_generator_draws(space):
    images = targets()
    found = invert(images, space=space, steps=60, network=network(), perceptual=0.5)
    first, last = (l2(found.images[row], images) for row in (0, -1))
    assert (last < 0.5 * first).all() and found.space == space
    assert torch.equal(found.latents[0], tiny.generator().w_mean.mean(0).expand(3, 6, 8)
                       if space == "w" else tiny.generator().w_mean.expand(3, 6, 8))
    assert (found.latents.std(2) < 1e-7).all() == (space == "w")


@pytest.mark.parametrize("noise", ["fixed", "optimised"])
def test_a_batch_gives_what_its_images_give_one_by_one(noise):
    images = targets()
    together = invert(images, noise=noise, network=network(), perceptual=0.8)
    alone = [invert(images[b:b + 1], noise=noise, network=network(), perceptual=0.8) for b in range(3)]
    for b, one in enumerate(alone):
        torch.testing.assert_close(one.latents[:, 0], together.latents[:, b], rtol=0, atol=1e-4)
        torch.testing.assert_close(one.images[:, 0], together.images[:, b], rtol=0, atol=1e-4)
    joined = join(alone)
    for field in ("latents", "images"):
        torch.testing.assert_close(getattr(joined, field), getattr(together, field), rtol=0, atol=1e-4)
    flipped = invert(images.flip(0), noise=noise, network=network(), perceptual=0.8)
    torch.testing.assert_close(flipped.latents.flip(1), together.latents, rtol=0, atol=1e-4)


def test_seeds_matter_where_there_is_noise_on_w():
    images = targets(1)
    assert torch.equal(invert(images).latents, invert(images).latents)
    assert not torch.equal(invert(images).latents, invert(images, seed=1).latents)
    still = dict(w_noise=0.0)
    assert torch.equal(invert(images, **still).latents, invert(images, seed=1, **still).latents)


def test_maps_of_each_image_and_row_render_again(tmp_path):
    images = targets()
    found = invert(images, noise="optimised")
    assert found.noise[0].shape == (len(found.images), 3, 1, 4, 4)
    for row in range(1, len(found.images)):
        for maps in found.noise_at(row):
            assert maps.mean((1, 2, 3)).abs().max() < 1e-5
            torch.testing.assert_close(maps.square().mean((1, 2, 3)), torch.ones(3), rtol=0, atol=1e-4)
    found.save(tmp_path / "a.npz")
    loaded = Trajectory.load(tmp_path / "a.npz")
    assert torch.equal(tiny.inverter().rerender(loaded), found.images)
    one = loaded.select([1])
    torch.testing.assert_close(tiny.inverter().rerender(one), found.images[:, [1]], rtol=0, atol=1e-5)
    assert torch.equal(join([loaded.select([b]) for b in range(3)]).noise[-1], found.noise[-1])
    assert not torch.equal(found.images, invert(images).images)


def test_maps_are_kept_from_carrying_the_picture():
    smooth = torch.nn.functional.interpolate(torch.randn(2, 1, 4, 4), size=(32, 32), mode="bilinear")
    maps = [torch.cat([torch.randn(1, 1, 32, 32), smooth[:1]])]
    normalise(maps)
    white, picture = autocorrelation(maps)
    assert picture > 50 * white
    twice = autocorrelation([maps[0], maps[0]])
    torch.testing.assert_close(twice, 2 * autocorrelation(maps))
    free, held = (invert(targets(1), noise="optimised", steps=30, map_weight=weight) for weight in (0, 1e5))
    ends = [autocorrelation(each.noise_at(len(each.step) - 1)) for each in (free, held)]
    assert ends[1] < ends[0]


def test_an_image_that_breaks_stops_alone():
    images = targets()
    images[1, 0, 0, 0] = torch.nan
    with pytest.warns(RuntimeWarning, match=r"image 1 \(kept: step 0\) of 3"):
        found = invert(images)
    assert found.stopped_at.tolist() == [8, 0, 8] and found.latents.isfinite().all()
    assert torch.equal(found.latents[:, 1], found.latents[0, 1].expand_as(found.latents[:, 1]))
    assert torch.equal(found.images[:, 1], found.images[0, 1].expand_as(found.images[:, 1]))
    whole = invert(targets())
    torch.testing.assert_close(found.latents[:, ::2], whole.latents[:, ::2], rtol=0, atol=1e-5)
    assert (found.seconds[-1, ::2] > found.seconds[0, ::2]).all() and found.seconds[-1, 1] == 0


def test_one_that_breaks_on_the_way_keeps_its_last_good_row():
    images, steps = targets(), []

    class Breaking(Optimise):
        def _extra(self, latent, image, scale):
            steps.append(0)
            broken = torch.nan if len(steps) > 5 else 0.0
            return torch.where(torch.arange(3) == 2, broken, 0.0) * latent.sum((1, 2))

    with pytest.warns(RuntimeWarning, match=r"image 2 \(kept: step 4\)"):
        found = invert(images, Breaking, record=(2, 4, 6), timed=False)
    assert found.stopped_at.tolist() == [8, 8, 4] and found.step.tolist() == [0, 2, 4, 6, 8]
    assert torch.equal(found.latents[2:, 2], found.latents[2, 2].expand(3, 6, 8))
    assert not torch.equal(found.latents[1, 2], found.latents[2, 2])
    assert not torch.equal(found.latents[3, 0], found.latents[2, 0])


def test_a_hybrid_begins_where_the_encoder_ends():
    inverter, images = tiny.inverter(), targets()
    first = EncoderMethod(inverter=inverter, steps=3)
    found, ends = invert(images, first=first), inverter(images, 3)
    assert torch.equal(found.latents[0], ends.latents[-1])
    torch.testing.assert_close(found.images[0], ends.images[-1], rtol=0, atol=1e-6)
    assert (found.seconds[0] > 0).all() and (found.seconds.diff(dim=0) > 0).all()
    assert method(first=first).name == "hybrid:inverter"
    given = invert(images, start=ends.latents[-1])
    assert torch.equal(given.latents, found.latents) and (given.seconds[0] == 0).all()
    assert torch.equal(invert(images, start=ends.latents[-1, 0]).latents[0, 1], ends.latents[-1, 0])


def test_domain_guidance_pulls_towards_what_the_encoder_says():
    inverter, images = tiny.inverter(single=True), targets()
    quick = dict(inverter=inverter, steps=10, lr=0.05)
    distances = {}
    for weight in (0.0, 2.0, 200.0):
        found = invert(images, DomainGuided, domain_weight=weight, **quick)
        code = inverter.start + inverter.encoder(found.images[-1])
        distances[weight] = (found.latents[-1] - code).square().mean()
        assert torch.equal(found.latents[0], inverter(images, 1).latents[-1])
    assert distances[0.0] > distances[2.0] > distances[200.0]
    plain = invert(images, DomainGuided, domain_weight=0.0, **quick)
    same = Optimise(steps=10, lr=0.05, perceptual=0, w_noise=0, ramp_up=0, ramp_down=0,
                    first=EncoderMethod(inverter=inverter))(images, tiny.generator(), tiny.domain())
    assert torch.equal(plain.latents, same.latents)


def test_random_numbers_belong_to_the_image():
    images = targets()
    assert len({content(image) for image in images}) == 3 and content(images[0]) == content(images[0].clone())
    together, alone = Streams(images, 1), Streams(images[2:], 1)
    for _ in range(2):
        assert torch.equal(together.like(torch.zeros(3, 6, 8))[2:], alone.like(torch.zeros(1, 6, 8)))
    network = tiny.generator()
    w = network.mapping(torch.randn(4000, 8))
    assert spread(network) == pytest.approx(float(w.var(0).sum().sqrt()), rel=0.05)


def test_kept_and_rendered_in_a_wide_domain(tmp_path):
    domain = tiny.domain(crop=(2, 14, 0, 16), encoder_size=(6, 8))
    images, network = tiny.images(2, size=(6, 8)), tiny.generator()
    m = method(noise="optimised", steps=2)
    found = kept.run(m, images, network, domain, tmp_path, progress=False)
    again = kept.run(m, images, network, domain, tmp_path, progress=False)
    assert torch.equal(found.images, again.images) and torch.equal(found.noise[0], again.noise[0])
    inverter = Inverter(tiny.TinyEncoder(input_size=(6, 8)), network, domain)
    torch.testing.assert_close(inverter.rerender(again), found.images, rtol=0, atol=1e-5)


@pytest.mark.parametrize("changes, message", [
    (dict(space="z"), "accepted: w, w"), (dict(steps=0), "at least 1 step"),
    (dict(l2=0), "a positive weight"), (dict(record=(9,)), "accepted: steps from 0 to 8"),
    (dict(perceptual=1.0), "names no perceptual network")])
def test_what_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        invert(targets(1), **changes)


def test_no_gradient_is_left_behind():
    network = tiny.generator().requires_grad_(True)
    with torch.no_grad():
        found = method()(targets(1), network, tiny.domain())
    assert all(p.grad is None for p in network.parameters()) and not found.latents.requires_grad
