"""From a file's bytes to 8-bit pixels of a wanted size, and between pixels and network tensors."""
import io
import re
import warnings

import numpy as np
from PIL import Image, ImageOps

from .errors import UserError
from .files import atomic

MIN_SIDE, MAX_PIXELS = 8, 178_000_000
FITS = ("stretch", "center", "pad")


def decode(data, name, channels=3, window=None, size=None, fit="stretch"):
    """Bytes of a JPEG, PNG, WebP, ... -> uint8 [H, W, channels], upright by EXIF.

    Transparency lies over white. 16-bit values are divided by 257, or with `window` [low, high], in the
    file's own units, mapped so that low is black and high is white. UserError in one sentence for anything
    that is no good image.
    """
    image = _open(data, name)
    deep = data[:8] == b"\x89PNG\r\n\x1a\n" and data[24:25] == b"\x10"
    image = _eight_bit(image, name, window, 257 if deep else 1)
    image = image.convert("L" if channels == 1 else "RGB")
    pixels = np.asarray(image if size is None else fitted(image, size, fit))
    return pixels[..., None] if channels == 1 else pixels


def _open(data, name):
    """A loaded, upright Pillow image; its header is judged before a pixel is decoded."""
    if not data:
        raise UserError(f"{name} is empty (zero bytes)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")               # Pillow's remarks on headers; judged below
            image = Image.open(io.BytesIO(data))
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError(f"({image.width * image.height} pixels)")
            if min(image.size) < MIN_SIDE:
                raise UserError(f"{name} is too small ({image.width}x{image.height} pixels); the minimum is "
                                f"{MIN_SIDE}x{MIN_SIDE}")
            image.load()
            return ImageOps.exif_transpose(image)
    except UserError:
        raise
    except Image.DecompressionBombError as error:
        count = re.search(r"\d+", str(error)).group()
        raise UserError(f"{name} claims {int(count):,} pixels; the maximum is {MAX_PIXELS:,}") from None
    except Image.UnidentifiedImageError:
        raise UserError(f"{name} is not an image, whatever its name says") from None
    except Exception as error:                            # decoders raise many types on damaged bytes
        raise UserError(f"{name} is damaged or cut off "
                        f"({str(error).strip().rstrip('.') or type(error).__name__})") from None


def _eight_bit(image, name, window, scale):
    """An 8-bit image without transparency. scale: what one step of an 8-bit image stands for in its file."""
    if image.mode[0] in "IF":                             # 16-bit grey, 32-bit integers, floating point
        if image.mode == "F" and window is None:
            raise UserError(f"{name} holds floating-point values; say which are black and white: window "
                            "[low, high]")
        return Image.fromarray(_mapped(np.asarray(image), window or (0, 65535)))
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    if image.mode not in ("L", "RGB"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    return Image.fromarray(_mapped(np.asarray(image) * float(scale), window)) if window else image


def _mapped(values, window):
    low, high = window
    return np.rint(np.clip((values.astype(np.float64) - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def fitted(image, size, fit):
    """A Pillow image brought to size [height, width], antialiased (bilinear over the area, as published).

    fit: "stretch" ignores the aspect, "center" keeps it and cuts the edges, "pad" keeps it on black."""
    (height, width), (w, h) = size, image.size
    if (height, width) == (h, w):
        return image
    if fit == "stretch":
        return image.resize((width, height), Image.Resampling.BILINEAR)
    ratio = (min if fit == "center" else max)(w / width, h / height)
    if fit == "center":
        left, top = (w - width * ratio) / 2, (h - height * ratio) / 2
        box = (left, top, left + width * ratio, top + height * ratio)
        return image.resize((width, height), Image.Resampling.BILINEAR, box=box)
    inner = max(1, round(w / ratio)), max(1, round(h / ratio))
    canvas = Image.new(image.mode, (width, height))
    corner = (width - inner[0]) // 2, (height - inner[1]) // 2
    canvas.paste(image.resize(inner, Image.Resampling.BILINEAR), corner)
    return canvas


def to_tensor(pixels):
    """uint8 [N, H, W, C] -> float32 tensor [N, C, H, W] in [-1, 1]."""
    import torch
    pixels = torch.from_numpy(np.array(pixels))
    return pixels.permute(0, 3, 1, 2).to(torch.float32).div_(127.5).sub_(1).contiguous()


def to_pixels(images):
    """Tensor [N, C, H, W] in [-1, 1] -> uint8 array [N, H, W, C], clipped and rounded."""
    import torch
    levels = ((images.detach().float().cpu() + 1) * 127.5).round().clamp(0, 255)
    return levels.to(torch.uint8).permute(0, 2, 3, 1).numpy()


def encode_png(pixels, level=6):
    """uint8 [H, W, C] -> the bytes of a PNG. level: of compression; 1 takes a third of the time for 15 % more
    bytes."""
    stream = io.BytesIO()
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    image.save(stream, "PNG", compress_level=level)
    return stream.getvalue()


def write_grid(images, path, columns=8):
    """images [N, C, H, W] in [-1, 1] -> one PNG of `columns` columns."""
    pixels = images.float().clamp(-1, 1).add(1).mul(127.5).round().byte().cpu()
    rows = pixels[:len(pixels) // columns * columns].unflatten(0, (-1, columns))
    grid = rows.permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1).numpy()
    with atomic(path) as stream:
        stream.write(encode_png(grid))
