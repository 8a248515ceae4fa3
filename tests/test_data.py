"""Images of every kind in, the right pixels out; bad ones refused in a sentence; splits, cache, export."""
import csv
import io
import struct
import types
import warnings
import zipfile
import zlib

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from restyle_lib import cache, data, rendered
from restyle_lib.domains import Dataset, FileSource, FileSplit, RenderedSource, RenderedSplit
from restyle_lib.errors import UserError
from restyle_lib.pixels import decode, to_pixels, to_tensor
from restyle_lib.rendered.draws import Attribute
from restyle_lib.sources import discover

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

@pytest.fixture
def folder(tmp_path):
    """Nested images, other files, hidden ones, and a zip."""
    root = tmp_path / "photos"
    hidden = (".hidden.png", ".git/d.png", "sub/._c.webp")
    for name in ("b.png", "a.JPG", "sub/deep/c.webp", "notes.txt", *hidden):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(encoded(pixels()))
    members = {"x/e.png": encoded(pixels()), "readme.md": b"", "__MACOSX/x/e.png": b"", "x/": b""}
    archive(root / "more.zip", members)
    return root


def archive(path, members):
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def test_files_are_found_in_nested_folders_and_zips(folder):
    items, passed = discover([folder])
    assert [item.name for item in items] == ["a.JPG", "b.png", "more.zip/x/e.png", "sub/deep/c.webp"]
    assert passed == 5                     # notes, two hidden files, and two of the zip
    assert all(decode(item.read(), item.name).shape == (16, 24, 3) for item in items)
    assert [item.name for item in discover([folder / "more.zip"])[0]] == ["x/e.png"]
    assert [item.name for item in discover([folder / "b.png"])[0]] == ["b.png"]
    assert [item.name for item in discover([folder], leave_out=folder / "sub")[0]][-1] == "more.zip/x/e.png"


def test_inputs_of_one_name_are_kept_apart(folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "b.png").write_bytes(encoded(pixels()))
    names = [item.name for item in discover([folder, other, folder / "b.png"])[0]]
    assert "photos/b.png" in names and "other/b.png" in names and len(names) == len(set(names)) == 5


def test_missing_and_empty_inputs_are_refused(tmp_path):
    with pytest.raises(UserError, match="there is no file or folder .*none"):
        discover([tmp_path / "none"])
    (tmp_path / "notes.txt").write_text("a")
    with pytest.raises(UserError, match=r"no images in .* \(1 files without an image suffix passed over\)"):
        discover([tmp_path])


@pytest.mark.parametrize("name", [
    "/etc/a.png", "../a.png", "a/../../b.png", "C:\\a.png", "..\\a.png", "link.png"])
def test_zips_that_leave_themselves_are_refused(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        info = zipfile.ZipInfo(name)
        info.external_attr = (0o120777 if name == "link.png" else 0o100644) << 16
        file.writestr(info, b"/etc/passwd")
    with pytest.raises(UserError, match="is a link or leaves the zip"):
        discover([tmp_path / "a.zip"])


def test_damaged_zips_are_refused(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"PK but not really")
    with pytest.raises(UserError, match="not a readable zip file"):
        discover([tmp_path / "a.zip"])
    path = archive(tmp_path / "b.zip", {"a.png": encoded(pixels())})
    content = bytearray(path.read_bytes())
    content[60] ^= 255
    path.write_bytes(content)
    with pytest.raises(UserError, match="a.png cannot be read from b.zip"):
        discover([path])[0][0].read()


# ---- datasets

def files(root, **fields):
    fields = {"splits": {"all": FileSplit()}} | fields
    source = FileSource("folder", str(root))
    return Dataset(name="mine", licence="-", source=source, path=root / "mine.yaml", **fields)


def test_splits_of_files(folder):
    (folder / "list.txt").write_text("b.png\nsub/deep/c.webp\n")
    dataset = files(folder, splits={
        "all": FileSplit(), "sub": FileSplit(folder="sub"), "listed": FileSplit(list="list.txt"),
        "low": FileSplit(part=(0, 0.5)), "high": FileSplit(part=(0.5, 1)), "none": FileSplit(folder="no")})
    names = {name: dataset.split(name).names for name in ("all", "sub", "listed", "low", "high")}
    assert names["sub"] == ["sub/deep/c.webp"] and names["listed"] == ["b.png", "sub/deep/c.webp"]
    assert sorted(names["low"] + names["high"]) == names["all"]
    with pytest.raises(UserError, match="the split 'none' of mine holds no image"):
        dataset.split("none")


def test_groups_do_not_straddle_splits(tmp_path):
    rows = ["file,person,age"]
    for person in range(12):
        for shot in range(3):
            name = f"{shot}/{person}.png"
            (tmp_path / str(shot)).mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(encoded(pixels()))
            rows.append(f"{name},p{person},{20 + person}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    halves = {"a": FileSplit(part=(0, 0.5)), "b": FileSplit(part=(0.5, 1))}
    dataset = files(tmp_path, splits=halves, attributes="labels.csv", group="person")
    a, b = dataset.split("a"), dataset.split("b")
    assert set(a.table()["person"]).isdisjoint(b.table()["person"]) and len(a) + len(b) == 36
    assert a.attributes(0)["age"] == 20 + int(a.names[0].split("/")[1][:-4])
    people = a.table()["person"]
    assert all((a.groups == a.groups[i]).sum() == 3 == (people == people[i]).sum() for i in range(len(a)))
    with pytest.raises(UserError, match="group 'colour' is not a column"):
        files(tmp_path, splits=halves, attributes="labels.csv", group="colour").split("a")
    with pytest.raises(UserError, match="attributes none.csv is not a readable CSV"):
        files(tmp_path, attributes="none.csv").split("all")


def test_labels_inside_a_zip(tmp_path):
    members = {"t/a.png": encoded(pixels()), "labels.csv": "file,kind\nt/a.png,cat\n"}
    path = archive(tmp_path / "a.zip", members)
    dataset = Dataset(name="z", licence="-", source=FileSource("zip", path.name), splits={"all": FileSplit()},
                      attributes="labels.csv", path=tmp_path / "z.yaml")
    assert dataset.split("all").attributes(0) == {"kind": "cat"}


def test_images_of_files_are_decoded_on_demand(folder):
    dataset = files(folder, channels=1, size=(8, 12))
    images = data.images(dataset, "all")
    assert images.shape == (4, 8, 12, 1) and images.dtype == np.uint8 and images[1].shape == (8, 12, 1)
    assert np.array_equal(images[[2, 0]], images[:][[2, 0]])
    assert np.array_equal(data.images(dataset, "all", indices=[3]), images[3:])
    assert len(data.images(dataset, "all", count=2)) == 2
    with pytest.raises(UserError, match="9 images of the split 'all' of mine were asked for; it has 4"):
        data.images(dataset, "all", count=9)
    with pytest.raises(UserError, match="no common size"):
        data.images(files(folder), "all")
    with pytest.raises(UserError, match="has 1 channels, the domain tiny has 3"):
        data.domain_dataset(tiny.domain().__class__(
            name="tiny", train=dataset, test=dataset, resolution=16, encoder_size=(8, 8)))


def test_own_images_load_at_the_encoders_size(folder):
    assert data.load_images(folder, tiny.domain()).shape == (4, 3, 8, 8)
    grey = data.load_images([folder / "b.png", folder / "a.JPG"], tiny.domain(channels=1))
    assert grey.shape == (2, 1, 8, 8) and -1 <= grey.min() < grey.max() <= 1
    (folder / "bad.png").write_bytes(b"no")
    with pytest.raises(UserError, match="bad.png is not an image"):
        data.load_images(folder, tiny.domain())


def test_cropped_domains_train_their_generator_on_a_black_square():
    domain = tiny.domain(crop=(2, 14, 0, 16), encoder_size=(6, 8))
    image = pixels(12, 16)[None]
    out = data.square(image, domain)
    assert out.shape == (1, 16, 16, 3) and np.array_equal(out[:, 2:14], image)
    assert not out[:, :2].any() and not out[:, 14:].any()


# ---- rendered datasets

def stub_world():
    def attributes(seed, identity, instance, correlated=True, hard=False):
        level = (identity * 7 + instance * 3 + seed + 100 * hard + 50 * (not correlated)) % 256
        return {"level": level.astype(np.float64), "kind": (identity % 2).astype(np.float64), "key": identity}

    def render(attributes, height, width, masks=False, device="cpu"):
        level = torch.from_numpy(attributes["level"].astype(np.uint8))
        images = level[:, None, None, None].repeat(1, 3, height, width)
        return (images, {"face": torch.ones(len(images), height, width)}) if masks else images

    names = (Attribute("level", "real", "identity", 0, 255),
             Attribute("kind", "category", "identity", classes=("cat", "dog")))
    return types.SimpleNamespace(NAMES=names, VERSION=1, attributes=attributes, render=render)


@pytest.fixture
def world(monkeypatch, tmp_path):
    """A dataset of a rendered world that draws grey levels; the world counts its images."""
    module, drawn = stub_world(), []
    draw = module.render
    module.render = lambda a, *args, **more: drawn.append(len(a["level"])) or draw(a, *args, **more)
    module.drawn = drawn
    monkeypatch.setattr(rendered, "world", lambda name: module)
    monkeypatch.setenv("RESTYLE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "CHUNK", 8)
    splits = {"train": RenderedSplit((0, 10), 2), "test": RenderedSplit((50, 5), 2, correlated=False),
              "hard": RenderedSplit((0, 5), 1, hard=True)}
    source = RenderedSource("rendered", "stub", 3)
    module.dataset = Dataset(name="stub", licence="-", source=source, size=(4, 6), splits=splits)
    return module


def test_rendered_images_are_numbered_by_identity_and_instance(world):
    train, test = world.dataset.split("train"), world.dataset.split("test")
    assert len(train) == 20 and train.names[:3] == ["0000000_0", "0000000_1", "0000001_0"]
    assert train.groups.tolist()[:4] == [0, 0, 1, 1]
    assert train.load(5).shape == (4, 6, 3) and (train.load(5) == 2 * 7 + 3 + 3).all()
    assert train.attributes(5) == {"level": 20.0, "kind": 0.0}
    assert test.attributes(0)["level"] == (50 * 7 + 3 + 50) % 256 and test.names[0] == "0000050_0"
    assert world.dataset.split("hard").attributes(0)["level"] == 103
    assert train.masks([0, 1])["face"].shape == (2, 4, 6)


def test_the_cache_holds_what_the_source_draws_and_draws_it_once(world, tmp_path):
    images = data.images(world.dataset, "train", progress=False)
    assert isinstance(images, np.memmap) and not images.flags.writeable
    assert np.array_equal(images, world.dataset.split("train").read(range(20)))
    del world.drawn[:]
    again = data.images(world.dataset, "train", count=5, progress=False)
    assert not world.drawn and np.array_equal(again, images[:5])
    assert data.images(world.dataset, "train", (2, 2), count=3, progress=False).shape == (3, 2, 2, 3)
    assert world.drawn == [3]
    world.VERSION = 2
    data.images(world.dataset, "train", count=3, progress=False)
    assert world.drawn == [3, 3]
    assert np.array_equal(data.images(world.dataset, "train", indices=[7, 2]), images[[7, 2]])
    assert not list((tmp_path / "cache/rendered").glob("*.chunks"))


def test_splits_that_draw_differently_are_cached_apart(world):
    first = [data.images(world.dataset, name, count=1, progress=False)[0] for name in world.dataset.splits]
    assert len({image[0, 0, 0] for image in first}) == 3


def test_an_interrupted_cache_goes_on_where_it_stopped(world):
    draw, calls = world.render, []

    def interrupted(*args, **more):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return draw(*args, **more)

    world.render = interrupted
    with pytest.raises(KeyboardInterrupt):
        data.images(world.dataset, "train", progress=False)
    world.render = draw
    del world.drawn[:]
    images = data.images(world.dataset, "train", progress=False)
    assert world.drawn == [4] and np.array_equal(images, world.dataset.split("train").read(range(20)))


def test_several_processes_draw_the_same_pixels(monkeypatch, tmp_path):
    from restyle_lib.domains import load_dataset
    monkeypatch.setenv("RESTYLE_CACHE", str(tmp_path))
    monkeypatch.setattr(cache, "CHUNK", 1)
    monkeypatch.setattr(cache.os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    source = load_dataset("avatars").split("val")
    images = cache.rendered_array(source, (16, 16), 9, progress=False)
    assert np.abs(images.astype(int) - source.read(range(9), (16, 16))).max() <= 1


def test_export_writes_pictures_and_their_attributes(world, tmp_path):
    out = tmp_path / "out"
    assert data.export(world.dataset, "train", out, count=4, progress=False) == 4
    rows = list(csv.DictReader((out / "attributes.csv").read_text().splitlines()))
    assert [row["image"][5:] for row in rows] == ["00_0.png", "00_1.png", "01_0.png", "01_1.png"]
    assert rows[2] == {"image": "0000001_0.png", "group": "1", "level": "10", "kind": "dog"}
    source = world.dataset.split("train")
    for i, row in enumerate(rows):
        assert np.array_equal(np.asarray(Image.open(out / row["image"])), source.load(i))
    with pytest.raises(UserError, match="21 images of the split 'train' of stub were asked for; it has 20"):
        data.export(world.dataset, "train", out, count=21)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        data.export(world.dataset, "train", tmp_path / "file" / "sub", count=1, progress=False)
