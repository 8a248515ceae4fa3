"""The oriented crop of faces: the published code's numbers, its geometry, landmark files, faces not found."""
import json

import numpy as np
import pytest
import torch
from golden_recipe import FOLDER
from PIL import Image

from restyle_lib import alignment
from restyle_lib.__main__ import main
from restyle_lib.alignment import align, read_landmarks
from restyle_lib.errors import UserError

FACE = np.array([[40, 50], [80, 50], [60, 70], [45, 90], [75, 90]], float)     # in a picture of 120 x 150


def waves(height, width):
    """The golden source image, a formula."""
    y, x = np.mgrid[:height, :width]
    channels = np.sin(x / 23 + y / 41), np.cos(x / 17 - y / 29), np.sin((x + y) / 13)
    return (127 + 100 * np.stack(channels, -1)).round().astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    for name in ("a.png", "b.png", "c.jpg"):
        (tmp_path / "in").mkdir(exist_ok=True)
        Image.fromarray(waves(150, 120)).save(tmp_path / "in" / name)
    return tmp_path / "in"


@pytest.mark.parametrize("case", ["centre", "tilted", "border", "large"])
def test_as_published(case):
    golden = np.load(FOLDER / "alignment.npz")
    made = align(waves(420, 360), golden[f"landmarks_{case}"], 64)
    assert np.abs(made.astype(int) - golden[f"aligned_{case}"]).mean() <= 1


def test_five_points_say_what_68_say():
    many = np.zeros((68, 2))
    turn = np.linspace(0, 2 * np.pi, 6, endpoint=False)
    ring = 4 * np.stack([np.cos(turn), np.sin(turn)], 1)
    many[36:42], many[42:48], many[48], many[54] = ring + FACE[0], ring + FACE[1], FACE[3], FACE[4]
    apart = align(waves(150, 120), many, 64).astype(int) - align(waves(150, 120), FACE, 64)
    assert np.abs(apart).mean() < 1


def test_a_turned_picture_gives_the_same_face():
    source = waves(200, 200)
    points = FACE + (40, 30)
    turned = np.stack([points[:, 1], 199 - points[:, 0]], 1)               # by 90 degrees, anticlockwise
    apart = align(source, points, 64).astype(int) - align(np.ascontiguousarray(np.rot90(source)), turned, 64)
    assert np.abs(apart).mean() < 1


def test_the_eyes_come_where_ffhq_has_them():
    marked = np.zeros((150, 120, 3), np.uint8)
    for channel, (x, y) in enumerate((FACE[0], FACE[1], FACE[3:].mean(0))):
        marked[int(y) - 2:int(y) + 3, int(x) - 2:int(x) + 3, channel] = 255
    made = align(marked, FACE, 256).astype(float)
    grid = np.mgrid[:256, :256]
    found = [(grid * made[..., c]).sum((1, 2)) / made[..., c].sum() for c in range(3)]
    side = 2 * 2 * 40                                                      # twice the eyes' distance each way
    for (row, column), (x, y) in zip(found, ((40, 50), (80, 50), (60, 90)), strict=True):
        assert abs(column - (128 + 256 * (x - 60) / side)) < 2
        assert abs(row - (128 + 256 * (y - 54) / side)) < 2                # its centre is below the eyes


@pytest.mark.parametrize("wrong, told", [
    (FACE[:4], "not 68 or 5 points"), (FACE * np.nan, "not 68 or 5 points"), (FACE * 0, "in one place"),
    (FACE + 500, "do not fit the image of 120x150"), (FACE * 1e9, "do not fit the image")])
def test_landmarks_that_are_no_face(wrong, told):
    with pytest.raises(UserError, match=told):
        align(waves(150, 120), wrong)


def test_every_kind_of_file_is_read_alike(tmp_path):
    points = FACE.tolist()
    for name, content in {"a.json": {"a.png": points, "b.png": [points, points]}, "one.json": points}.items():
        (tmp_path / name).write_text(json.dumps(content))
    row = ",".join(str(v) for v in FACE.ravel())
    (tmp_path / "a.csv").write_text(f"image_id,{','.join('xy' * 5)}\na.png,{row}\nb.png,{row}\nb.png,{row}\n")
    np.savez(tmp_path / "a.npz", **{"a.png": FACE, "b.png": np.stack([FACE, FACE])})
    np.save(tmp_path / "one.npy", FACE)
    for name in ("a.json", "a.csv", "a.npz"):
        found = read_landmarks(tmp_path / name)
        assert {key: len(value) for key, value in found.items()} == {"a.png": 1, "b.png": 2}
        assert np.array_equal(found["b.png"][1], FACE)
    for name in ("one.json", "one.npy"):
        assert np.array_equal(read_landmarks(tmp_path / name)["*"], FACE[None])


@pytest.mark.parametrize("name, content", [
    ("a.json", "{"), ("b.json", '{"a.png": [[1, 2]]}'), ("c.json", '{"a.png": "x"}'),
    ("a.csv", "a.png,1,x\n"), ("b.csv", "a.png,1,2,3\n"), ("a.npy", "no"), ("a.npz", "no"), ("a.txt", "1 2"),
    ("none.json", None)])
def test_bad_files_are_one_sentence(tmp_path, name, content):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError) as error:
        read_landmarks(tmp_path / name)
    assert str(tmp_path / name) in str(error.value) and "\n" not in str(error.value)


def test_the_command_names_what_has_no_face(folder, tmp_path, capsys):
    marks = tmp_path / "marks.json"
    marks.write_text(json.dumps({"a": [FACE.tolist(), (FACE * 1.3).tolist()], "b.png": []}))
    out = tmp_path / "out"
    words = ["align", str(folder), "--landmarks", str(marks), "--size", "32", "--out", str(out)]
    assert main(words) == 1
    told = capsys.readouterr()
    assert "1 faces aligned" in told.out
    assert "b.png: no face was found" in told.err and "c.jpg: there are no landmarks" in told.err
    assert sorted(p.name for p in out.iterdir()) == ["a.png"]
    largest = np.asarray(Image.open(out / "a.png"))
    assert np.array_equal(largest, align(waves(150, 120), FACE * 1.3, 32))
    assert main([*words, "--face", "all"]) == 1
    assert {"a_0.png", "a_1.png"} < {p.name for p in out.iterdir()}
    assert main([*words, "--face", "7"]) == 1
    assert "face 7 was asked for, and 2 were found" in capsys.readouterr().err
    assert main([*words, "--face", "left"]) == 1 and "accepted: largest, all" in capsys.readouterr().err


def test_without_landmarks_the_detectors_weights_are_asked_for(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RESTYLE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    words = ["align", str(folder), "--out", str(tmp_path / "out")]
    assert main(words) == 1 and "weights fetch yunet" in capsys.readouterr().err
    from kornia.contrib import face_detection

    torch.manual_seed(0)
    place = alignment.registry.entry("yunet").place
    place.parent.mkdir(parents=True)
    torch.save(face_detection.YuNet("test", False).state_dict(), place)
    monkeypatch.setattr(alignment, "SURE", 0.999)                          # random weights are not so sure
    assert main(words) == 1 and capsys.readouterr().err.count("no face was found") == 6
    monkeypatch.setattr(alignment, "SURE", 0.0)
    found = alignment.detector()(waves(150, 120))
    assert found.shape[1:] == (5, 2) and len(found) and np.isfinite(found).all()
    kept = tmp_path / "hub" / "hub" / "checkpoints" / "yunet_final.pth"    # where kornia would keep it
    kept.parent.mkdir(parents=True)
    torch.save({"other": torch.zeros(2)}, kept)
    assert main(words) == 1 and "does not hold YuNet's weights" in capsys.readouterr().err
