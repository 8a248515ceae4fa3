"""Backbones and heads: shapes, published sizes, and the identities that the fast forms must keep."""
import math

import pytest
import torch
import torch.nn.functional as F

from restyle_lib.errors import UserError
from restyle_lib.models.backbones import BACKBONES, build_backbone
from restyle_lib.models.encoders import Encoder, StyleHeads
from restyle_lib.models.features import IdentityNet

SMALL = dict(backbone="irse_small", n_styles=10, w_dim=24, head_channels=8)


def small(seed=0, **options):
    torch.manual_seed(seed)
    return Encoder(**{**SMALL, "input_size": (64, 64), **options}).eval()


def parameters(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name, size", [("irse_small", (48, 64)), ("resnet_small", (33, 47))])
def test_small_backbones_give_three_maps_of_their_stated_shapes(name, size):
    backbone = build_backbone(name, 4).eval()
    maps = backbone(torch.zeros(2, 4, *size))
    assert [m.shape[1] for m in maps] == list(backbone.channels)
    sizes = [tuple(math.ceil(side / stride) for side in size) for stride in backbone.strides]
    assert [tuple(m.shape[2:]) for m in maps] == sizes


@pytest.mark.parametrize("name", ["irse50", "resnet34"])
def test_published_backbones_handle_wide_inputs(name):
    with torch.device("meta"):
        maps = build_backbone(name, 6)(torch.empty(1, 6, 192, 256))
    assert [tuple(m.shape[1:]) for m in maps] == [(128, 48, 64), (256, 24, 32), (512, 12, 16)]


@pytest.mark.parametrize("backbone, styles, trunk, heads",
                         [("irse50", 18, 30_951_808, 174_633_984), ("resnet34", 16, 21_294_144, 155_230_208),
                          ("resnet34", 14, 21_294_144, 135_826_432)])
def test_published_encoders_have_the_published_sizes(backbone, styles, trunk, heads):
    with torch.device("meta"):
        encoder = Encoder(backbone, n_styles=styles)
    assert (parameters(encoder.backbone), parameters(encoder.heads)) == (trunk, heads)


def test_embedded_encoder_fits_its_budget():
    encoder = Encoder("irse_small", n_styles=10, w_dim=192, input_size=(64, 64))
    assert 1.2e6 < parameters(encoder) < 2e6 and encoder.heads[0].width == 64


@pytest.mark.parametrize("size", [(8, 8), (6, 8), (12, 16), (5, 3), (1, 1)])
def test_batched_heads_equal_one_head_at_a_time(size):
    torch.manual_seed(1)
    heads = StyleHeads(3, 6, 4, 5, size).double()
    torch.nn.init.normal_(heads.linear_bias)
    x = torch.randn(2, 6, *size, dtype=torch.float64)
    for style in range(3):
        y = x
        for weight, bias in zip(heads.weights, heads.biases, strict=True):
            y = F.conv2d(y, weight.unflatten(0, (3, 4))[style], bias.unflatten(0, (3, 4))[style], 2, 1)
            y = F.leaky_relu(y, 0.01)
        weight, bias = heads.linear_weight.view(3, 5, 4)[style] / 2, heads.linear_bias.view(3, 5)[style]
        y = F.linear(y.flatten(1), weight, bias)
        assert torch.allclose(heads(x)[:, style], y, atol=1e-12)
    assert torch.allclose(heads(x, 2), heads(x)[:, :2], atol=1e-12)


@pytest.mark.parametrize("head", ["single", "pyramid"])
@pytest.mark.parametrize("channels, size", [(6, (64, 64)), (2, (64, 64)), (6, (48, 64)), (1, (40, 24))])
def test_encoders_take_any_channels_and_shape(head, channels, size):
    encoder = small(head=head, in_channels=channels, input_size=size)
    assert encoder(torch.randn(1, channels, *size)).shape == (1, 10, 24)
    assert parameters(Encoder(**encoder.config)) == parameters(encoder)


@pytest.mark.parametrize("head", ["single", "pyramid"])
@pytest.mark.parametrize("stage", [0, 1, 5, 9, 40])
def test_a_stage_activates_the_first_offsets_only(head, stage):
    encoder, x = small(head=head, progressive=True), torch.randn(2, 6, 64, 64)
    full = encoder(x)
    encoder.stage = stage
    codes = encoder(x)
    assert torch.allclose(codes[:, :stage + 1], full[:, :stage + 1], atol=1e-6)
    assert torch.equal(codes[:, stage + 1:], codes[:, :1].expand_as(codes[:, stage + 1:]))


def test_progressive_codes_are_the_first_head_plus_offsets():
    plain, progressive, x = small(), small(progressive=True), torch.randn(2, 6, 64, 64)
    heads = plain(x)
    heads[:, 1:] += heads[:, :1].clone()
    assert torch.allclose(progressive(x), heads, atol=1e-6)


def test_heads_read_gradients_row_by_row():
    """Ranger centralises gradients along rows; stacking the heads must not mix them."""
    heads = StyleHeads(3, 6, 4, 5, (8, 8))
    assert all(len(p) in (3 * 4, 3 * 5) for p in heads.parameters())


def test_a_trunk_starts_the_encoder_where_the_identity_network_stands():
    identity, x = IdentityNet(), torch.randn(2, 3, 64, 64)
    identity(x)
    identity.eval()
    encoder = small()
    report = encoder.load_trunk(identity.backbone.state_dict())
    assert not report["missing"] and not report["unexpected"]
    both = torch.cat([x, torch.randn_like(x)], 1)
    assert torch.allclose(encoder.backbone(both)[-1], identity.backbone(x)[-1], atol=1e-5)
    assert encoder.load_trunk(identity.state_dict())["unexpected"]


def test_a_trunk_of_colour_serves_grey_images():
    trunk, x = build_backbone("irse_small", 3).eval(), torch.randn(2, 1, 64, 64)
    encoder = small(in_channels=2)
    encoder.load_trunk(trunk.state_dict())
    ours, theirs = encoder.backbone(torch.cat([x, x * 0], 1)), trunk(x.expand(-1, 3, -1, -1))
    assert torch.allclose(ours[-1], theirs[-1], atol=1e-5)


def test_extra_channels_start_at_zero_or_normal():
    trunk = build_backbone("resnet_small", 3)
    encoder = small(backbone="resnet_small")
    encoder.load_trunk(trunk.state_dict(), extra="normal")
    weight = encoder.backbone.stem.weight
    assert torch.equal(weight[:, :3], trunk.stem.weight) and 0.8 < weight[:, 3:].std() < 1.2


def test_trunks_report_and_refuse():
    encoder = small()
    state = build_backbone("irse_small", 3).state_dict()
    del state["body.0.res_layer.1.weight"]
    report = encoder.load_trunk(state | {"fc.weight": torch.zeros(1)})
    assert report["missing"] == ["body.0.res_layer.1.weight"] and report["unexpected"] == ["fc.weight"]
    with pytest.raises(UserError, match="no convolution"):
        encoder.load_trunk(build_backbone("resnet34", 3).state_dict())
    with pytest.raises(UserError, match="accepted: zero, normal"):
        encoder.load_trunk(state, extra="nought")


def test_wrong_names_and_shapes_are_sentences():
    with pytest.raises(UserError, match="did you mean 'irse50'"):
        build_backbone("irse5")
    with pytest.raises(UserError, match="single, pyramid"):
        Encoder("irse_small", head="triple")
    with pytest.raises(UserError, match=r"takes \[B, 6, 64, 64\]"):
        small()(torch.zeros(1, 3, 64, 64))
    assert set(BACKBONES) == {"irse50", "ir101", "resnet34", "irse_small", "resnet_small"}
