"""Losses: each against its formula written out, and the LossSet's rules."""
import pytest
import torch
import torch.nn.functional as F

from restyle_lib import losses
from restyle_lib.errors import UserError
from restyle_lib.losses import LatentDiscriminator, LatentPool, LossSet
from restyle_lib.models.features import AttributeReader, IdentityNet, PerceptualNet


READ = [{"name": "yaw", "kind": "real", "low": -40, "high": 20, "weight": 3},
        {"name": "hat", "kind": "binary"}, {"name": "hair", "kind": "category", "classes": 3}]


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    return {"perceptual": PerceptualNet((32, 32)), "identity": IdentityNet((32, 32)),
            "attributes": AttributeReader(READ, (32, 32), channels=(4, 4, 4, 8)).eval(),
            "discriminator": LatentDiscriminator(8)}


def pair(batch=2, channels=3):
    torch.manual_seed(batch)
    return torch.randn(batch, channels, 32, 32, requires_grad=True), torch.randn(batch, channels, 32, 32)


def test_latent_norms_are_sums_of_distances():
    latent, mean = torch.randn(3, 5, 8), torch.randn(5, 8)
    loop = sum((latent[b] - mean).square().sum().sqrt() for b in range(3)) / 3
    assert torch.allclose(losses.w_norm(latent, mean), loop)
    assert torch.allclose(losses.w_norm(latent, mean[0]), losses.w_norm(latent, mean[0].expand(5, 8)))
    loop = sum((latent[:, i] - latent[:, 0]).square().sum(1).sqrt().mean() for i in range(1, 4))
    assert torch.allclose(losses.delta_norm(latent, 3), loop)
    assert losses.delta_norm(latent, 0) == 0
    assert torch.equal(losses.delta_norm(latent, 4), losses.delta_norm(latent))


def test_adversarial_terms_follow_their_formulas(networks):
    judge, latent, real = networks["discriminator"], torch.randn(3, 5, 8), torch.randn(4, 8)
    loop = sum(F.softplus(-judge(latent[:, i])).mean() for i in range(3)) / 3
    assert torch.allclose(losses.adversarial(judge, latent, 2), loop)
    fake = latent[:, 0]
    logistic = -torch.sigmoid(judge(real)).log().mean() - torch.sigmoid(-judge(fake)).log().mean()
    assert torch.allclose(losses.discriminator_loss(judge, real, fake), logistic, atol=1e-6)


def test_what_a_reader_finds_differs_by_hand(networks):
    class Fixed(AttributeReader):
        def forward(self, images):
            shown = images.flatten(1)
            return {"yaw": 30 * shown[:, 0], "hat": shown[:, 1], "hair": shown[:, 2:5]}

    reader, a, b = Fixed(READ, (32, 32), channels=(4, 4, 4, 8)), torch.rand(2, 5), torch.rand(2, 5)
    far = F.smooth_l1_loss(a * torch.tensor([1, 2, 2, 2, 2]), b * torch.tensor([1, 2, 2, 2, 2]), beta=0.25,
                           reduction="none").mean(0)
    expected = (3 * far[0] + far[1] + far[2:].sum()) / 5                       # half of yaw's range is 30
    assert torch.allclose(LossSet({"attributes": 1}, {"attributes": reader})(a, b)[0], expected)


def test_r1_of_a_linear_judge_is_its_squared_weight():
    weight = torch.randn(8)
    assert torch.allclose(losses.r1(lambda w: w @ weight, torch.randn(5, 8)), weight.square().sum())
    scaled = torch.nn.Parameter(weight)
    losses.r1(lambda w: w @ scaled, torch.randn(5, 8)).backward()
    assert torch.allclose(scaled.grad, 2 * weight)


@pytest.mark.parametrize("batch, channels", [(1, 3), (2, 1), (4, 3)])
def test_the_total_is_the_weighted_sum_at_any_batch(networks, batch, channels):
    weights = {"l2": 1.0, "perceptual": 0.8, "identity": 0.1, "attributes": 2.0, "w_norm": 0.03,
               "delta_norm": 0.01, "adversarial": 0.1}
    (output, target), latent = pair(batch, channels), torch.randn(batch, 5, 8, requires_grad=True)
    total, terms = LossSet(weights, networks, torch.zeros(8))(output, target, latent=latent)
    assert list(terms) == list(weights)
    assert torch.allclose(total, sum(weights[name] * value for name, value in terms.items()))
    total.backward()
    assert output.grad.isfinite().all() and latent.grad.isfinite().all()


def test_perfect_reconstructions_cost_nothing(networks):
    image = pair()[1]
    total, _ = LossSet({"l2": 1, "perceptual": 0.8, "identity": 0.1, "attributes": 1}, networks)(image, image)
    assert total.abs() < 1e-6


def test_terms_of_weight_zero_are_skipped():
    total, terms = LossSet({"l2": 2.0, "identity": 0, "moco": 0.0})(*pair())
    assert list(terms) == ["l2"] and torch.allclose(total, 2 * terms["l2"])


def test_what_the_networks_see_in_a_target_is_computed_once(networks):
    seen = []

    class Spy(torch.nn.Module):
        def forward(self, images):
            seen.append(images.requires_grad)
            return F.normalize(images.flatten(1))

    loss, (output, target) = LossSet({"identity": 1}, {"identity": Spy()}), pair()
    first = loss(output, target)[0]
    assert torch.equal(loss(output, target)[0], first) and seen == [True, False, True]
    target.mul_(-1)
    assert torch.allclose(loss(output, target)[0], 2 - first, atol=1e-6)


def test_networks_of_image_losses_are_frozen(networks):
    LossSet({"perceptual": 1, "adversarial": 1}, networks)
    assert not any(p.requires_grad for p in networks["perceptual"].parameters())
    assert not networks["perceptual"].training
    assert all(p.requires_grad for p in networks["discriminator"].parameters())


def test_refusals_are_sentences(networks):
    with pytest.raises(UserError, match="did you mean 'identity'"):
        LossSet({"identiy": 1})
    with pytest.raises(UserError, match="every loss has weight 0"):
        LossSet({"identity": 0, "moco": 0})
    with pytest.raises(UserError, match="needs the network 'moco'"):
        LossSet({"moco": 0.5}, networks)
    with pytest.raises(UserError, match="average style"):
        LossSet({"w_norm": 1})
    with pytest.raises(UserError, match="needs the latent"):
        LossSet({"delta_norm": 1})(*pair())


def test_the_pool_passes_through_until_full_then_swaps_half():
    pool, stream = LatentPool(50), torch.Generator().manual_seed(0)
    first = torch.arange(50.0)[:, None]
    assert torch.equal(pool.add(first, stream), first) and len(pool.kept) == 50
    later = torch.arange(100.0, 1100.0)[:, None]
    out = pool.add(later, stream)
    swapped = (out != later).flatten()
    assert 400 < swapped.sum() < 600
    everything = torch.cat([first, later]).flatten().sort().values
    assert torch.equal(torch.cat([out, pool.kept]).flatten().sort().values, everything)
    assert torch.equal(LatentPool(0).add(later), later)
    styles = torch.randn(6, 5, 3)
    assert all((style == styles[i]).all(1).any() for i, style in enumerate(LatentPool().add(styles, stream)))
