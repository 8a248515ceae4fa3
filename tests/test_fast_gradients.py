"""Frozen layers' gradients, products and kept memory: equal to the plain forms, and cheaper."""
import os
import subprocess
import sys

import pytest
import torch

from restyle_lib import memory
from restyle_lib.models import frozen
from restyle_lib.models.layers import StyledConv
from restyle_lib.models.products import product, rowwise
from restyle_lib.models.stylegan2 import Generator

EXACT = dict(rtol=1e-9, atol=1e-11)


def layer(up, side=8):
    torch.manual_seed(0)
    made = StyledConv(6, 5, 4, side, up=up).double().requires_grad_(False)
    made.bias.normal_()
    made.noise_strength.fill_(0.7)
    return made


def inputs(up, side=8):
    x = torch.randn(2, 6, side >> up, side >> up, dtype=torch.float64)
    w = torch.randn(2, 4, dtype=torch.float64)
    return x.contiguous(memory_format=torch.channels_last).requires_grad_(), w.requires_grad_()


@pytest.mark.parametrize("maps", [None, 1, 2])
@pytest.mark.parametrize("up", [False, True])
def test_a_frozen_layer_gives_the_layers_own_values_and_gradients(up, maps):
    own, (x, w) = layer(up), inputs(up)
    noise = None if maps is None else torch.randn(maps, 1, 8, 8, dtype=torch.float64)
    weights = torch.randn(2, 5, 8, 8, dtype=torch.float64)
    found = []
    for way in (own, lambda *args: frozen.styled(own, *args)):
        y = way(x, w, noise)
        found.append([y, *torch.autograd.grad((y * weights).sum(), [x, w])])
    for plain, fast in zip(*found, strict=True):
        torch.testing.assert_close(fast, plain, **EXACT)


def test_a_strip_of_a_pixel_and_one_of_all_give_the_same(monkeypatch):
    own, (x, w) = layer(False), inputs(False)
    whole = torch.autograd.grad(frozen.styled(own, x, w, torch.ones(1, 1, 8, 8).double()).sum(), [x, w])
    monkeypatch.setattr(frozen, "STRIP", 1)
    strips = torch.autograd.grad(frozen.styled(own, x, w, torch.ones(1, 1, 8, 8).double()).sum(), [x, w])
    for a, b in zip(whole, strips, strict=True):
        torch.testing.assert_close(a, b, **EXACT)


def test_a_style_of_nothing_has_a_gradient():
    own, (x, w) = layer(False), inputs(False)
    with torch.no_grad():                                   # the first input channel's style is 0 for all w
        own.affine.weight[0], own.affine.bias[0] = 0, 0
    own.affine.requires_grad_(True)
    weights = torch.randn(2, 5, 8, 8, dtype=torch.float64)
    plain, fast = (torch.autograd.grad((way(x, w) * weights).sum(), [w, own.affine.bias])
                   for way in (own, lambda *args: frozen.styled(own, *args)))
    assert plain[1][0] != 0
    for a, b in zip(plain, fast, strict=True):
        torch.testing.assert_close(a, b, **EXACT)


def test_the_derivatives_are_those_of_differences():
    own, (x, w) = layer(True, side=4), inputs(True, side=4)
    assert torch.autograd.gradcheck(lambda *args: frozen.styled(own, *args), (x, w))


def test_a_generator_takes_the_path_only_when_it_is_frozen_and_gives_the_same(monkeypatch):
    torch.manual_seed(0)
    generator = Generator(16, z_dim=4, w_dim=4, mapping_layers=1, channels={4: 4, 8: 4, 16: 4}).double()
    for conv in generator.convs:
        torch.nn.init.constant_(conv.noise_strength, 0.3)
    w = torch.randn(2, generator.n_styles, 4, dtype=torch.float64, requires_grad=True)
    taken = []
    styled = frozen.styled
    monkeypatch.setattr(frozen, "styled", lambda *args: taken.append(args[0].resolution) or styled(*args))
    monkeypatch.setattr(frozen, "SMALLEST_SIDE", 16)
    plain, = torch.autograd.grad(generator(w).square().sum(), w)
    assert not taken
    generator.requires_grad_(False)
    fast, = torch.autograd.grad(generator(w).square().sum(), w)
    assert taken == [16, 16]
    torch.testing.assert_close(fast, plain, **EXACT)
    maps = generator.noise_maps(0)
    maps[-1].requires_grad_()
    assert torch.autograd.grad(generator(w, maps).square().sum(), maps[-1])[0].abs().sum() > 0
    assert taken == [16, 16, 16], "a layer whose noise is wanted, too, keeps to its own way"


def test_under_autocast_a_frozen_layer_computes_in_bfloat16():
    own = layer(False).float()
    x, w = (t.detach().float().requires_grad_() for t in inputs(False))
    with torch.autocast("cpu", torch.bfloat16):
        fast, plain = frozen.styled(own, x, w), own(x, w)
    fast.float().sum().backward()
    assert fast.dtype == torch.bfloat16 and x.grad.dtype == w.grad.dtype == torch.float32
    torch.testing.assert_close(fast.float(), plain.float(), rtol=0.05, atol=0.05)


def test_products_equal_pytorchs_in_value_and_derivative():
    torch.manual_seed(0)
    a, b = torch.randn(7, 6, requires_grad=True), torch.randn(6, 5, requires_grad=True)
    x, weight = (torch.randn(*s, dtype=torch.float64, requires_grad=True) for s in ((2, 7, 6), (2, 3, 6)))
    cases = [(product, torch.matmul, (a, b)),
             (rowwise, lambda p, q: p @ q.transpose(1, 2), (x, weight))]
    for ours, theirs, given in cases:
        results = [f(*given) for f in (ours, theirs)]
        torch.testing.assert_close(*results)
        torch.testing.assert_close(*(torch.autograd.grad(r.square().sum(), given) for r in results))


def test_rowwise_can_be_differentiated_twice_as_path_lengths_are():
    torch.manual_seed(0)
    x, weight = (torch.randn(*s, dtype=torch.float64, requires_grad=True) for s in ((2, 4, 3), (2, 2, 3)))
    assert torch.autograd.gradgradcheck(rowwise, (x, weight))


FAULTS = """
import resource, torch
from restyle_lib import memory
kept = memory.keep()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.empty(2**26, dtype=torch.uint8).fill_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(int(kept), sum([faults() for _ in range(30)][-10:]))
"""


@pytest.mark.skipif(not memory.keep(), reason="only glibc can keep memory")
@pytest.mark.parametrize("wish, kept", [("1", 1), ("0", 0)])
def test_a_large_block_is_soon_fetched_from_the_system_no_more(wish, kept):
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True,
                          env=os.environ | {"RESTYLE_KEEP_MEMORY": wish})
    has, faults = map(int, done.stdout.split())
    assert has == kept
    assert faults < 100 if kept else faults > 200         # ten blocks, each 32 large pages or 16,384 small
