"""Avatars: order-free, identity apart from instance, stated correlations, masks, stored values."""
import numpy as np
import pytest
import torch

from restyle_lib.errors import UserError
from restyle_lib.rendered import avatars, world

REFERENCE = {(0, 0): [167, 48, 47, 167, 157, 164, 114, 171, 158, 158, 117, 174, 160, 55, 45, 178, 172, 35,
    33, 173, 164, 141, 93, 178, 166, 128, 92, 182, 168, 43, 34, 186, 197, 28, 26, 189, 185, 133, 81, 193,
    187, 117, 80, 196, 188, 36, 28, 199], (7, 2): [180, 86, 80, 216, 206, 88, 99, 181, 65, 75, 91, 212, 55,
    81, 64, 222, 161, 54, 50, 205, 188, 55, 62, 172, 40, 45, 68, 205, 34, 51, 39, 215, 166, 34, 32, 183,
    183, 38, 44, 156, 26, 32, 58, 184, 22, 35, 27, 190]}


def drawn(identity, instance, **options):
    return avatars.attributes(0, np.atleast_1d(identity), np.atleast_1d(instance), **options)


def test_an_image_does_not_depend_on_the_order_or_company_it_is_made_in():
    together = avatars.render(drawn([3, 1, 2, 9, 5], [0, 1, 0, 3, 2]), 32, 32)
    alone = avatars.render(drawn(2, 0), 32, 32)
    assert (together[2].int() - alone[0].int()).abs().max() <= 1
    other = avatars.render(drawn([3, 1, 2, 9, 5], [0, 1, 0, 3, 2]), 32, 32, chunk=2)
    assert (together.int() - other.int()).abs().max() <= 1


@pytest.mark.parametrize("key", REFERENCE)
def test_stored_pixels(key):
    image = avatars.render(drawn(*key), 64, 64)[0]
    found = image[:, 8::16, 8::16].flatten().int()
    assert (found - torch.tensor(REFERENCE[key])).abs().max() <= 1


def test_identity_persists_and_instances_differ():
    a = drawn([4, 4], [0, 1])
    levels = {attribute.name: attribute.level for attribute in avatars.NAMES}
    assert len(levels) >= 16
    for name, level in levels.items():
        if level == "identity":
            assert a[name][0] == a[name][1], name
    assert a["yaw"][0] != a["yaw"][1] and a["smile"][0] != a["smile"][1]
    assert (avatars.render(a, 32, 32)[0] != avatars.render(a, 32, 32)[1]).any()


def test_values_stay_in_their_stated_ranges():
    for hard in (False, True):
        a = avatars.attributes(1, np.arange(600), np.zeros(600, int), hard=hard)
        for spec in avatars.NAMES:
            low, high = (0, len(spec.classes) - 1) if spec.kind == "category" else (spec.low, spec.high)
            assert a[spec.name].min() >= low and a[spec.name].max() <= high, spec.name


def test_age_goes_with_grey_hair_and_glasses_only_where_stated():
    people, shots = np.arange(4000), np.zeros(4000, int)
    linked = avatars.attributes(0, people, shots)
    free = avatars.attributes(0, people, shots, correlated=False)
    for name in ("hair_grey", "glasses"):
        assert 0.42 < np.corrcoef(linked["age"], linked[name])[0, 1] < 0.58, name
        assert abs(np.corrcoef(free["age"], free[name])[0, 1]) < 0.05, name


def test_colour_alone_does_not_give_the_identity_away():
    people, shots = np.repeat(np.arange(150), 2), np.tile([0, 1], 150)
    images = avatars.render(avatars.attributes(3, people, shots), 16, 16, supersample=1).float()
    means = images.mean((2, 3)).view(150, 2, 3)
    same = (means[:, 0] - means[:, 1]).square().sum(1)
    others = torch.cat([(means[:, 0] - means[:, 1].roll(k, 0)).square().sum(1) for k in range(1, 9)])
    assert (same[:, None] < others[None]).float().mean() < 0.75


def test_masks_add_up_and_follow_the_features():
    a = drawn(np.arange(6), np.zeros(6, int))
    a["yaw"][:], a["glasses"][:], a["eye_open"][:] = 0, [0, 1, 0, 1, 0, 1], 1
    _, masks = avatars.render(a, 64, 64, masks=True)
    assert set(masks) == set(avatars.REGIONS)
    assert torch.allclose(sum(masks.values()), torch.ones(()), atol=1e-4)
    shown = masks["glasses"].sum((1, 2)) > 5
    assert shown.tolist() == [False, True] * 3
    assert (masks["eyes"].sum((1, 2)) > 8).all() and (masks["mouth"].sum((1, 2)) > 4).all()


def test_attributes_move_what_they_name():
    a = drawn([2, 2], [0, 0])
    a["yaw"][:], a["occluder"][:], a["glasses"][:] = [-35, 35], 0, 0
    images, masks = avatars.render(a, 64, 64, masks=True)
    columns = torch.arange(64.0)
    middle = (masks["mouth"].sum(1) * columns).sum(1) / masks["mouth"].sum((1, 2))
    assert middle[1] - middle[0] > 8


def test_hard_images_are_harder():
    a = avatars.attributes(0, np.arange(200), np.zeros(200, int), hard=True)
    assert np.abs(a["yaw"]).min() >= 25 and (a["occluder"] > 0).mean() > 0.5


def test_any_size_and_shape():
    a = drawn(1, 0)
    assert avatars.render(a, 48, 64).shape == (1, 3, 48, 64)
    small, large = avatars.render(a, 32, 32).float(), avatars.render(a, 64, 64).float()
    assert (torch.nn.functional.avg_pool2d(large, 2) - small).abs().mean() < 3


def test_unknown_world_is_refused_with_a_suggestion():
    with pytest.raises(UserError, match="avatars"):
        world("avatar")
