"""Synthesis without gradients on a CPU: the large blocks run one image and one strip of rows at a time.

Three things make it quick. Style, demodulation and gain are folded into the weights: nothing scales a large
activation. Noise, bias and activation work in place. The memory of a strip is reused, where every whole
activation of a 1024 px generator (134 MB) would be fetched anew from the system, as slowly as a blur.
"""
import torch
import torch.nn.functional as F

from .layers import GAIN, SLOPE, filter_kernel, upsample

SMALLEST_SIDE = 128       # blocks of at least this size run in strips
STRIP_FLOATS = 2**22      # 16 MB an activation: allocators reuse blocks up to 32 MB; larger overlap less


def applies(x, side):
    """Whether the block of `side` pixels should take this path: no gradients, CPU, large."""
    return side >= SMALLEST_SIDE and x.device.type == "cpu" and not torch.is_grad_enabled()


def render_block(x, image, up, conv, to_image, styles, noise, last=False):
    """One resolution of the generator: x [B, C, H, W] -> [B, C', 2H, 2W], the image likewise.

    up, conv, to_image: the block's layers; styles: three [B, w_dim]; noise: two maps [1 or B, 1, 2H, 2W] or
    None. Equals the layers' own forward to rounding; the last block returns no x."""
    batch, _, height, width = x.shape
    image = upsample(image).contiguous()
    shape = (0 if last else batch, conv.fan_out, 2 * height, 2 * width)
    out = torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last)
    for index in range(batch):
        one = slice(index, index + 1)
        own_noise = [None if maps is None else maps.expand(batch, -1, -1, -1)[one] for maps in noise]
        own_styles = [style[one] for style in styles]
        _render(x[one], image[index], None if last else out[one], up, conv, to_image, own_styles, own_noise)
    return None if last else out, image


def _render(x, image, out, up, conv, to_image, styles, noise):
    height, width = image.shape[1:]
    rows = max(8, STRIP_FLOATS // (conv.fan_out * width))
    up_weight = up.folded(styles[0]).transpose(0, 1) * 4
    conv_weight, bias = conv.folded(styles[1]), conv.bias.to(x.dtype) * GAIN
    colour = to_image.folded(styles[2])[:, :, 0, 0]
    kernel = filter_kernel(x).expand(up.fan_out, 1, 4, 4)
    up_bias = up.bias.to(x.dtype) * GAIN
    for first in range(0, height, rows):
        last = min(first + rows, height)
        # the second convolution needs a row more on either side, and the blur for those rows low...high of x
        above, below = max(first - 1, 0), min(last + 1, height)
        low, high = max(above // 2 - 1, 0), min((below + 3) // 2, height // 2)
        y = F.conv_transpose2d(x[:, :, low:high], up_weight, stride=2)
        y = F.conv2d(y, kernel, up_bias, padding=1, groups=up.fan_out)[:, :, above - 2 * low:below - 2 * low]
        y = _finish(y, up, noise[0], above, below)
        y = F.conv2d(y, conv_weight, bias, padding=1)[:, :, first - above:last - above]
        y = _finish(y, conv, noise[1], first, last)
        if out is not None:
            out[:, :, first:last] = y
        picture = (colour @ y[0].permute(1, 2, 0).flatten(0, 1).t()).view(-1, last - first, width)
        picture += to_image.bias.to(x.dtype)[:, None, None]
        image[:, first:last] += to_image.bound(picture)


def _finish(y, layer, noise, first, last):
    """Noise, activation and clamp, in place, of the rows first...last."""
    if noise is not None:
        y += noise[:, :, first:last] * (layer.noise_strength * GAIN).to(y.dtype)
    return layer.bound(F.leaky_relu_(y, SLOPE))
