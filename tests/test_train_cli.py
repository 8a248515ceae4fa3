"""`train ...` and `invert` on somebody's own folder, from files to an inversion, through the command line."""
import json

import numpy as np
import pytest
from PIL import Image

from restyle_lib.__main__ import main
from restyle_lib.files import ROOT

DOMAIN = """\
name: bars
train: {folder}/data.yaml
resolution: 16
encoder_size: [16, 16]
channels: 1
flip: false
backbone: irse_small
head_channels: 8
losses: {{l2: 1.0}}
"""
DATA = """\
name: bars
source: {kind: folder, path: images}
licence: made for a test
channels: 1
size: [16, 16]
attributes: attributes.csv
group: who
splits:
  train: {part: [0, 0.7]}
  test: {part: [0.7, 1]}
"""


@pytest.fixture(scope="module")
def bars(tmp_path_factory):
    """A domain of 48 grey images of bars, with attributes."""
    folder = tmp_path_factory.mktemp("bars")
    (folder / "images").mkdir()
    rows = ["name,who,place,bright,kind"]
    for i in range(48):
        image = np.full((16, 16), 40 + 170 * (i % 2), np.uint8)
        image[:, i % 12:i % 12 + 4] = 128
        Image.fromarray(image).save(folder / "images" / f"{i:02d}.png")
        rows.append(f"{i:02d}.png,person{i // 2},{i % 12},{i % 2},{'ab'[i % 2]}")
    (folder / "images" / "attributes.csv").write_text("\n".join(rows))
    (folder / "data.yaml").write_text(DATA)
    (folder / "domain.yaml").write_text(DOMAIN.format(folder=folder))
    return folder


def train(bars, what, *words):
    return main(["train", *what.split(), "--domain", str(bars / "domain.yaml"), "--device", "cpu", *words])


def test_generator_encoder_and_inversion_from_a_folder(bars, capsys):
    tiny = ["z_dim=8", "w_dim=8", "mapping_layers=1", "channels={4: 8, 8: 8, 16: 8}", "batch=4"]
    tiny += ["total_images=8", "reuse_fakes=no"]
    assert train(bars, "generator", "--out", str(bars / "g"), *tiny) == 0
    generator = str(bars / "g" / "generator")
    config = json.loads((bars / "g" / "generator" / "config.json").read_text())
    assert config["architecture"]["image_channels"] == 1
    more = ["--generator", generator, "--trunk", "none", "iterations=2", "batch=2", "steps=2"]
    assert train(bars, "encoder restyle-psp", "--out", str(bars / "e"), *more) == 0
    assert (bars / "e" / "last" / "config.json").exists()
    words = ["invert", str(bars / "images"), "--model", str(bars / "e" / "last"), "--steps", "2"]
    words += ["--domain", str(bars / "domain.yaml"), "--generator", generator, "--device", "cpu"]
    words += ["--out", str(bars / "out")]
    assert main(words) == 0, capsys.readouterr().err
    rows = (bars / "out" / "metrics.csv").read_text().splitlines()
    assert rows[0].startswith("image,step,l2") and len(rows) == 1 + 48 * 3
    capsys.readouterr()
    (bars / "images" / "broken.png").write_bytes(b"not an image")
    assert main([*words[:-1], str(bars / "again")]) == 1
    told = capsys.readouterr().err.splitlines()
    assert "broken.png" in told[-1] and told[-1].startswith("error: 1 of 49")
    (bars / "images" / "broken.png").unlink()


def test_features_from_a_table_of_attributes(bars):
    words = ["images=16", "batch=8", "network={channels: [4, 4, 8, 8]}"]
    assert train(bars, "features attributes", "--out", str(bars / "f"), *words) == 0
    config = json.loads((bars / "f" / "attributes" / "config.json").read_text())
    specs = {spec["name"]: spec["kind"] for spec in config["architecture"]["attributes"]}
    assert specs == {"who": "category", "place": "real", "bright": "binary", "kind": "category"}


@pytest.mark.parametrize("words, told", [
    ("generator total_image=3", "did you mean 'total_images'"), ("generator batch=x", "whole number"),
    ("generator batch=400", "batch"), ("encoder restyle iterations=1", "accepted: restyle-psp"),
    ("encoder psp steps=5", "steps=1"), ("features identities", "did you mean 'identity'"),
    ("encoder psp --size tiny", "accepted: published, embedded")])
def test_wrong_settings_are_one_sentence(bars, words, told, capsys):
    assert train(bars, words, "--out", str(bars / "none")) != 0
    assert told in capsys.readouterr().err and not (bars / "none" / "state.pt").exists()


@pytest.mark.parametrize("model, found", [("avatars/restyle-psp", "gates"), ("avatars/generator", "kid"),
                                          ("minicars/generator", "kid")])
def test_audit_of_shipped_networks(model, found, tmp_path, capsys):
    assert main(["train", "audit", model, "--count", "6", "--out", str(tmp_path / "a.json")]) == 0
    told = json.loads((tmp_path / "a.json").read_text())
    assert found in told and told["domain"] == model.split("/")[0], "the model's own, unless one is named"
    assert len(capsys.readouterr().out.splitlines()) > 5


def test_a_generator_grows_on_a_rendered_world(tmp_path):
    text = (ROOT / "data_manifests/domains/minicars.yaml").read_text()
    text = text.replace("  perceptual:", "  identity:").replace("  attributes:", "  judge_identity:")
    (tmp_path / "cars.yaml").write_text(text)
    small = ["w_dim=8", "mapping_layers=1", "channels={4: 8, 8: 8, 16: 8, 32: 8, 64: 8}", "warm_images=16"]
    words = ["train", "generator", "--grow", "--domain", str(tmp_path / "cars.yaml"), "--device", "cpu",
             "--count", "16", "--out", str(tmp_path / "g"), *small]
    assert main(words) == 0
    config = json.loads((tmp_path / "g" / "64" / "generator" / "config.json").read_text())
    assert [run["training"]["resolution"] for run in config["facts"]["before"]] == [16, 32]
    assert np.load(tmp_path / "g" / "focus.npy").shape == (16, 32, 32)
    assert [run["training"]["warm_colour"] for run in config["facts"]["before"]] == [100, 20]


def test_a_generator_is_read_where_its_images_are_not_square(tmp_path):
    small = ["w_dim=8", "mapping_layers=1", "channels={4: 8, 8: 8, 16: 8, 32: 8, 64: 8}", "warm_images=16"]
    words = ["train", "generator", "--grow", "--domain", "minicars", "--device", "cpu", "--count", "16"]
    assert main([*words, "--out", str(tmp_path), *small]) == 0
    config = json.loads((tmp_path / "finish" / "generator" / "config.json").read_text())
    assert config["facts"]["training"]["warm_reader"] == 1 and len(config["facts"]["before"]) == 4
