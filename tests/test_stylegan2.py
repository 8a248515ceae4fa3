"""The generator against its plain twin and the published numbers; resampling, noise, the discriminator."""
import json
import sys
from pathlib import Path

import pytest
import torch

from restyle_lib.checkpoints.generator_keys import load_rosinality, own_name
from restyle_lib.errors import UserError
from restyle_lib.models import fast, layers
from restyle_lib.models.stylegan2 import Discriminator, Generator, fingerprint

for _folder in (Path(__file__).parent, Path(__file__).parent / "reference"):
    sys.path.insert(0, str(_folder))
import golden_recipe as golden  # noqa: E402
import stylegan2_plain as plain  # noqa: E402

SMALL = {4: 12, 8: 10, 16: 8}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def small_generator(resolution=16, channels=SMALL, **options):
    """A small network whose every tensor matters: noise strengths, biases and w_mean are not zero."""
    network = Generator(resolution, **(dict(z_dim=6, w_dim=6, mapping_layers=2, channels=channels) | options))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith(("noise_strength", "bias")):
                parameter.add_(0.3 * torch.randn_like(parameter))
        network.set_w_mean(torch.randn(network.n_styles, network.w_dim))
    return network


def latents(network, batch=3):
    return torch.randn(batch, network.n_styles, network.w_dim, dtype=network.constant.dtype)


# ---- published numbers

def test_golden_numbers_through_the_published_layout():
    want = golden.expected("stylegan2_64")
    network = load_rosinality(golden.weights("stylegan2_64", "g64/"), want["w"].mean(0))[0]
    z, z2 = golden.draw("g64/z", [2, 512]), golden.draw("g64/z2", [2, 512])
    w = network.mapping(z)
    mixed = network.mix(w, network.mapping(z2), 4)
    got = {"w": w, "image_wplus": network(golden.draw("g64/wplus", [2, 10, 512], 0, 0.5)),
           "image_z": network(w), "image_trunc": network(network.truncate(w, 0.7)),
           "latents_mix": mixed, "image_mix": network(mixed)}
    assert got.keys() == want.keys()
    errors = {name: golden.relative_error(got[name], want[name]) for name in want}
    assert max(errors.values()) < 1e-4, errors


@pytest.mark.parametrize("resolution, parameters, keys", [(1024, 30_370_060, 171), (512, 30_276_583, 153),
                                                          (256, 30_034_338, 135)])
def test_published_sizes(resolution, parameters, keys):
    with torch.device("meta"):
        network = Generator(resolution)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    assert len(published(network)) == keys
    assert network.n_styles == {1024: 18, 512: 16, 256: 14}[resolution]


def published(network):
    """The state dict of a Generator in rosinality's layout (the inverse of generator_keys, written out)."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 4
    state = {}
    for name, tensor in network.state_dict().items():
        kind, _, rest = name.partition(".")
        number, _, rest = rest.partition(".")
        stem = {"mapping": f"style.{int(number or 0) + 1}", "constant": "input.input",
                "convs": "conv1" if number == "0" else f"convs.{int(number or 0) - 1}",
                "to_images": "to_rgb1" if number == "0" else f"to_rgbs.{int(number or 0) - 1}"}.get(kind)
        if name == "w_mean":
            continue
        if kind == "mapping":
            state[f"{stem}.{rest}"] = tensor
        elif kind == "constant":
            state[stem] = tensor[None]
        elif rest == "noise_const":
            state[f"noises.noise_{number}"] = tensor[None, None]
        elif rest == "weight":
            state[f"{stem}.conv.weight"] = tensor[None]
            if kind == "convs" and int(number) % 2:
                state[f"{stem}.conv.blur.kernel"] = torch.outer(taps, taps)
            elif kind == "to_images" and number != "0":
                state[f"{stem}.upsample.kernel"] = torch.outer(taps, taps)
        elif rest.startswith("affine"):
            state[f"{stem}.conv.{rest.replace('affine', 'modulation')}"] = tensor
        elif rest == "noise_strength":
            state[f"{stem}.noise.weight"] = tensor[None]
        else:
            state[f"{stem}.activate.bias" if kind == "convs" else f"{stem}.bias"] = (
                tensor if kind == "convs" else tensor.view(1, -1, 1, 1))
    return state


@pytest.mark.parametrize("options", [{}, dict(mapping_layers=8, image_channels=1), dict(z_dim=5, w_dim=7)])
def test_sizes_are_read_from_the_tensors(options):
    network = small_generator(**options)
    again, facts = load_rosinality(published(network), network.w_mean)
    assert again.config == network.config and facts == {"w_mean": "of the file"}
    assert fingerprint(again) == fingerprint(network)


def test_files_without_noise_or_average_load_the_same_way_twice():
    state = {name: tensor for name, tensor in published(small_generator()).items() if "noises" not in name}
    (first, facts), (second, _) = load_rosinality(state), load_rosinality(state)
    assert fingerprint(first) == fingerprint(second)
    assert first.w_mean.abs().sum() > 0 and "seed 0" in facts["w_mean"] and "seed 0" in facts["noise"]


def test_files_that_are_not_generators_are_refused():
    state = published(small_generator())
    with pytest.raises(UserError, match="to_images.0.bias"):
        load_rosinality({name: tensor for name, tensor in state.items() if name != "to_rgb1.bias"})
    with pytest.raises(UserError, match="tensors match, 1 missing .convs.1.bias"):
        load_rosinality({name: state[name] for name in state if name != "convs.0.activate.bias"})
    with pytest.raises(UserError, match="resampling filter"):
        load_rosinality(state | {"convs.0.conv.blur.kernel": torch.ones(4, 4)})
    with pytest.raises(UserError, match=r"its average style is \[3, 6\]"):
        load_rosinality(state, torch.zeros(3, 6))
    with pytest.raises(UserError, match="not a tensor"):
        own_name("encoder.body.0.weight")


# ---- resampling

RESAMPLING = {
    "upsample": (layers.upsample, dict(up=2, down=1, pad=(2, 1), gain=4.0)),
    "downsample": (layers.downsample, dict(up=1, down=2, pad=(1, 1), gain=1.0)),
    "blur 1": (lambda x: layers.blur(x, 1), dict(up=1, down=1, pad=(1, 1), gain=1.0)),
    "blur 2": (lambda x: layers.blur(x, 2), dict(up=1, down=1, pad=(2, 2), gain=1.0)),
}


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", RESAMPLING)
def test_resampling_equals_the_direct_formula_with_its_gradients(name, layout):
    ours, options = RESAMPLING[name]
    x = torch.randn(2, 3, 6, 8, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    got, want = ours(x), plain.upfirdn(x, **options)
    torch.testing.assert_close(got, want)
    weight = torch.randn_like(want)
    torch.testing.assert_close(*(torch.autograd.grad((y * weight).sum(), x)[0] for y in (got, want)))
    assert torch.autograd.gradgradcheck(ours, x[:1, :1, :2, :4].detach().requires_grad_())


# ---- the generator and its twin

@pytest.mark.parametrize("clamp", [None, 0.5])
@pytest.mark.parametrize("batch", [1, 3])
def test_generator_equals_its_twin(batch, clamp):
    network = small_generator(conv_clamp=clamp)
    w, state = latents(network, batch), network.state_dict()
    z = torch.randn(batch, 6)
    torch.testing.assert_close(network.mapping(z), plain.mapping(state, z), rtol=1e-4, atol=1e-5)
    for noise in ("const", "none", network.noise_maps(3, batch)):
        want = plain.synthesize(state, w, noise, clamp)
        torch.testing.assert_close(network(w, noise), want, rtol=1e-4, atol=1e-5)


def test_first_and_second_derivatives_equal_the_twins():
    """Path length regularisation differentiates the gradient by w with respect to the weights."""
    network = small_generator().double()
    w = latents(network, 2).requires_grad_()
    weight = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    wanted = [parameter for name, parameter in network.named_parameters() if not name.startswith("mapping")]
    results, state = [], dict(network.named_parameters()) | dict(network.named_buffers())
    for image in (network(w), plain.synthesize(state, w)):
        gradient, = torch.autograd.grad((image * weight).sum(), w, create_graph=True)
        second = torch.autograd.grad(gradient.square().sum(), wanted, allow_unused=True)
        results.append([gradient, *(value for value in second if value is not None)])
    assert len(results[0]) == len(results[1]) > 15
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("options", [dict(), dict(image_channels=1), dict(conv_clamp=0.5)])
def test_strips_equal_the_layers(monkeypatch, options):
    network = small_generator(64, {4: 8, 8: 8, 16: 6, 32: 6, 64: 4}, **options)
    w, maps = latents(network, 2), network.noise_maps(5, 2)
    monkeypatch.setattr(fast, "SMALLEST_SIDE", 16)
    for floats in (1, 64 * 4 * 20, 2**30):
        monkeypatch.setattr(fast, "STRIP_FLOATS", floats)
        for noise in ("const", "none", maps):
            want = network(w, noise)
            with torch.no_grad():
                torch.testing.assert_close(network(w, noise), want, rtol=1e-4, atol=1e-4)


def test_bfloat16_stays_near_float32(monkeypatch):
    monkeypatch.setattr(fast, "SMALLEST_SIDE", 16)
    network = small_generator()
    w = latents(network, 2)
    with torch.no_grad():
        want = network(w)
        got = network.bfloat16()(w.bfloat16())
    assert got.dtype == torch.bfloat16
    assert (got.float() - want).abs().mean() < 0.03 * want.std()


# ---- latents, noise, truncation

def test_w_and_w_plus_agree_and_images_do_not_depend_on_their_batch():
    network = small_generator()
    w = torch.randn(3, 6)
    assert torch.equal(network(w), network(w[:, None].expand(-1, network.n_styles, -1)))
    for noise in ("const", 7):
        torch.testing.assert_close(network(w, noise)[1:2], network(w[1:2], noise))


def test_each_style_reaches_its_own_layers():
    """A style moves the image; the last one, which only the last image layer reads, moves it linearly."""
    network = small_generator()
    w = latents(network, 1).requires_grad_()
    network(w).square().sum().backward()
    assert (w.grad.abs().sum((0, 2)) > 0).all()
    step = torch.zeros_like(w)
    step[:, -1] = torch.randn(6)
    torch.testing.assert_close(network(w + step) + network(w - step), 2 * network(w), rtol=1e-4, atol=1e-4)
    step[:, -2] = torch.randn(6)
    assert (network(w + step) + network(w - step) - 2 * network(w)).abs().max() > 1e-2


def test_noise_modes():
    network, w = small_generator(), torch.randn(2, 6)
    assert torch.equal(network(w), network(w, "const"))
    assert torch.equal(network(w, 3), network(w, network.noise_maps(3)))
    assert not torch.equal(network(w, 3), network(w, 4))
    assert not torch.equal(network(w, "random"), network(w, "random"))
    for few, many in zip(network.noise_maps(3, 2), network.noise_maps(3, 5), strict=True):
        assert torch.equal(few, many[:2]) and not torch.equal(many[0], many[1])
    with torch.no_grad():
        for conv in network.convs:
            conv.noise_strength.zero_()
    torch.testing.assert_close(network(w, "random"), network(w, "none"))


def test_truncation_and_mixing():
    network, w = small_generator(), torch.randn(2, 6)
    torch.testing.assert_close(network.truncate(w, 1.0), network.styles(w))
    torch.testing.assert_close(network.truncate(w, 0.0), network.w_mean.expand(2, -1, -1))
    half = network.truncate(network.styles(w), 0.5)
    torch.testing.assert_close(half, (network.styles(w) + network.w_mean) / 2)
    other = torch.randn(2, 6)
    mixed = network.mix(w, other, 3)
    assert torch.equal(mixed[:, :3], network.styles(w)[:, :3])
    assert torch.equal(mixed[:, 3:], network.styles(other)[:, 3:])
    network.set_w_mean(w[0])
    assert torch.equal(network.w_mean, w[0].expand(network.n_styles, -1))
    network.estimate_w_mean(500, seed=1)
    first = network.w_mean.clone()
    network.estimate_w_mean(500, seed=1)
    assert torch.equal(first, network.w_mean)


@pytest.mark.parametrize("depth", [1, 3, 8])
def test_any_mapping_depth_and_scale_free_input(depth):
    network = small_generator(mapping_layers=depth)
    z = torch.randn(2, 6)
    assert len(network.mapping) == depth
    torch.testing.assert_close(network.mapping(z), network.mapping(10 * z))


def test_the_config_rebuilds_the_network_after_json():
    for network in (small_generator(image_channels=1), Discriminator(16, channels=SMALL, image_channels=1)):
        copy = type(network)(**json.loads(json.dumps(network.config)))
        assert copy.config == network.config
        copy.load_state_dict(network.state_dict())
        assert fingerprint(copy) == fingerprint(network)


def test_fingerprint_covers_every_tensor():
    network = small_generator()
    before = {fingerprint(network)}
    for tensor in network.state_dict().values():
        tensor.view(-1)[0] += 1
        before.add(fingerprint(network))
    assert len(before) == len(network.state_dict()) + 1


def test_wrong_input_is_named():
    network = small_generator()
    with pytest.raises(UserError, match="not 48"):
        Generator(48)
    with pytest.raises(UserError, match=r"lacks \[16\]"):
        Generator(16, channels={4: 8, 8: 8})
    with pytest.raises(UserError, match=r"not \[1, 5, 6\]"):
        network(torch.randn(1, 5, 6))
    with pytest.raises(UserError, match="'constant'"):
        network(torch.randn(1, 6), noise="constant")


# ---- the discriminator
