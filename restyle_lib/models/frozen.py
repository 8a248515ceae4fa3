"""Gradients with respect to latents through a frozen generator on a CPU: large blocks, one image at a time.

What an encoder's training step and an optimisation in W+ need. Style s, demodulation and gain g are folded
into the weights, so that no large activation is scaled on its way, or kept for that (half of the memory).
Their gradients are sums over a channel's pixels of what is there anyway: of y = activate(c + noise + bias),
c = g W (s x), dL/ds = sum(x dL/dx) / s and dL/dg = sum(c dL/dc) / g.
"""
import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from .fast import SMALLEST_SIDE          # below it, folding weights costs more than scaling activations
from .layers import GAIN, SLOPE, filter_kernel

STRIP = 2**19              # values that go through a pass together: they stay in the cache
TINY = 1e-20               # in place of a style of 0, by which nothing can be divided


def applies(layer, x, noise):
    """Whether a StyledConv should take this path: gradients of latents alone; a CPU, large, no clamp."""
    others = (layer.weight, layer.bias, layer.noise_strength, *([] if noise is None else [noise]))
    return (layer.resolution >= SMALLEST_SIDE and x.device.type == "cpu" and torch.is_grad_enabled()
            and not any(tensor.requires_grad for tensor in others) and layer.clamp is None)


def styled(layer, x, w, noise=None):
    """What a StyledConv of frozen weights gives: [B, fan_in, H, W], w [B, d] -> [B, fan_out, R, R]."""
    style, gain = layer.scales(w)
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    noise = None if noise is None else (noise * (layer.noise_strength * GAIN)).to(dtype)
    with torch.autocast("cpu", enabled=False):
        return _Styled.apply(x.to(dtype), style, gain, layer.weight, layer.bias * GAIN, noise, layer.up)


class _Styled(torch.autograd.Function):
    """Convolution with folded weights, noise, bias, activation; differentiable in x, style and gain, once."""

    @staticmethod
    def forward(ctx, x, style, gain, weight, bias, noise, up):
        batch, _, height, width = x.shape
        style = style.masked_fill(style == 0, TINY)
        x = x.contiguous(memory_format=torch.channels_last)
        shape = batch, len(weight), height << up, width << up
        out = torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last)
        for b in range(batch):
            y = _convolve(x[b:b + 1], _folded(weight, style[b], gain[b], x.dtype, up), bias.to(x.dtype), up)
            if noise is None:
                out[b:b + 1] = y
            else:
                torch.add(y, noise.expand(batch, -1, -1, -1)[b:b + 1], out=out[b:b + 1])
            F.leaky_relu_(out[b], SLOPE)
        ctx.save_for_backward(x, style, gain, weight, bias, noise, out)
        ctx.up = up
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, style, gain, weight, bias, noise, out = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        by_x, by_style, by_gain = torch.empty_like(x), torch.empty_like(style), torch.empty_like(gain)
        for b in range(len(x)):
            one = slice(b, b + 1)
            maps = None if noise is None else noise.expand(len(x), -1, -1, -1)[one]
            linear, by_gain[b] = _through_activation(grad[one], out[one], bias, maps)
            by_gain[b] /= gain[b]
            by_x[one] = _back(linear, _folded(weight, style[b], gain[b], x.dtype, ctx.up), ctx.up)
            by_style[b] = sum(_sum(p * q) for p, q in _strips(by_x[one], x[one])) / style[b]
        return by_x, by_style, by_gain, None, None, None, None


def _folded(weight, style, gain, dtype, up):
    """[fan_out, fan_in, 3, 3] with style and gain in them, and what the zeros between pixels take away."""
    scale = gain[:, None] * style * (4 if up else 1)
    return (weight * scale[:, :, None, None]).to(dtype)


def _convolve(x, weight, bias, up):
    if not up:
        return F.conv2d(x, weight, bias, padding=1)
    kernel = filter_kernel(x).expand(len(weight), 1, 4, 4)
    return F.conv2d(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2), kernel, bias, padding=1,
                    groups=len(weight))


def _back(grad, weight, up):
    """The derivative of `_convolve` with respect to x."""
    if not up:
        return F.conv_transpose2d(grad, weight, padding=1)
    kernel = filter_kernel(grad).expand(len(weight), 1, 4, 4)    # symmetric
    return F.conv2d(F.conv2d(grad, kernel, padding=2, groups=len(weight)), weight.transpose(0, 1), stride=2)


def _through_activation(grad, out, bias, noise):
    """The derivative before the leaky ReLU, and the sums over its pixels, [C], of it times the convolution's.

    out = slope * (convolved + noise + bias) and derivative = slope * grad: the slopes need not be known."""
    linear, sums = torch.empty_like(grad), 0
    maps = out.new_zeros(1, 1, *out.shape[2:]) if noise is None else noise
    for g, y, n, before in _strips(grad, out, maps, linear):
        torch.ops.aten.leaky_relu_backward.grad_input(g, y, SLOPE, True, grad_input=before)
        products = g * y if noise is None else (g * y).addcmul_(before, n, value=-1)
        sums = sums + _sum(products) - bias * _sum(before)
    return linear, sums


def _sum(rows):
    """[n, C] -> [C], added up in float32 or better."""
    return rows.sum(0, dtype=torch.promote_types(rows.dtype, torch.float32))


def _strips(*tensors):
    """Of [1, C, H, W] each, channels last in memory: groups of pixels [n, C], the same memory."""
    pixels = max(1, STRIP // tensors[0].shape[1])
    return zip(*(x[0].permute(1, 2, 0).flatten(0, 1).split(pixels) for x in tensors), strict=True)
