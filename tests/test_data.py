"""Images of every kind in, the right pixels out; bad ones refused in a sentence; splits, cache, export."""
import csv
import types
import zipfile

import numpy as np
import pytest
import tiny
import torch
from test_images import encoded, pixels
from PIL import Image

from restyle_lib import cache, data, rendered
from restyle_lib.domains import Dataset, FileSource, FileSplit, RenderedSource, RenderedSplit
from restyle_lib.errors import UserError
from restyle_lib.pixels import decode
from restyle_lib.rendered.draws import Attribute
from restyle_lib.sources import discover

RANDOM = np.random.default_rng(0)


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
    with pytest.raises(UserError, match="there is no attributes file none.csv beside"):
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
