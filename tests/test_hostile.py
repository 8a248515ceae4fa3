"""Files from strangers: nothing in them runs, nothing grows without bound, nothing leaves its folder."""
import csv
import hashlib
import io
import json
import os
import pickle
import resource
import struct
import sys
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import tiny
import torch
from test_images import encoded, pixels

from restyle_lib import cache, directions, report, runs, weights
from restyle_lib.__main__ import main
from restyle_lib.checkpoints import own
from restyle_lib.checkpoints.published import read_published
from restyle_lib.directions import Direction
from restyle_lib.errors import UserError
from restyle_lib.invert import invert
from restyle_lib.methods import registry
from restyle_lib.pixels import decode
from restyle_lib.sources import discover
from restyle_lib.training.loop import load_state
from restyle_lib.trajectory import Trajectory


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return os.mkdir, (str(self.place),)


class Stateful:
    """An object that only unpickling makes."""

    def __setstate__(self, state):
        os.mkdir(state["place"])


def stateful(place):
    made = Stateful()
    made.__dict__["place"] = str(place)
    return made


POSITIONS = {
    "top": lambda e: e, "value": lambda e: {"w": torch.zeros(2), "x": e}, "list": lambda e: [1, e],
    "deep": lambda e: {"parts": {"optimizer": {"state": {0: {"exp_avg": e}}}}, "step": 1, "options": {}},
    "state_dict": lambda e: {"state_dict": OrderedDict(a=e)}, "opts": lambda e: {"g_ema": {}, "opts": e},
    "tuple": lambda e: (1, (e,)), "twice": lambda e: [e, e], "comp": lambda e: {"comp": e, "std": e}}
READERS = {"published": read_published, "state": load_state, "directions": directions.load,
           "generator": weights.load_generator, "inverter": weights.load_inverter,
           "trajectory": Trajectory.load, "direction": Direction.load}


@pytest.mark.parametrize("kind", [Evil, stateful])
@pytest.mark.parametrize("position", POSITIONS)
def test_code_in_pickles_is_never_run(tmp_path, position, kind):
    marker = tmp_path / "ran"
    content = POSITIONS[position](kind(marker))
    plain, archive, old, array = (tmp_path / name for name in ("a.pkl", "a.pt", "b.pt", "a.npz"))
    plain.write_bytes(pickle.dumps(content, 2))
    torch.save(content, archive)
    torch.save(content, old, _use_new_zipfile_serialization=False)
    np.savez(array, restyle_trajectory=np.array(1), images=np.array([content], dtype=object),
             vector=np.array([content], dtype=object), facts=np.array([content], dtype=object))
    for path in (plain, archive, old, array):
        for name, read in READERS.items():
            with pytest.raises(UserError) as error:
                read(path)
            assert "\n" not in str(error.value) and not marker.exists(), name


def test_a_pickle_in_the_cache_is_drawn_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("RESTYLE_CACHE", str(tmp_path))
    source = weights.load_domain("avatars").dataset("test").split("test")
    stem = cache._stem(source, (16, 16))
    (tmp_path / "rendered").mkdir()
    np.save(tmp_path / "rendered" / f"{stem}-4.npy", np.array([Evil(tmp_path / "ran")] * 4, dtype=object))
    assert cache.rendered_array(source, (16, 16), 2, progress=False).dtype == np.uint8
    assert not (tmp_path / "ran").exists()


# ---- what would grow

def headers():
    side = 60_000
    jpeg = bytearray(encoded(pixels(16, 16), "JPEG"))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5:at + 9] = struct.pack(">HH", side, side)
    gif = bytearray(encoded(pixels(16, 16), "GIF"))
    gif[6:10] = struct.pack("<HH", side, side)
    bmp = bytearray(encoded(pixels(16, 16), "BMP"))
    bmp[18:26] = struct.pack("<ii", 2**30, 2**30)
    tiff = b"II*\0\x08\0\0\0\x05\0" + b"".join(
        struct.pack("<HHII", tag, 4, 1, value) for tag, value in
        ((256, 2**31), (257, 2**31), (258, 8), (262, 1), (273, 8))) + bytes(4)
    webp = b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff\xff\xff" * 2 + bytes(8)
    return {"jpeg": bytes(jpeg), "gif": bytes(gif), "bmp": bytes(bmp), "tiff": tiff, "webp": webp,
            "ppm": b"P6 99999999 99999999 255\n" + bytes(99), "pgm": b"P5 1 99999999999999999999 255\n"}


@pytest.mark.parametrize("kind", headers())
def test_absurd_image_headers_cost_nothing(kind):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError) as error:
        decode(headers()[kind], f"a.{kind}")
    assert "\n" not in str(error.value) and f"a.{kind}" in str(error.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000     # KB


# ---- our own folders

def signed(folder, data, **changes):
    """A model's folder whose config.json vouches for any bytes."""
    config = json.loads((folder / "config.json").read_text()) | changes
    config["file"] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / "model.safetensors").write_bytes(data)
    (folder / "config.json").write_text(json.dumps(config))


def tensors(header, body=bytes(64)):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


ENTRY = {"dtype": "F32", "shape": [4, 4], "data_offsets": [0, 64]}


@pytest.mark.parametrize("data", [
    b"", b"\xff" * 8, struct.pack("<Q", 2**63) + b"{}", tensors(b"{"), tensors(b"[]"),
    tensors({"a": ENTRY}, b""),
    tensors({"a": ENTRY | {"data_offsets": [0, 2**60]}}), tensors({"a": ENTRY | {"data_offsets": [64, 0]}}),
    tensors({"a": ENTRY | {"shape": [2**40, 2**40]}}), tensors({"a": ENTRY | {"dtype": "PICKLE"}}),
    tensors({"a": ENTRY | {"shape": [-1, 4]}}), tensors({"a": ENTRY, "b": ENTRY}), tensors({"a": ENTRY}),
    pickle.dumps(Evil("ran")), tensors(b'{"__metadata__": {"a": 1}}')])
def test_wrong_safetensors_are_refused_though_signed(tmp_path, data):
    own.save_model(tmp_path / "g", tiny.generator(), "generator")
    signed(tmp_path / "g", data)
    with pytest.raises(UserError, match="cannot be rebuilt") as error:
        own.load_model(tmp_path / "g")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("changes", [
    {"resolution": 2**30}, {"w_dim": 2**20}, {"mapping_layers": 10**9}, {"mapping_layers": 4000},
    {"channels": {"4": 4096, "8": 4096, "16": 4096}}, {"w_dim": 4096},
    {"channels": [1] * 5000}, {"resolution": -4}, {"resolution": "16"}, {"channels": None}, {"w_dim": 0}])
def test_a_network_that_its_file_does_not_hold_is_not_built(tmp_path, changes):
    own.save_model(tmp_path / "g", tiny.generator(), "generator")
    config = json.loads((tmp_path / "g" / "config.json").read_text())
    config["architecture"] |= changes
    (tmp_path / "g" / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError):
        own.load_model(tmp_path / "g")


# ---- names

NAMES = ["$(touch pwned).png", "; touch pwned;.png", "`touch pwned`.png", "-rf.png", "a'b\"c.png", "=1+1.png",
         "new\nline.png", "<img src=x onerror=alert(1)>.png", "a,b.png", "%s{0}.png", "ü\u202e.png", " .png"]


def test_names_are_only_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile("in.zip", "w") as archive:
        for name in NAMES:
            archive.writestr(name, encoded(pixels(16, 16)))
    invert(["in.zip"], tiny.inverter(), tmp_path / "out", steps=1, save=["final"], progress=False).check()
    with open("out/finished.csv", newline="", encoding="utf-8") as stream:
        assert sorted(row[0] for row in csv.reader(stream)) == sorted(NAMES)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.zip", "out"]
    assert invert(["in.zip"], tiny.inverter(), tmp_path / "out", steps=1, save=["final"],
                  progress=False).kept == len(NAMES)


@pytest.mark.parametrize("name", ["x" * 241 + ".png", "a/" * 600 + "a.png"])
def test_names_that_no_folder_holds_are_refused(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(name, b"")
    with pytest.raises(UserError, match="name is too long"):
        discover([tmp_path / "a.zip"])


def test_pages_hold_no_code_of_a_run(tmp_path, monkeypatch):
    monkeypatch.setenv("RESTYLE_OUTPUTS", str(tmp_path))
    bad = "<script>alert('1')</script>' onload='x"
    place = tmp_path / "run" / "00_a'onload='x"
    (place / "figures").mkdir(parents=True)
    (place / "figures" / f"{'f'}.png").write_bytes(encoded(pixels(16, 16)))
    facts = {"status": bad, "started": bad, "parameters": {bad: bad}, "checks": {bad: bad}, "error": bad,
             "seconds": bad, "hardware": bad, "commit": bad, "command": bad}
    (place / "run.json").write_text(json.dumps(facts))
    row = {"name": bad, "value": bad, "unit": bad, bad: bad}
    (place / "records.jsonl").write_text(json.dumps(row) + "\n")
    (place / "figures.jsonl").write_text(
        json.dumps({"name": "f", "caption": bad, "alt": bad, "gallery": True}) + "\n")
    page = report.write_index(tmp_path / "run").read_text()
    assert "<script" not in page and "' onload='x" not in page and "a'onload" not in page
    (place / "run.json").write_text(json.dumps(facts | {"status": "finished"}))
    text = report.write_gallery(tmp_path / "run").read_text()
    assert "<script" not in text


@pytest.mark.parametrize("content", ["", "[]", "{", "5", "[" * 10**5])
def test_a_damaged_run_is_named(tmp_path, monkeypatch, capsys, content):
    monkeypatch.setenv("RESTYLE_OUTPUTS", str(tmp_path))
    (tmp_path / "r" / "00").mkdir(parents=True)
    (tmp_path / "r" / "00" / "run.json").write_text(content)
    assert main(["claims", "r"]) == 1 and "run.json is damaged" in capsys.readouterr().err
    (tmp_path / "r" / "00" / "records.jsonl").write_text(content + "\n1\n")
    with pytest.raises(UserError, match="records.jsonl is damaged"):
        runs.read_records(tmp_path / "r" / "00")


def test_a_foreign_module_is_imported_only_when_it_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "sneaky.py").write_text("import os\nos.mkdir('ran')\ndef method(*a):\n    pass\n")
    (tmp_path / "restyle_method.py").write_text("import os\nos.mkdir('ran')\n")
    assert main(["list"]) == main(["--help"]) == 0
    for spec in ("sneaky", "sneaky.method", "naive:sneaky", "./sneaky.py", "hybrid:sneaky:method"):
        with pytest.raises(UserError):
            registry.get(spec, "avatars")
    assert not (tmp_path / "ran").exists() and "sneaky" not in sys.modules
    assert callable(registry.get("sneaky:method", "avatars")) and (tmp_path / "ran").exists()


def test_bytes_of_an_image_are_no_program(tmp_path):
    for data in (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(ran) run\n", b"<svg onload='x'/>",
                 b"MZ" + bytes(99), io.BytesIO(pickle.dumps(Evil(tmp_path / "ran"))).getvalue()):
        with pytest.raises(UserError):
            decode(data, "a.png")
    assert not (tmp_path / "ran").exists()
