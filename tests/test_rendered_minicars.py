"""Minicars: exact rays on solids, order-free images, identity apart from instance, masks that add up."""
import math

import numpy as np
import pytest
import torch

from restyle_lib.domains import load_dataset
from restyle_lib.rendered import minicars, world
from restyle_lib.rendered.shapes import pixel_grid
from restyle_lib.rendered.solids import cast_ball, cast_disc, cast_hull, cast_tube, faces_of, look_at

REFERENCE = {(0, 0): [
    164, 163, 136, 137, 81, 61, 59, 78, 79, 22, 20, 78, 116, 115, 97, 98, 67, 84, 81, 65, 65, 18, 16, 64, 76,
    76, 72, 73, 65, 104, 101, 63, 63, 18, 16, 63], (7, 2): [
    166, 165, 165, 166, 123, 128, 243, 123, 114, 114, 82, 114, 171, 170, 170, 171, 126, 124, 235, 127, 118,
    118, 85, 118, 154, 153, 153, 154, 114, 118, 228, 114, 106, 106, 76, 106]}


def drawn(identity, instance, **options):
    return minicars.attributes(0, np.atleast_1d(identity), np.atleast_1d(instance), **options)


def view(yaw=30.0, elevation=15.0, size=24):
    angle, height = torch.tensor([[math.radians(yaw)]]), torch.tensor([[math.radians(elevation)]])
    return look_at(pixel_grid(size, size), 2 / size, angle, height, torch.tensor([[0.0, 0.3, 0.0]]),
                   torch.tensor([[4.0]]), torch.tensor([[1.0]]))


@pytest.mark.parametrize("key", REFERENCE)
def test_stored_pixels(key):
    image = minicars.render(drawn(*key), 48, 64)[0]
    found = image[:, 8::16, 8::16].flatten().int()
    assert (found - torch.tensor(REFERENCE[key])).abs().max() <= 1


def test_an_image_does_not_depend_on_the_order_or_company_it_is_made_in():
    together = minicars.render(drawn([3, 1, 2, 9, 5], [0, 1, 0, 3, 2]), 24, 32)
    alone = minicars.render(drawn(2, 0), 24, 32)
    assert (together[2].int() - alone[0].int()).abs().max() <= 1
    other = minicars.render(drawn([3, 1, 2, 9, 5], [0, 1, 0, 3, 2]), 24, 32, chunk=2)
    assert (together.int() - other.int()).abs().max() <= 1


def test_a_design_persists_and_its_instances_differ():
    a = drawn([4, 4], [0, 1])
    levels = {attribute.name: attribute.level for attribute in world("minicars").NAMES}
    assert len(levels) >= 8 and set(levels.values()) == {"identity", "instance"}
    for name, level in levels.items():
        if level == "identity":
            assert a[name][0] == a[name][1], name
    assert a["yaw"][0] != a["yaw"][1] and a["paint_hue"][0] != a["paint_hue"][1]


def test_values_stay_in_their_stated_ranges():
    for hard in (False, True):
        a = minicars.attributes(1, np.arange(600), np.zeros(600, int), hard=hard)
        for spec in minicars.NAMES:
            low, high = (0, len(spec.classes) - 1) if spec.kind == "category" else (spec.low, spec.high)
            assert a[spec.name].min() >= low and a[spec.name].max() <= high, spec.name


def test_attributes_go_together_only_where_stated():
    designs, shots = np.arange(2000), np.zeros(2000, int)
    linked = minicars.attributes(0, designs, shots)
    free = minicars.attributes(0, designs, shots, correlated=False)
    for one, other, sign in (("body_length", "roof_rack", 1), ("paint_lightness", "window_tint", -1)):
        assert 0.42 < sign * np.corrcoef(linked[one], linked[other])[0, 1] < 0.58, one
        assert abs(np.corrcoef(free[one], free[other])[0, 1]) < 0.06, one


def test_colour_alone_does_not_give_the_design_away():
    designs, shots = np.repeat(np.arange(60), 2), np.tile([0, 1], 60)
    images = minicars.render(minicars.attributes(3, designs, shots), 12, 16, supersample=1, chunk=60).float()
    means = images.mean((2, 3)).view(60, 2, 3)
    same = (means[:, 0] - means[:, 1]).square().sum(1)
    others = torch.cat([(means[:, 0] - means[:, 1].roll(k, 0)).square().sum(1) for k in range(1, 9)])
    assert (same[:, None] < others[None]).float().mean() < 0.75


def test_masks_add_up_and_show_every_part():
    a = drawn(np.arange(4), np.zeros(4, int))
    a["yaw"][:] = [-120, -40, 40, 120]
    images, masks = minicars.render(a, 48, 64, masks=True)
    assert set(masks) == set(minicars.REGIONS)
    assert torch.allclose(sum(masks.values()), torch.ones(()), atol=1e-4)
    assert torch.equal(images, minicars.render(a, 48, 64))
    for region, least in (("body", 250), ("windows", 40), ("wheels", 30), ("lights", 3), ("ground", 300)):
        assert (masks[region].sum((1, 2)) > least).all(), region


def test_a_turned_car_is_the_mirror_image():
    a = drawn([2, 2], [0, 0])
    a["yaw"][:], a["paint_lightness"][:] = [-60, 60], 0.6
    masks = minicars.render(a, 48, 64, masks=True)[1]
    for region in ("body", "windows", "wheels", "lights"):
        one, other = masks[region]
        columns = torch.arange(64.0) - 31.5
        middle = [(m.sum(0) * columns).sum() / m.sum() for m in (one, other.flip(1))]
        assert abs(one.sum() - other.sum()) < 0.02 * one.sum() + 1, region
        assert abs(middle[0] - middle[1]) < 3, region        # but for the camera's small slide


def test_hard_images_are_harder():
    a = minicars.attributes(0, np.arange(200), np.zeros(200, int), hard=True)
    assert a["elevation"].min() >= 18 and (a["occluder"] > 0).mean() > 0.5
    assert minicars.render({k: v[:2] for k, v in a.items()}, 24, 32).shape == (2, 3, 24, 32)


def test_any_size_and_shape():
    a = drawn(1, 0)
    assert minicars.render(a, 40, 40).shape == (1, 3, 40, 40)
    small, large = minicars.render(a, 24, 32).float(), minicars.render(a, 48, 64).float()
    assert (torch.nn.functional.avg_pool2d(large, 2) - small).abs().mean() < 4


def test_rays_meet_a_rounded_hull_on_its_surface():
    square = torch.tensor([[(-0.5, 0.0), (0.5, 0.0), (0.5, 0.6), (-0.5, 0.6)]])
    faces = faces_of(square, [(0.0, 0.0, 1.0, 0.3), (0.0, 0.0, -1.0, 0.3)])
    radius = torch.tensor([[0.08]])
    hit, share, inner = cast_hull(view(), faces, radius)
    seen = hit.cover[0] > 0.99
    assert seen.sum() > 60
    over = (inner + radius[..., None]).clamp(min=0)[0, :, seen]
    assert (over.square().sum(0).sqrt() - 0.08).abs().max() < 1e-3
    assert torch.allclose(share[0, :, seen].sum(0), torch.ones(()), atol=1e-4)
    toward = (hit.normal * view().rays).sum(1)[0, seen]
    assert toward.max() < 0.05                               # the surface faces the eye


def test_rays_meet_balls_tubes_and_discs():
    camera = view(yaw=35.0, size=48)
    centre, radii = torch.tensor([[0.1, 0.3, 0.0]]), torch.tensor([[0.5, 0.2, 0.3]])
    ball = cast_ball(camera, centre, radii)
    seen = ball.cover[0] > 0.99
    on = ((ball.point - centre[..., None]) / radii[..., None]).square().sum(1)[0, seen]
    assert seen.sum() > 20 and (on - 1).abs().max() < 1e-3
    wheel = torch.tensor([[0.4]]), torch.tensor([[0.3]])
    tube = cast_tube(camera, *wheel, torch.tensor([[0.2]]), torch.tensor([[0.25]]), 0.1)
    on = (tube.point[:, :2] - torch.stack(wheel, 1)).square().sum(1).sqrt()[tube.cover > 0.99]
    assert (on - 0.25).abs().max() < 1e-3
    disc, off = cast_disc(camera, *wheel, torch.tensor([[0.3]]), torch.tensor([[0.25]]), torch.ones(1, 1))
    seen = disc.cover > 0.99
    assert (disc.point[:, 2][seen] - 0.3).abs().max() < 1e-5 and off[seen].max() < 1


def test_a_hue_is_the_angle_of_two_normals():
    split = load_dataset("minicars").split("train")
    rows = np.arange(4000)
    codes, hue = split.codes(rows), split.table(rows)["paint_hue"]
    assert codes.shape[1] == sum(minicars.CODES) + 1
    x, y = codes[:, minicars.CODES[0] + minicars.WRAPS[0]], codes[:, -1]
    assert np.allclose((np.arctan2(y, x) / (2 * np.pi)) % 1, hue, atol=1e-9)
    assert abs(codes.mean(0)).max() < 0.08 and abs(codes.std(0) - 1).max() < 0.06
    assert abs(np.corrcoef(codes.T) - np.eye(codes.shape[1])).max() < 0.12, \
        "independent: 1,300 identities, so that chance stays under 0.1"
    assert np.array_equal(codes[7], split.codes(rows[7:8])[0]), "whatever else is drawn"
