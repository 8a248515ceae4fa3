"""The paper's datasets in small mirrors of their layouts: counts, sizes, duplicates, seeded draws, LMDBs."""
import dataclasses
import shutil
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
import tiny
import torch
from test_images import encoded
from test_published import published_generator
from test_sources import database

from restyle_lib import load_domain, load_inverter, registry
from restyle_lib.__main__ import main
from restyle_lib.checkpoints.own import save_model
from restyle_lib.checkpoints.encoder_keys import published_encoder
from restyle_lib.domains import load_dataset
from restyle_lib.errors import UserError
from restyle_lib.models.encoders import Encoder
from restyle_lib.models.stylegan2 import Generator
from restyle_lib.sources import Item, discover
from restyle_lib.splits import trained_on
from restyle_lib.verify import link, verify

MAPPING = """idx      orig_idx    orig_file   proc_md5
0          119613     119614.jpg  0
1          162769     162770.jpg  0
2          162770     162771.jpg  0
3          182636     182637.jpg  0
4          182637     182638.jpg  0
5          202598     202599.jpg  0
"""


def picture(value, side=24):
    pixels = np.full((side, side, 3), value, np.uint8)
    pixels[:8, :8] = np.random.default_rng(value).integers(0, 255, (8, 8, 3))
    return encoded(pixels)


def put(root, names, side=24, first=0):
    for i, name in enumerate(names, first):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(i, side))


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """Makes a small mirror of a dataset's layout, links it, and scales its manifest's counts."""
    monkeypatch.setenv("RESTYLE_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "disk"

    def make(name, **splits):
        if name == "ffhq":
            put(root, ["00000/00000.png", "00000/00001.png", "01000/01000.png"], 1024)
        if name == "celeba-hq":
            put(root, [f"CelebA-HQ-img/{i}.jpg" for i in range(6)], 1024)
            put(root, ["CelebAMask-HQ-mask-anno/0/00000_hair.png"])
            (root / "CelebA-HQ-to-CelebA-mapping.txt").write_text(MAPPING)
        if name == "stanford-cars":
            put(root, [f"cars_train/{i:05d}.jpg" for i in range(1, 5)])
            put(root, [f"cars_test/{i:05d}.jpg" for i in range(1, 9)], first=20)
        if name == "afhq-wild":
            put(root, [f"train/wild/{i}.jpg" for i in range(4)] + ["train/cat/9.jpg"], 512)
            put(root, [f"val/wild/{i}.jpg" for i in range(2)], 512, first=20)
        if name == "lsun-church":
            for part, count in (("train", 5), ("val", 2)):
                keys = [f"{part}{i:036x}".encode() for i in range(count)]
                root.mkdir(exist_ok=True)
                database(root / f"church_outdoor_{part}_lmdb",
                         {key: picture(i + 9 * count) for i, key in enumerate(keys)})
        if name == "lsun-horse":
            database(root, {f"{i:040x}".encode(): picture(i) for i in range(9)})
        link(name, root)
        dataset = load_dataset(name)
        changed = {k: dataclasses.replace(dataset.splits[k], **v) for k, v in splits.items()}
        return dataclasses.replace(dataset, splits=dataset.splits | changed)

    make.root = root
    return make


SCALED = {
    "ffhq": {"train": {"images": 3}},
    "celeba-hq": {name: {"images": 2} for name in ("train", "val", "test")},
    "stanford-cars": {"train": {"images": 4}, "test": {"images": 3, "draw": (0, 0, 3)},
                      "test_all": {"images": 8}},
    "afhq-wild": {"train": {"images": 4}, "test": {"images": 2}},
    "lsun-church": {"train": {"images": 5}, "test": {"images": 2}},
    "lsun-horse": {"train": {"images": 5, "draw": (0, 0, 5)}, "test": {"images": 3, "draw": (0, 5, 3)}},
}


@pytest.mark.parametrize("name", SCALED)
def test_a_mirror_of_every_layout_is_verified(mirror, name):
    rows, wrong = verify(mirror(name, **SCALED[name]), progress=False)
    assert wrong == [] and [row["images"] for row in rows] == [s["images"] for s in SCALED[name].values()]
    assert all(row["groups also in train"] in ("–", 0) and row["duplicates"] == 0 for row in rows)
    wrong = verify(name, progress=False)[1]                       # with the counts of the real set
    short = [n for n, row in zip(SCALED[name], rows, strict=True)
             if load_dataset(name).splits[n].images != row["images"]]
    assert len(wrong) == len(short) and all("expected" in line or "holds no image" in line for line in wrong)


def test_the_official_split_of_celeba_hq_goes_by_the_original_number(mirror):
    dataset = mirror("celeba-hq")
    names = {split: [n.split("/")[1] for n in dataset.split(split).names] for split in dataset.splits}
    assert names == {"train": ["0.jpg", "1.jpg"], "val": ["2.jpg", "3.jpg"], "test": ["4.jpg", "5.jpg"]}
    (mirror.root / "CelebA-HQ-to-CelebA-mapping.txt").write_text(MAPPING.replace("orig_idx", "number"))
    with pytest.raises(UserError, match="where 'orig_idx' is not a column of the attributes"):
        dataset.split("test")


def test_a_draw_is_the_same_in_every_mirror(mirror):
    dataset = mirror("stanford-cars", **SCALED["stanford-cars"])
    flat_ones = [name.rpartition("/")[2] for name in dataset.split("test").names]
    for part in ("train", "test"):                                # nested once more, as on Kaggle, and as PNG
        inner = mirror.root / f"cars_{part}"
        shutil.move(inner, mirror.root / "x")
        shutil.move(mirror.root / "x", inner / f"cars_{part}")
    for path in mirror.root.rglob("*.jpg"):
        path.rename(path.with_suffix(".png"))
    nested = [name.rpartition("/")[2].replace("png", "jpg") for name in dataset.split("test").names]
    assert nested == flat_ones and len(set(flat_ones)) == 3
    other = dataclasses.replace(dataset.splits["test"], draw=(1, 0, 3))
    other = dataclasses.replace(dataset, splits={"test": other}).split("test").names
    assert [name.rpartition("/")[2].replace("png", "jpg") for name in other] != flat_ones


def test_what_is_wrong_with_a_set_is_told(mirror, capsys):
    dataset = mirror("afhq-wild", **SCALED["afhq-wild"])
    train, test = mirror.root / "train" / "wild", mirror.root / "val" / "wild"
    shutil.copy(train / "1.jpg", test / "0.jpg")                  # in training, under another name
    shutil.copy(train / "2.jpg", train / "3.jpg")
    (test / "1.jpg").write_bytes(picture(9, 256))
    (train / "0.jpg").unlink()
    (train / "5.jpg").write_bytes(b"no image")
    (train / "6.jpg").write_bytes(picture(7, 512))
    rows, wrong = verify(dataset, progress=False)
    assert "train/wild/5.jpg is not an image" in wrong.pop(1) and wrong == [
        "afhq-wild: the split 'train' holds 5 images, 4 are expected",
        "afhq-wild: 1 images of the split 'test' are not 512x512 as published: val/wild/1.jpg (256x256)",
        "afhq-wild: 1 images of the split 'test' show what images of 'train' show: "
        "val/wild/0.jpg = train/wild/1.jpg"]
    assert [row["duplicates"] for row in rows] == [1, 0] and rows[0]["bad"] == 1
    assert main(["data", "verify"]) == 1
    told = capsys.readouterr()
    assert "not on this machine: celeba-hq, ffhq, lsun-church, lsun-horse, stanford-cars (" in told.out
    assert "4,738 are expected" in told.err


def test_a_set_that_is_not_there_says_how_its_folder_must_look(mirror, capsys):
    with pytest.raises(UserError, match="data link ffhq PATH; layout: link the folder images1024x1024"):
        load_dataset("ffhq").split("train")
    put(mirror.root, ["wild/1.jpg"])
    assert main(["data", "link", "afhq-wild", str(mirror.root)]) == 1
    assert "holds no image of" in (told := capsys.readouterr().err) and "train/wild and val/wild" in told
    put(mirror.root, ["train/wild/1.jpg", "val/wild/1.jpg"])
    assert main(["data", "link", "afhq-wild", str(mirror.root)]) == 0
    assert "train: 1 images of 4,738 that are expected" in capsys.readouterr().out
    assert main(["data", "list"]) == 0 and "train (4,738), test (500)" in capsys.readouterr().out


def test_images_that_a_domain_trains_on_are_labelled(mirror):
    mirror("afhq-wild")
    domain = load_domain("afhq-wild")
    assert trained_on(domain, discover([mirror.root / "train"])[0]) == (
        "4 of 5 images are in the training split of afhq-wild, which the domain afhq-wild trains on: not "
        "held out")
    assert trained_on(domain, discover([mirror.root / "val"])[0]) == ""
    assert trained_on(load_domain("ffhq"), discover([mirror.root])[0]) == ""      # not on this machine
    assert trained_on(load_domain("avatars"), discover([mirror.root])[0]) == ""


def test_an_lmdb_cut_short_is_refused_and_a_locked_one_is_read(tmp_path):
    path = database(tmp_path / "db", {f"{i}".encode(): picture(i, 64) for i in range(40)})
    shutil.copytree(path, tmp_path / "cut")
    (path / "lock.mdb").write_bytes(b"somebody's lock")
    items, _ = discover([path])
    with ProcessPoolExecutor(1, get_context("spawn")) as workers:      # each opens it for itself
        assert list(workers.map(Item.read, items[:4])) == [item.read() for item in items[:4]]
    data = tmp_path / "cut" / "data.mdb"
    with open(data, "r+b") as stream:
        stream.truncate(data.stat().st_size - 4096)
    with pytest.raises(UserError, match="cut is cut short: .* of .* bytes; copy or fetch it again"):
        discover([tmp_path / "cut"])


def test_a_domain_that_tests_on_another_dataset_is_trained(tmp_path):
    """As faces: FFHQ has no test split, and CelebA-HQ is validated on."""
    put(tmp_path, [f"a/{i}.png" for i in range(4)])
    put(tmp_path, [f"b/{i}.png" for i in range(2)], first=9)
    for name, split in (("a", "train"), ("b", "test")):
        (tmp_path / f"{name}.yaml").write_text(
            f"{{name: {name}, source: {{kind: folder, path: {name}}}, licence: '-', "
            f"splits: {{{split}: {{}}}}}}")
    save_model(tmp_path / "generator", tiny.generator(), "generator")
    (tmp_path / "d.yaml").write_text(
        "{name: d, train: a.yaml, test: b.yaml, generator: ./generator, resolution: 16, "
        "encoder_size: [16, 16], backbone: irse_small, head_channels: 8, losses: {l2: 1}, "
        "iterations: {restyle-psp: 1}}")
    words = f"train encoder restyle-psp --domain {tmp_path}/d.yaml --size published --device cpu"
    assert main([*words.split(), "--out", str(tmp_path / "run"), "batch=2", "steps=1"]) == 0
    assert (tmp_path / "run" / "last" / "config.json").exists()


def test_a_published_file_is_loaded_by_its_name_with_its_domain(tmp_path, monkeypatch):
    monkeypatch.setenv("RESTYLE_CACHE", str(tmp_path))
    generator = Generator(256, z_dim=4, w_dim=4, mapping_layers=1, channels={2**n: 4 for n in range(2, 9)})
    encoder = Encoder("resnet34", n_styles=14, w_dim=4, head_channels=3)
    state = {f"encoder.{name}": value for name, value in published_encoder(encoder).items()}
    state |= {f"decoder.{name}": value for name, value in published_generator(generator).items()}
    place = registry.entry("e4e-horse").place
    place.parent.mkdir()
    torch.save({"state_dict": state, "latent_avg": torch.zeros(14, 4)}, place)
    inverter = load_inverter("e4e-horse")
    assert inverter.domain.name == "lsun-horse" and inverter.generator.resolution == 256
    assert place.with_name(f"{place.name}.json").exists()
