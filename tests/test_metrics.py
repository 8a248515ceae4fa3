"""Metrics and statistics: the values that follow from their definitions."""
import numpy as np
import pytest
import torch

from restyle_lib import metrics, statistics
from restyle_lib.errors import UserError


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_l2_psnr_and_regions():
    a = noise(3, 3, 8, 8)
    b = a.clone()
    b[:, :, :4] += 0.5
    assert torch.equal(metrics.l2(a, a), torch.zeros(3))
    torch.testing.assert_close(metrics.l2(a, b), torch.full((3,), 0.125))
    torch.testing.assert_close(metrics.psnr(a, b), torch.full((3,), 10 * np.log10(32.0), dtype=torch.float32))
    top = torch.zeros(3, 8, 8)
    top[:2, :4] = 1
    inside = metrics.region_l2(a, b, top)
    torch.testing.assert_close(inside[:2], torch.full((2,), 0.25))
    assert torch.isnan(inside[2])
    torch.testing.assert_close(metrics.region_l2(a, b, torch.ones(3, 8, 8)), metrics.l2(a, b))
    with pytest.raises(UserError, match="one shape"):
        metrics.l2(a, b[:2])


@pytest.mark.parametrize("side", [16, 64, 176])
def test_ms_ssim_is_one_for_equal_images_and_falls_with_noise(side):
    a = noise(2, 1, side, side)
    torch.testing.assert_close(metrics.ms_ssim(a, a), torch.ones(2))
    little, much = (metrics.ms_ssim(a, a + s * noise(2, 1, side, side, seed=1)) for s in (0.1, 1.0))
    assert (much < little).all() and (little < 1).all()
    with pytest.raises(UserError, match="11 pixels"):
        metrics.ms_ssim(a[..., :8], a[..., :8])


def test_kid_is_unbiased_and_sees_a_shift():
    rng = np.random.default_rng(0)
    equal = [metrics.kid(rng.normal(size=(60, 4)), rng.normal(size=(60, 4)))[0] for _ in range(40)]
    assert abs(np.mean(equal)) < 4 * np.std(equal) / np.sqrt(40) and min(equal) < 0
    a, b = rng.normal(size=(50, 4)), rng.normal(size=(60, 4)) + 2
    assert metrics.kid(a, b, subset=40)[0] > 1
    assert metrics.kid(a, b, subset=40, seed=1) == metrics.kid(a, b, subset=40, seed=1)
    # against the definition, for two samples of each
    x, y = np.array([[1.0], [2.0]]), np.array([[0.0], [1.0]])
    k = lambda p, q: (p * q + 1) ** 3                                                           # noqa: E731
    expected = k(1, 2) + k(0, 1) - (k(1, 0) + k(1, 1) + k(2, 0) + k(2, 1)) / 2
    assert metrics.kid(x, y)[0] == pytest.approx(expected)


def test_verification_pairs_are_what_they_say():
    identities = np.repeat([5, 2, 9], [4, 3, 1])
    first, second, same = metrics.verification_pairs(identities, 200)
    assert same.sum() == 100 and (first != second).all()
    np.testing.assert_array_equal(identities[first] == identities[second], same)
    embeddings = np.eye(10)[identities]
    assert metrics.verification_auc(embeddings, identities, count=200) == 1.0
    random = np.random.default_rng(0).normal(size=(300, 8))
    assert abs(metrics.verification_auc(random, np.repeat(np.arange(60), 5), count=2000) - 0.5) < 0.05
    with pytest.raises(UserError, match="two identities"):
        metrics.verification_pairs([1, 1, 1])


def test_colour_verifier_sees_colours_only():
    rng = np.random.default_rng(0)
    colours = rng.integers(40, 200, (30, 3))
    plain = np.broadcast_to(colours.repeat(4, axis=0)[:, None, None], (120, 8, 8, 3)).astype(np.uint8)
    identities = np.repeat(np.arange(30), 4)
    assert metrics.colour_auc(plain, identities, count=400) > 0.95
    pattern = rng.permuted(np.tile(np.arange(64, dtype=np.uint8), (120, 1)), axis=1).reshape(120, 8, 8, 1)
    assert abs(metrics.colour_auc(pattern.repeat(3, axis=3), identities, count=400) - 0.5) < 0.15


def test_attribute_agreement():
    kinds = {"yaw": "real", "hat": "binary", "hair": "category"}
    spec = [{"name": name, "kind": kind} for name, kind in kinds.items()]
    truth = {"yaw": np.array([-1.0, 0, 1, 2]), "hat": np.array([0, 1, 1, 0]), "hair": np.array([0, 1, 2, 2])}
    read = {"yaw": 3 * truth["yaw"] + 1, "hat": [0.1, 0.9, 0.4, 0.3], "hair": np.eye(3)[[0, 1, 1, 2]]}
    result = metrics.attribute_agreement(read, truth, spec)
    assert result["yaw"]["r"] == pytest.approx(1)
    assert result["hat"] == {"accuracy": 0.75, "auc": 1.0, "share": 0.5}
    assert result["hair"] == {"accuracy": 0.75}


def test_features_of_tensors_and_of_maps():
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3)).astype(np.uint8)
    flat = metrics.features(torch.nn.Flatten(), images, batch=2)
    assert flat.shape == (5, 48) and flat.min() >= -1 and flat.max() <= 1
    pooled = metrics.features(lambda x: [x, x[:, :1]], images)
    means = flat.view(5, 3, -1).mean(2)
    torch.testing.assert_close(pooled, torch.cat([means, means[:, :1]], 1))


def test_bootstrap_is_seeded_and_covers():
    rng = np.random.default_rng(0)
    one = statistics.paired_interval(rng.normal(1, 1, 50), np.zeros(50))
    assert one.low < one.estimate < one.high and one.count == 50
    assert one == statistics.paired_interval(np.random.default_rng(0).normal(1, 1, 50), np.zeros(50))
    covered = [i.low <= 0 <= i.high for i in (statistics.bootstrap(rng.normal(size=40), resamples=300)
                                              for _ in range(100))]
    assert 80 <= sum(covered) <= 100
    assert statistics.bootstrap([3.0]) == (3.0, 3.0, 3.0, 1)
    r = statistics.bootstrap(np.arange(9), np.arange(9) ** 2, statistic=statistics.pearson, resamples=50)
    assert 0.9 < r.low <= r.estimate <= 1
    with pytest.raises(UserError):
        statistics.paired_interval([1, 2], [1])


def test_rank_scores():
    assert statistics.auc([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]) == 0.75
    assert statistics.auc([1, 1], [0, 1]) == 0.5
    assert np.isnan(statistics.auc([1, 2], [1, 1]))
    assert list(statistics.ranks([10, 20, 10])) == [1.5, 3, 1.5]
    assert statistics.spearman([1, 2, 3], [1, 8, 27]) == pytest.approx(1)
    assert statistics.pearson([1, 1], [1, 2]) == 0
