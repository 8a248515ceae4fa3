"""Images of any kind become pixels, or one sentence."""
import io
import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from restyle_lib.errors import UserError
from restyle_lib.pixels import decode, to_pixels, to_tensor

RANDOM = np.random.default_rng(0)


def pixels(height=16, width=24, channels=3):
    return RANDOM.integers(0, 256, (height, width, channels), dtype=np.uint8)


def smooth(height=32, width=48):
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([255 * x / width, 255 * y / height, 128 + 0 * x], -1).astype(np.uint8)


def encoded(image, kind="PNG", **options):
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def checksum(content):
    return struct.pack(">I", zlib.crc32(content))


def png(values, color, depth=16):
    """A PNG of 16-bit values, which Pillow does not write in colour. values: [H, W, ...] integers."""
    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + checksum(name + content)

    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values.reshape(height, -1))
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


# ---- decoding

LOSSLESS = {"PNG": {}, "WEBP": {"lossless": True}, "TIFF": {}}


@pytest.mark.parametrize("kind", [*LOSSLESS, "BMP"])
def test_lossless_formats_give_their_pixels(kind):
    image = pixels()
    assert np.array_equal(decode(encoded(image, kind, **LOSSLESS.get(kind, {})), "a"), image)


def test_jpeg_is_close():
    image = smooth()
    assert np.abs(decode(encoded(image, "JPEG", quality=95), "a").astype(int) - image).mean() < 3


@pytest.mark.parametrize("turn", range(1, 9))
def test_exif_rotation_is_undone(turn):
    image = smooth()
    stored = {1: image, 2: image[:, ::-1], 3: image[::-1, ::-1], 4: image[::-1], 5: image.transpose(1, 0, 2),
              6: np.rot90(image), 7: image[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(image, -1)}[turn]
    exif = Image.Exif()
    exif[0x0112] = turn
    for kind, options in LOSSLESS.items():
        file = encoded(np.ascontiguousarray(stored), kind, exif=exif, **options)
        assert np.array_equal(decode(file, "a"), image)


def test_grey_palette_and_bilevel():
    grey = pixels()[..., 0]
    assert np.array_equal(decode(encoded(grey), "a"), grey[..., None].repeat(3, -1))
    assert np.array_equal(decode(encoded(grey), "a", channels=1), grey[..., None])
    palette = Image.fromarray(smooth()).quantize(16)
    assert np.array_equal(decode(encoded(palette), "a"), np.asarray(palette.convert("RGB")))
    bits = Image.fromarray(grey > 128)
    assert np.array_equal(decode(encoded(bits), "a", channels=1)[..., 0], 255 * (grey > 128))
    luma = np.asarray(Image.fromarray(smooth()).convert("L"))
    assert np.array_equal(decode(encoded(smooth()), "a", channels=1)[..., 0], luma)


def test_transparency_lies_over_white():
    rgba = np.concatenate([smooth(), np.zeros((32, 48, 1), np.uint8)], -1)
    rgba[:, 24:, 3] = 255
    out = decode(encoded(rgba), "a")
    assert (out[:, :24] == 255).all() and np.array_equal(out[:, 24:], smooth()[:, 24:])
    grey = Image.fromarray(pixels()[..., 0])
    veiled = Image.merge("LA", [grey, grey])
    expected = 255 - np.asarray(grey) / 255.0 * (255 - np.asarray(grey))
    assert np.abs(decode(encoded(veiled), "a", channels=1)[..., 0] - expected).max() <= 1
    palette = Image.fromarray(smooth()).quantize(4)
    index = palette.getpixel((0, 0))
    assert (decode(encoded(palette, transparency=index), "a")[0, 0] == 255).all()
    assert (decode(encoded(palette, transparency=bytes([0] * 4)), "a") == 255).all()


@pytest.mark.parametrize("color, shape", [(0, (16, 24)), (2, (16, 24, 3)), (6, (16, 24, 4))])
def test_sixteen_bits_equal_eight_to_one_level(color, shape):
    eight = RANDOM.integers(0, 256, shape)
    if color == 6:
        eight[..., 3] = 255
    expected = (eight if eight.ndim == 3 else eight[..., None])[..., :3]
    for wide in (eight * 257, eight * 256, np.minimum(eight * 257 + 100, 65535)):
        out = decode(png(wide, color), "a", channels=1 if color == 0 else 3)
        assert np.abs(out.astype(int) - expected).max() <= 1


def test_sixteen_bit_tiff_and_big_endian():
    wide = RANDOM.integers(0, 65536, (16, 16)).astype(np.uint16)
    for image in (wide, wide.astype(">u2")):
        out = decode(encoded(Image.fromarray(image), "TIFF"), "a", channels=1)[..., 0]
        assert np.array_equal(out, np.rint(wide / 257).astype(np.uint8))


def test_a_window_picks_the_range():
    wide = RANDOM.integers(0, 4096, (16, 16))
    expected = np.rint(np.clip((wide - 1000) / 2000, 0, 1) * 255)
    assert np.array_equal(decode(png(wide, 0), "a", channels=1, window=(1000, 3000))[..., 0], expected)
    grey = pixels()[..., 0]
    assert np.array_equal(decode(encoded(grey), "a", channels=1, window=(0, 255))[..., 0], grey)
    colour = RANDOM.integers(0, 256, (16, 16, 3))
    assert np.abs(decode(png(colour * 257, 2), "a", window=(0, 65535)).astype(int) - colour).max() <= 1
    floats = encoded(Image.fromarray(np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)), "TIFF")
    assert np.array_equal(decode(floats, "a", channels=1, window=(0, 1)).ravel(), np.arange(256))
    with pytest.raises(UserError, match="a.tif holds floating-point values.*window"):
        decode(floats, "a.tif")


def test_fits():
    image = smooth(32, 48)
    assert np.array_equal(decode(encoded(image), "a", size=(32, 48), fit="center"), image)
    cut = decode(encoded(image), "a", size=(16, 16), fit="center")
    assert np.abs(cut.astype(int) - decode(encoded(image[:, 8:40]), "a", size=(16, 16))).max() <= 2
    padded = decode(encoded(image), "a", size=(24, 24), fit="pad")
    assert (padded[:4] == 0).all() and (padded[20:] == 0).all()
    assert np.array_equal(padded[4:20], decode(encoded(image), "a", size=(16, 24)))
    assert decode(encoded(pixels(8, 400)), "a", size=(8, 8), fit="pad").shape == (8, 8, 3)


def test_shrinking_is_antialiased():
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    assert np.abs(decode(encoded(board), "a", channels=1, size=(8, 8)).astype(int) - 127.5).max() < 3


def test_pixels_and_tensors_are_inverse():
    image = pixels()[None]
    assert np.array_equal(to_pixels(to_tensor(image)), image)
    assert to_tensor(image).min() >= -1 and to_tensor(image).max() <= 1
    assert to_pixels(torch.tensor([-3.0, 0.0, 3.0]).view(1, 1, 1, 3)).ravel().tolist() == [0, 128, 255]


# ---- bad images

def bad_images():
    whole, wide = encoded(pixels(200, 200)), encoded(smooth(200, 200), "JPEG")
    sizes = (30_000, 30_000), (13_400, 13_300)
    claims = [whole[12:16] + struct.pack(">II", *size) + whole[24:29] for size in sizes]
    huge, large = (whole[:12] + claim + checksum(claim) + whole[33:] for claim in claims)
    return {"truncated.png": (whole[:len(whole) // 2], "truncated.png is damaged or cut off"),
            "truncated.jpg": (wide[:len(wide) // 2], "truncated.jpg is damaged or cut off"),
            "empty.png": (b"", r"empty.png is empty \(zero bytes\)"),
            "text.png": (b"dear diary", "text.png is not an image"),
            "dot.png": (encoded(pixels(1, 1)), r"dot.png is too small \(1x1 pixels\); the minimum is 8x8"),
            "huge.png": (huge, "huge.png claims 900,000,000 pixels; the maximum is 178,000,000"),
            "large.png": (large, "large.png claims 178,220,000 pixels")}


@pytest.mark.parametrize("name", bad_images())
def test_bad_images_are_refused_in_one_sentence(name):
    content, message = bad_images()[name]
    with warnings.catch_warnings(record=True) as caught, pytest.raises(UserError, match=message) as error:
        warnings.simplefilter("always")
        decode(content, name)
    assert not caught and "\n" not in str(error.value)


def test_damage_anywhere_is_an_image_or_a_sentence():
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP"):
        whole = encoded(smooth(), kind)
        for _ in range(25):
            content = bytearray(whole)
            for place in RANDOM.integers(0, len(content), 3):
                content[place] = RANDOM.integers(256)
            try:
                assert decode(bytes(content), "a").shape[-1] == 3
            except UserError as error:
                assert "\n" not in str(error)


# ---- finding files
