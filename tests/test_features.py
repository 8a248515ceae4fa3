"""Feature networks: what they return, and that grey, wide and single images pass."""
import warnings

import pytest
import torch
import torch.nn.functional as F

from restyle_lib.checkpoints.published import read_published
from restyle_lib.errors import UserError
from restyle_lib.models.features import AttributeReader, FaceEmbedding, IdentityNet, PerceptualNet
from restyle_lib.models.lpips import Lpips

ATTRIBUTES = [{"name": "yaw", "kind": "real", "low": -45.0, "high": 45.0},
              {"name": "glasses", "kind": "binary"},
              {"name": "hair", "kind": "category", "classes": ["short", "long", "none"]}]


@pytest.fixture(scope="module")
def reader():
    torch.manual_seed(0)
    return AttributeReader(ATTRIBUTES, (32, 48)).eval()


@pytest.mark.parametrize("network", [IdentityNet, PerceptualNet, lambda: AttributeReader(ATTRIBUTES)])
def test_small_networks_stay_below_their_budget_and_rebuild_from_their_config(network):
    network = network()
    twin = type(network)(**network.config)
    twin.load_state_dict(network.state_dict())
    assert sum(p.numel() for p in network.parameters()) < 0.6e6


@pytest.mark.parametrize("size", [(64, 64), (48, 64)])
def test_embeddings_have_unit_length_and_do_not_depend_on_the_batch(size):
    network, x = IdentityNet(size, dim=32).eval(), torch.randn(3, 3, *size)
    embedded = network(x)
    assert embedded.shape == (3, 32) and torch.allclose(embedded.norm(dim=1), torch.ones(3), atol=1e-6)
    assert torch.allclose(network(x[:1]), embedded[:1], atol=1e-5)


def test_grey_images_are_repeated():
    grey = torch.randn(2, 1, 64, 64)
    for network in (IdentityNet(), PerceptualNet(), AttributeReader(ATTRIBUTES)):
        network.eval()
        for a, b in zip(flat(network(grey)), flat(network(grey.expand(-1, 3, -1, -1))), strict=True):
            assert torch.equal(a, b)


def flat(value):
    return list(value.values()) if isinstance(value, dict) else list(value)


def test_perceptual_distance_is_a_symmetric_distance_per_image():
    network = PerceptualNet().eval()
    a, b = torch.randn(2, 2, 3, 64, 64)
    assert torch.equal(network.distance(a, a), torch.zeros(2))
    assert torch.allclose(network.distance(a, b), network.distance(b, a))
    assert torch.allclose(network.distance(network(a), b), network.distance(a, b))
    assert torch.allclose(network.distance(a[:1], b[:1]), network.distance(a, b)[:1], rtol=1e-4)


def test_distances_keep_finite_gradients_on_flat_images():
    flat_image = torch.zeros(1, 3, 64, 64, requires_grad=True)
    for network in (PerceptualNet().eval(), Lpips().eval()):
        torch.nn.init.constant_(network.weights[0], 0.2)
        distance = network.distance(flat_image, torch.ones(1, 3, 64, 64))
        gradient, = torch.autograd.grad(distance.sum(), flat_image)
        assert gradient.isfinite().all()


def test_attributes_come_in_their_units(reader):
    out = reader(torch.randn(4, 3, 32, 48))
    assert {name: tuple(v.shape) for name, v in out.items()} == {"yaw": (4,), "glasses": (4,), "hair": (4, 3)}
    assert torch.allclose(out["hair"].sum(1), torch.ones(4))
    assert 0 < out["glasses"].min() <= out["glasses"].max() < 1
    raw = reader.raw(torch.zeros(1, 3, 32, 48))
    assert torch.allclose(reader(torch.zeros(1, 3, 32, 48))["yaw"], 45 * raw["yaw"])


def test_attribute_loss_is_zero_at_the_truth_and_skips_unknown_targets(reader):
    x = torch.randn(4, 3, 32, 48)
    truth = reader(x)["yaw"].detach()
    total, terms = reader.loss(x, {"yaw": truth})
    assert list(terms) == ["yaw"] and total < 1e-10
    holes = truth.clone()
    holes[1] = float("nan")
    assert reader.loss(x, {"yaw": holes})[0] < 1e-10
    with pytest.raises(UserError, match="no target"):
        reader.loss(x, {"age": truth})
    _, terms = reader.loss(x, {"glasses": torch.tensor([0, 1, 1, 0]), "hair": torch.tensor([0, 1, 2, 1])})
    assert set(terms) == {"glasses", "hair"} and all(v > 0 for v in terms.values())
    with pytest.raises(UserError, match="real, binary, category"):
        AttributeReader([{"name": "age", "kind": "number"}])


def test_published_faces_are_cropped_as_their_loss_crops_them():
    network = FaceEmbedding().eval()
    x = torch.randn(1, 3, 256, 256)
    crop = F.adaptive_avg_pool2d(x[:, :, 35:223, 32:220], 112)
    with torch.no_grad():
        assert torch.equal(network(x), network(crop))
        larger = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        assert torch.allclose(network(larger), network(x), atol=1e-4)


@pytest.mark.parametrize("name", ["alex", "vgg", "squeeze"])
def test_lpips_equals_the_package(name):
    """Our formula against the `lpips` package on the same random network."""
    import lpips

    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it calls torchvision by arguments of old
        theirs = lpips.LPIPS(net=name, pnet_rand=True, verbose=False).eval()
    slices = [part for key, part in theirs.net.named_children() if key.startswith("slice")]
    state = {f"features.{key}": value for part in slices for key, value in part.state_dict().items()}
    ours, (a, b) = read_published(state)["lpips"], torch.rand(2, 2, 3, 64, 96) * 2 - 1
    assert ours.config == {"network": name}
    with torch.no_grad():
        assert torch.allclose(ours.distance(a, b), theirs(a, b).flatten(), rtol=1e-4)
