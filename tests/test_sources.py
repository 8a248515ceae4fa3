"""LMDBs; damaged images among good ones; groups that cross splits; attributes that are not there."""
import sys

import lmdb
import numpy as np
import pytest
from test_data import files
from test_images import encoded

from restyle_lib import data
from restyle_lib.domains import Dataset, FileSource, FileSplit
from restyle_lib.errors import UserError
from restyle_lib.sources import discover
from restyle_lib.training.loop import DataOrder


def flat(value):
    """An encoded image of one grey level, 16 pixels high and 24 wide."""
    return encoded(np.full((16, 24, 3), value, np.uint8))


def database(path, values, **options):
    with lmdb.open(str(path), map_size=1 << 24, **options) as environment:
        with environment.begin(write=True) as writer:
            for key, value in values.items():
                writer.put(key, value)
    return path


@pytest.fixture
def photos(tmp_path):
    """Ten images, the fourth of them damaged."""
    for i in range(10):
        content = flat(20 * i)
        (tmp_path / f"{i}.png").write_bytes(content[:60] if i == 3 else content)
    return tmp_path


def test_an_lmdb_is_read_by_its_keys(tmp_path):
    keys = [b"b/two.png", b"256-00001", b"a", "ü".encode(), b"\xff\x00"]
    values = {key: flat(40 * i) for i, key in enumerate(keys)}
    path = database(tmp_path / "db", values | {b"length": b"5"})
    items, passed = discover([path])
    assert [item.name for item in items] == ["256-00001", "a", "b/two.png", "ü", "ff00"] and passed == 1
    for item in reversed(items):
        key = bytes.fromhex(item.member)
        assert item.read() == values[key]
    assert [item.name for item in discover([tmp_path])[0]][0] == "db/256-00001"
    source = FileSource("lmdb", "db")
    dataset = Dataset(name="l", licence="-", source=source, size=(16, 24), path=tmp_path / "l.yaml",
                      splits={"all": FileSplit(), "b": FileSplit(folder="b")})
    images = data.images(dataset, "all")
    assert images.shape == (5, 16, 24, 3) and (images[2] == 0).all() and len(data.images(dataset, "b")) == 1


def test_an_lmdb_may_be_one_file(tmp_path):
    database(tmp_path / "faces.lmdb", {b"x": flat(9)}, subdir=False)
    assert [item.name for item in discover([tmp_path / "faces.lmdb"])[0]] == ["x"]
    assert [item.name for item in discover([tmp_path])[0]] == ["faces.lmdb/x"]


def test_bad_lmdbs_are_refused(tmp_path, monkeypatch):
    (tmp_path / "a.lmdb").write_bytes(b"no database" * 1000)
    with pytest.raises(UserError, match="a.lmdb is not a readable LMDB"):
        discover([tmp_path / "a.lmdb"])
    path = database(tmp_path / "db", {b"../a.png": flat(9)})
    with pytest.raises(UserError, match="the key '../a.png' leaves the LMDB"):
        discover([path])
    path = database(tmp_path / "other", {b"a.png": flat(9)})
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(UserError, match="other is an LMDB; reading it needs a package: pip install lmdb$"):
        discover([path])


def test_a_bad_image_is_named_counted_and_replaced(photos, capsys):
    images = data.images(files(photos, size=(16, 24)), "all")
    batch = images[[2, 3, 4, 3]]
    assert batch.shape == (4, 16, 24, 3) and np.array_equal(batch[1], batch[2]) and images.bad == {3: 4}
    told = capsys.readouterr().err
    assert told.count("3.png") == 1 and "skipped: 3.png is damaged" in told and "(1 of 10 in" in told
    assert np.array_equal(np.asarray(images), images[:]) and images.size == 10 * 16 * 24 * 3


def test_too_many_bad_images_are_refused(photos, monkeypatch):
    for i in range(9):
        (photos / f"{i}.png").write_bytes(b"no")
    images = data.images(files(photos, size=(16, 24)), "all")
    assert (images[0] == images[9]).all() and len(images.bad) == 9
    monkeypatch.setattr(data, "MAX_BAD", 5)
    with pytest.raises(UserError, match="6 images of the split 'all' of mine are bad; .* data verify mine"):
        data.images(files(photos, size=(16, 24)), "all")[:]
    (photos / "9.png").write_bytes(b"")
    monkeypatch.setattr(data, "MAX_BAD", 50)
    with pytest.raises(UserError, match="none of the 10 images of mine can be read"):
        data.images(files(photos, size=(16, 24)), "all")[0]


def test_a_group_in_two_splits_is_refused(photos):
    rows = [f"{i}.png,patient{i // 3}" for i in range(10)]
    (photos / "labels.csv").write_text("\n".join(["image,patient", *rows]))
    for name, chosen in (("a", range(5)), ("b", range(5, 10)), ("c", range(5, 8))):
        (photos / f"{name}.txt").write_text("\n".join(f"{i}.png" for i in chosen))
    a, b, c = (FileSplit(list=f"{name}.txt") for name in "abc")

    def opened(name, **splits):
        return files(photos, splits=splits, attributes="labels.csv", group="patient").split(name)

    with pytest.raises(UserError, match="1 groups by 'patient' lie in the split 'train' and in 'test': "
                                        "patient1; all images of a group must be in one split"):
        opened("train", train=a, test=b, all=FileSplit())
    with pytest.raises(UserError, match="2 groups .* 'test' and in 'train': patient0, patient1;"):
        opened("test", train=FileSplit(), test=FileSplit(list="a.txt"), other=b)
    halves = {"train": FileSplit(part=(0, 0.5)), "test": FileSplit(part=(0.5, 1)), "all": FileSplit()}
    parts = [len(opened(name, **halves)) for name in halves]
    assert parts[0] + parts[1] == parts[2] == 10
    assert len(opened("part_of_b", b=b, part_of_b=c)) == 3


def test_a_set_without_images_or_smaller_than_a_batch_is_refused(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(UserError, match="no images in .*photos"):
        files(tmp_path / "photos").split("all")
    with pytest.raises(UserError, match="the training set has 3 images, fewer than one batch of 8"):
        DataOrder(3, 8, 0)
    gone = Dataset(name="gone", licence="-", source=FileSource("folder", "gone"), splits={"all": FileSplit()},
                   path=tmp_path / "gone.yaml")
    with pytest.raises(UserError, match="there is no file or folder .*gone; .* data link gone PATH"):
        gone.split("all")


def test_attributes_that_are_no_table_are_refused(photos):
    (photos / "labels.csv").write_text("")
    with pytest.raises(UserError, match="labels.csv is not a CSV with a header and the image's name first"):
        files(photos, attributes="labels.csv").split("all")
