"""Matrix products of few rows with large weights, in the forms that are fastest on a CPU.

PyTorch hands products to MKL, whose time depends on how the operands lie in memory, and convolutions to
oneDNN, which is twice as fast on processors that are not Intel's.
"""
import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable


def product(a, b):
    """a [m, n] @ b [n, p] -> [m, p]: in float32 on a CPU as a 1x1 convolution whose pixels are a's rows."""
    if a.device.type != "cpu" or a.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
        return a @ b
    return _Product.apply(a, b)


def rowwise(x, weight):
    """x [B, n, c] @ weight [B, m, c].transpose(1, 2) -> [B, n, m], by products that run along memory.

    For few n or few m; of PyTorch's own derivatives, one is several times slower."""
    return _Rowwise.apply(x, weight)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return _pixels(a, b.t())

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        (a, b), wanted = ctx.saved_tensors, ctx.needs_input_grad
        return _pixels(grad, b) if wanted[0] else None, _transposed(grad, a) if wanted[1] else None


class _Rowwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return torch.bmm(x, weight.transpose(1, 2))

    @staticmethod
    def backward(ctx, grad):
        (x, weight), wanted = ctx.saved_tensors, ctx.needs_input_grad
        by_x = torch.bmm(grad.to(weight.dtype), weight).to(x.dtype) if wanted[0] else None
        by_weight = torch.bmm(grad.to(x.dtype).transpose(1, 2), x).to(weight.dtype) if wanted[1] else None
        return by_x, by_weight


def _pixels(a, filters):
    """a [m, n] @ filters [p, n].t() -> [m, p]: the rows of a are the pixels, which nothing rearranges."""
    image = a.contiguous().view(1, len(a), 1, -1).permute(0, 3, 1, 2)
    return F.conv2d(image, filters[:, :, None, None])[0, :, :, 0].t()


def _transposed(grad, a):
    """a [m, n].t() @ grad [m, p] -> [n, p]."""
    image = grad.t().contiguous().view(1, grad.shape[1], 1, -1).permute(0, 3, 1, 2)
    return F.conv_transpose2d(image, a[:, :, None, None])[0, :, :, 0]
