"""Toons: the avatars' truth in another hand; stored values, flat light, outlines where regions meet."""
import numpy as np
import pytest
import torch

from restyle_lib.rendered import avatars, toons, world
from restyle_lib.rendered.looks import PLAIN, pen, vivid
from restyle_lib.rendered.shapes import staircase

REFERENCE = {(0, 0): [178, 88, 76, 174, 163, 176, 122, 179, 166, 176, 134, 184, 166, 71, 52, 188, 183, 61,
    52, 181, 170, 142, 96, 187, 175, 136, 103, 192, 176, 53, 38, 196, 211, 41, 34, 197, 193, 121, 79, 201,
    199, 116, 85, 204, 199, 40, 28, 206], (7, 2): [196, 127, 140, 230, 220, 38, 136, 196, 105, 121, 92, 217,
    36, 98, 40, 228, 169, 75, 83, 219, 190, 24, 81, 184, 62, 68, 67, 216, 23, 58, 25, 224, 180, 40, 44, 188,
    185, 14, 50, 162, 33, 42, 52, 194, 14, 36, 17, 195]}


def drawn(identity, instance, **options):
    return toons.attributes(0, np.atleast_1d(identity), np.atleast_1d(instance), **options)


@pytest.mark.parametrize("key", REFERENCE)
def test_stored_pixels(key):
    image = toons.render(drawn(*key), 64, 64)[0]
    found = image[:, 8::16, 8::16].flatten().int()
    assert (found - torch.tensor(REFERENCE[key])).abs().max() <= 1


def test_a_toon_has_its_avatars_attributes_and_nearly_its_regions():
    assert world("toons") is toons and toons.NAMES == avatars.NAMES
    a, b = drawn([1, 4], [0, 2]), avatars.attributes(0, np.array([1, 4]), np.array([0, 2]))
    assert all(np.array_equal(a[name], b[name]) for name in b)
    toon, avatar = toons.render(a, 48, 48, masks=True)[1], avatars.render(b, 48, 48, masks=True)[1]
    for region in ("background", "hair", "clothes"):
        assert (toon[region] - avatar[region]).abs().mean() < 0.02, region
    assert (toon["eyes"].sum((1, 2)) > 1.3 * avatar["eyes"].sum((1, 2))).all()


def test_a_plain_look_is_the_avatar_itself():
    a = drawn([2, 6], [1, 0])
    assert torch.equal(avatars.render(a, 32, 32, look=PLAIN), avatars.render(a, 32, 32))
    assert not torch.equal(toons.render(a, 32, 32), avatars.render(a, 32, 32))


def test_an_image_does_not_depend_on_the_order_or_company_it_is_made_in():
    together = toons.render(drawn([3, 1, 2, 9], [0, 1, 0, 3]), 32, 32)
    alone = toons.render(drawn(2, 0), 32, 32)
    assert (together[2].int() - alone[0].int()).abs().max() <= 1


def test_ink_lies_where_regions_meet_or_depth_jumps_and_nowhere_else():
    left = (torch.arange(40) < 12).float().repeat(30).view(1, -1)
    regions = torch.stack([left, 1 - left], 1)
    depth = (torch.arange(40) < 28).float().repeat(30).view(1, -1) * 0.5
    ink = pen(regions, depth, 30, 40, sigma=1.0).view(30, 40)
    assert (ink - ink[:1]).abs().max() < 1e-4                # the same in every row
    row = ink[0]
    assert row[11:13].min() > 0.9 and row[27:29].min() > 0.9
    assert row[:8].max() < 0.01 and row[16:24].max() < 0.01 and row[32:].max() < 0.01


def test_outlines_are_as_wide_at_every_size():
    a = drawn([3, 8], [0, 0])
    small, large = toons.render(a, 48, 48).float(), toons.render(a, 96, 96).float()
    assert (torch.nn.functional.avg_pool2d(large, 2) - small).abs().mean() < 6


def test_steps_are_flat_around_whole_numbers_and_keep_them():
    whole = torch.arange(4.0)
    assert torch.allclose(staircase(whole), whole, atol=1e-5)
    assert (staircase(whole + 0.15) - whole).abs().max() < 0.01
    x = torch.linspace(0, 3, 400)
    assert (staircase(x).diff() >= -1e-6).all()


def test_vivid_leaves_grey_grey_and_spares_what_is_vivid():
    grey, dull, loud = torch.tensor([[.5, .5, .5], [.6, .5, .4], [.95, .1, .1]]).view(3, 1, 3, 1)
    spread = [float(vivid(rgb, 0.5).max() - vivid(rgb, 0.5).min()) for rgb in (grey, dull, loud)]
    assert spread[0] < 1e-6 and spread[1] > 0.22 and spread[2] < 0.9
