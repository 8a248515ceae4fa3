"""The generator's trainer: resuming, growing, fine-tuning, warm start; all at 8 to 16 pixels."""
import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from restyle_lib.checkpoints.own import read_config
from restyle_lib.errors import UserError
from restyle_lib.models.layers import upsample
from restyle_lib.models.stylegan2 import Discriminator, Generator
from restyle_lib.training.augment import KINDS, augment
from restyle_lib.training.generator import GeneratorTraining, generator_share, train_generator
from restyle_lib.training.inherit import copy_matching
from restyle_lib.training.loop import load_state
from restyle_lib.training.warm import image_loss, regress

pytestmark = pytest.mark.filterwarnings("error")
CHANNELS = {4: 8, 8: 8, 16: 6}
TINY = GeneratorTraining(
    resolution=8, z_dim=6, w_dim=6, mapping_layers=2, channels=CHANNELS, batch=4, r1_every=2, path_length=2.0,
    pl_every=2, augment=("colour", "translation", "cutout"), augment_p=0.5, augment_target=0.6, flip=True,
    total_images=20, sample_every=12, save_every=1000, log_every=8)


CODES = np.random.default_rng(5).standard_normal((9, 6))


def pictures(size=8, channels=3, count=9):
    return np.random.default_rng(3).integers(0, 256, (count, size, size, channels), dtype=np.uint8)


def train(out, size=8, channels=3, count=9, init_from=None, **settings):
    fields = {field.name for field in dataclasses.fields(TINY)}
    changes = {key: settings.pop(key) for key in list(settings) if key in fields}
    config = dataclasses.replace(TINY, resolution=size, image_channels=channels, **changes)
    return train_generator(pictures(size, channels, count), out, config=config, init_from=init_from,
                           headless=True, **settings)


def parts(out):
    return load_state(out / "state.pt")["parts"]


def flat(value, name=""):
    """{dotted name: tensor or number} of nested dicts and lists."""
    if not isinstance(value, (dict, list, tuple)):
        return {name: value}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return {key: leaf for part, item in items for key, leaf in flat(item, f"{name}.{part}").items()}


def same(a, b):
    a, b = flat(a), flat(b)
    return a.keys() == b.keys() and all(
        torch.equal(a[k], b[k]) if isinstance(a[k], torch.Tensor) else a[k] == b[k] for k in a)


@pytest.mark.parametrize("settings", [{}, {"reuse_fakes": True}, {"reuse_gradient": True}, {"amp": "bf16"},
                                      {"warm_images": 8, "warm_weight": 0.5, "codes": CODES}])
def test_resumed_equals_uninterrupted(tmp_path, settings):
    train(tmp_path / "whole", **settings)
    train(tmp_path / "parts", **settings, total_images=8)
    train(tmp_path / "parts", **settings)
    assert same(parts(tmp_path / "whole"), parts(tmp_path / "parts"))
    assert (tmp_path / "whole/samples").is_dir() and (tmp_path / "whole/log.jsonl").stat().st_size


def test_every_part_learns_and_the_result_is_the_average(tmp_path):
    folder = train(tmp_path, warm_images=8, warm_weight=0.5, codes=CODES)
    first = load_state(tmp_path / "state.pt")
    train(tmp_path, warm_images=8, warm_weight=0.5, codes=CODES, total_images=28)
    before, after = flat(first["parts"]), flat(parts(tmp_path))
    for part in ("generator", "ema", "discriminator"):
        moved = [k for k in before if k.startswith(f".{part}.") and not torch.equal(before[k], after[k])]
        assert len(moved) > 5, part
    from restyle_lib.checkpoints.own import load_model
    generator, config = load_model(folder)
    assert torch.equal(generator.w_mean[0], generator.w_mean[-1]) and generator.w_mean.abs().sum() > 0
    assert torch.allclose(generator.constant, after[".ema.constant"], atol=1e-2)
    assert config["facts"]["images"] == 36


def test_a_grown_generator_starts_as_the_small_one_upsampled(tmp_path):
    torch.manual_seed(0)
    widths = dict(z_dim=6, w_dim=6, mapping_layers=2, channels=CHANNELS)
    small, large = Generator(8, **widths), Generator(16, **widths)
    report = copy_matching(large, small.state_dict())
    w = torch.randn(3, 6)
    with torch.no_grad():
        assert torch.allclose(large(w), upsample(small(w)), atol=1e-6)
    assert "to_images.2" in report and "to_images.1" not in report
    train(tmp_path / "small")
    train(tmp_path / "large", size=16, init_from=tmp_path / "small", total_images=4)
    assert "generator" in parts(tmp_path / "large")


def test_a_grown_discriminator_keeps_its_inner_blocks():
    small, large = Discriminator(8, channels=CHANNELS), Discriminator(16, channels=CHANNELS)
    copy_matching(large, small.state_dict())
    assert torch.equal(large.blocks[1].first.weight, small.blocks[0].first.weight)
    assert not torch.equal(large.blocks[0].skip.weight[:, :3], small.blocks[0].skip.weight[:, :3])
    assert torch.equal(large.logit.weight, small.logit.weight)


def test_fine_tuning_keeps_frozen_layers(tmp_path):
    train(tmp_path / "parent")
    train(tmp_path / "child", init_from=tmp_path / "parent", freeze_d=1)
    before, after = (flat(parts(tmp_path / run)["discriminator"]) for run in ("parent", "child"))
    still = {name for name in before if torch.equal(before[name], after[name])}
    assert still == {name for name in before if name.startswith((".from_image", ".blocks.0."))}


def test_starting_from_a_generator_leaves_it_unchanged(tmp_path):
    parent = Generator(8, z_dim=6, w_dim=6, mapping_layers=2, channels=CHANNELS)
    before = {name: t.clone() for name, t in parent.state_dict().items()}
    train(tmp_path, init_from=parent)
    assert same(before, parent.state_dict())


def test_refusals(tmp_path):
    with pytest.raises(UserError, match="3 images, fewer than one batch of 4"):
        train(tmp_path / "a", count=3)
    with pytest.raises(UserError, match="trains on uint8 images"):
        train_generator(pictures(16), tmp_path / "b", config=TINY)
    with pytest.raises(UserError, match="augment takes"):
        train(tmp_path / "c", augment=("color",))
    with pytest.raises(UserError, match="freeze_d is at most 1"):
        train(tmp_path / "d", freeze_d=2)
    train(tmp_path / "e", total_images=4)
    with pytest.raises(UserError, match=r"lr_g was 0\.0025, now 0\.001"):
        train(tmp_path / "e", lr_g=1e-3)
    with pytest.raises(UserError, match="is (nan|inf|-inf)"):
        train(tmp_path / "f", lr_g=1e30, lr_d=1e30, total_images=400)


def test_the_shared_gradient_is_the_generators_own():
    torch.manual_seed(0)
    judge = Discriminator(8, channels=CHANNELS, mbstd_group=1)
    x = torch.randn(4, 3, 8, 8, requires_grad=True)
    logits = judge(x)
    wanted, = torch.autograd.grad(F.softplus(-logits).mean(), x, retain_graph=True)
    other, = torch.autograd.grad(F.softplus(logits).mean(), x)
    assert torch.allclose(other * generator_share(logits), wanted, rtol=1e-4, atol=1e-7)


def test_grey_images_train(tmp_path):
    train(tmp_path, channels=1)
    assert parts(tmp_path)["generator"]["to_images.0.weight"].shape[0] == 1


@pytest.mark.parametrize("kind", KINDS)
def test_augmentations_are_differentiable_and_optional(kind):
    x = torch.rand(6, 3, 16, 16, requires_grad=True)
    y = augment(x, [kind])
    assert y.shape == x.shape and not torch.equal(x, y) and torch.equal(augment(x, [kind], 0.0), x)
    y.square().sum().backward()
    assert x.grad.isfinite().all() and x.grad.abs().sum() > 0


def test_regression_on_codes_fits_its_images_and_needs_them(tmp_path):
    torch.manual_seed(0)
    generator = Generator(8, z_dim=16, w_dim=16, mapping_layers=1, channels={4: 16, 8: 16})
    codes, images = torch.randn(4, 12), torch.rand(4, 3, 8, 8) * 2 - 1
    optimizer, losses = torch.optim.Adam(generator.parameters(), 0.02), []
    for _ in range(40):
        losses.append(regress(generator, codes, images))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.7 * losses[0]
    with pytest.raises(UserError, match="codes"):
        train(tmp_path, warm_images=8)


def test_regression_counts_more_where_the_focus_is():
    torch.manual_seed(0)
    output, target = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16)
    right = output.clone()
    right[..., :8] = target[..., :8]                     # the left half is right
    left, whole = torch.ones(2, 1, 16, 16), torch.ones(2, 1, 16, 16)
    left[..., :8] = 9.0
    assert image_loss(right, target, weight=left) < 0.4 * image_loss(right, target)
    assert torch.isclose(image_loss(right, target, weight=3 * whole), image_loss(right, target))
    grey, red = torch.full_like(target, 0.2), torch.zeros_like(target)
    red[:, 0] = 0.2
    assert torch.isclose(image_loss(target + grey, target, colour=9.0), image_loss(target + grey, target))
    assert image_loss(target + red, target, colour=9.0) > 1.5 * image_loss(target + red, target)


def test_warm_start_looks_where_the_world_says(tmp_path):
    focus = np.zeros((len(CODES), 4, 4), np.uint8)
    plain = train(tmp_path / "plain", warm_images=8, codes=CODES)
    near = train(tmp_path / "near", warm_images=8, codes=CODES, focus=focus)
    focus[:, 1:3, 1:3] = 255
    far = train(tmp_path / "far", warm_images=8, codes=CODES, focus=focus)
    a, b, c = (flat(parts(folder.parent)["generator"]) for folder in (plain, near, far))
    assert same(a, b) and not same(a, c)


def test_a_grown_generator_says_what_it_began_from(tmp_path):
    train(tmp_path / "small", total_images=8)
    train(tmp_path / "middle", size=16, init_from=tmp_path / "small", total_images=4)
    folder = train(tmp_path / "last", size=16, init_from=tmp_path / "middle", total_images=4)
    before = read_config(folder)["facts"]["before"]
    assert [run["training"]["resolution"] for run in before] == [8, 16]
    assert [run["images"] for run in before] == [8, 4]


def test_what_a_reader_finds_is_a_term_of_the_warm_start():
    torch.manual_seed(0)
    network, seen = Generator(8, z_dim=6, w_dim=6, mapping_layers=2, channels={4: 8, 8: 8}), []
    codes, images = torch.randn(2, 4), torch.zeros(2, 3, 8, 8)

    def reader(output):
        seen.append(output.shape)
        return output.square().mean()

    torch.manual_seed(1)
    plain = regress(network, codes, images)
    torch.manual_seed(1)
    more = regress(network, codes, images, reader=reader)
    assert seen == [images.shape] and more > plain
