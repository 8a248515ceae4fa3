"""Damaged files to every reader: a result or one sentence, never another error; RESTYLE_FUZZ: how many."""
import json
import os
import signal
import struct
import tempfile
import zipfile
from pathlib import Path

import pytest
import tiny
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_hostile import signed
from test_images import encoded, smooth

from restyle_lib import batch, claims, directions, domains, drift, options, runs
from restyle_lib.checkpoints import inspect, own
from restyle_lib.checkpoints.published import read_published
from restyle_lib.directions import Direction
from restyle_lib.errors import UserError
from restyle_lib.journal import Journal
from restyle_lib.methods.foreign import Results
from restyle_lib.pixels import decode
from restyle_lib.sources import discover
from restyle_lib.training.loop import load_state
from restyle_lib.trajectory import Trajectory

COUNT = int(os.environ.get("RESTYLE_FUZZ", "12"))
PLACE = Path(tempfile.mkdtemp(prefix="fuzz-"))
TEXTS = ["", "{", "[]", "-1", "1e999", "null", "&a [*a]", "!!python/object:os.system x", "\x00", "ü",
         "- " * 60, '"', "nan", "9" * 400, "{}", "? ", "<<: *b", "\n", ",,,"]


def written(write):
    """The bytes that write(path) leaves."""
    path = PLACE / "seed"
    write(path)
    return path.read_bytes()


def archive(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/b.png", encoded(smooth()))
        file.writestr("c.txt", "no image")


def trajectory(path):
    tiny.inverter()(tiny.images(2), steps=1, timed=True).replace(names=("a", "b")).save(path)


def unpacked(path):
    """Every image of a zip, read and decoded."""
    for item in discover([path])[0]:
        decode(item.read(), item.name)


def model(path):
    """A folder that vouches for the bytes of its tensors."""
    folder = path.parent / "model"
    own.save_model(folder, tiny.generator(8), "generator")
    signed(folder, path.read_bytes())
    own.load_model(folder)


def config(path):
    folder = path.parent / "model"
    own.save_model(folder, tiny.generator(8), "generator")
    (folder / "config.json").write_bytes(path.read_bytes())
    own.load_model(folder)


def journal(path):
    (path.parent / "invert.json").write_text('{"steps": 1}')
    (path.parent / "finished.csv").write_bytes(path.read_bytes())
    (path.parent / "metrics.csv").write_bytes(path.read_bytes())
    Journal(path.parent, {"steps": 1})


def record(path):
    for name in ("run.json", "records.jsonl"):
        (path.parent / name).write_bytes(path.read_bytes())
    try:
        runs.read_facts(path.parent)
    finally:
        runs.read_records(path.parent)


def times(path):
    (path.parent / "results" / "0").mkdir(parents=True, exist_ok=True)
    (path.parent / "results" / "times.csv").write_bytes(path.read_bytes())
    Results(path.parent / "results")._seconds(1)


def option(path):
    for kind in options.WORDS:
        try:
            options.convert(path.read_bytes().decode("utf-8", "replace"), kind, "x")
        except UserError:
            pass


STATE = {"step": 3, "options": {"a": 1}, "parts": {"model": tiny.generator(8).state_dict()}}
MANIFESTS = domains.MANIFESTS
DIRECTION = Direction("up", torch.ones(8), generator="g")
MODEL = written(lambda p: own.save_model(PLACE / "m", tiny.generator(8), "generator") and p.write_bytes(
    (PLACE / "m" / "model.safetensors").read_bytes()))
CASES = {
    **{kind: (encoded(smooth(), kind), "a." + kind.lower(), lambda p: decode(p.read_bytes(), p.name))
       for kind in ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP")},
    "zip": (written(archive), "a.zip", unpacked),
    "trajectory": (written(trajectory), "a.npz", Trajectory.load),
    "direction": (written(DIRECTION.save), "a.npz", Direction.load),
    "published direction": (written(lambda p: torch.save(torch.ones(8), p)), "a.pt", directions.load),
    "state": (written(lambda p: torch.save(STATE, p)), "a.pt", load_state),
    "published": (written(lambda p: torch.save(
        {"g_ema": {"convs.0.conv.weight": torch.ones(3)}}, p)), "a.pt", read_published),
    "old published": (written(lambda p: torch.save(
        {"mlp.6.weight": torch.ones(3)}, p, _use_new_zipfile_serialization=False)), "a.pt", read_published),
    "kind": (MODEL, "a.bin", inspect.describe), "model": (MODEL, "a.bin", model),
    "config": ((PLACE / "m" / "config.json").read_bytes(), "a.json", config),
    "domain": ((MANIFESTS / "domains" / "avatars.yaml").read_bytes(), "a.yaml", domains.load_domain),
    "dataset": ((MANIFESTS / "datasets" / "avatars.yaml").read_bytes(), "a.yaml", domains.load_dataset),
    "claims": (b"claims:\n" + (MANIFESTS / "claims.yaml").read_bytes().split(b"claims:\n", 1)[1][:900].rsplit(
        b"\n- id", 1)[0] + b"\n", "a.yaml", claims.load),
    "plan": (b"- {notebook: 00, seed: [0, 1]}\n- notebook: 02\n  profile: quick\n", "a.yaml", batch.read),
    "option": (b"[1, {a: 2}, x]", "a.txt", option),
    "baseline": (json.dumps({"format": 1, "claims": {}, "records": [
        {"notebook": "a", "record": "b", "value": 1.5, "tolerance": 0.1}]}).encode(), "a.json", drift.load),
    "journal": (b"a.png,0,0.5,,,0.1\na.png,1,0.5,,,0.1\na.png,3f3f\n", "a.csv", journal),
    "record": (b'{"name": "l2", "value": 0.5, "unit": "", "step": 1}\n', "a.json", record),
    "times": (b"step,seconds\n0,0.5\n", "a.csv", times)}


@st.composite
def damaged(draw, whole):
    """A file's bytes with some of them changed, moved, doubled, cut off, or a text put among them."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        how = draw(st.sampled_from(("byte", "bits", "cut", "drop", "double", "text", "number", "zero")))
        size = draw(st.sampled_from((1, 2, 4, 8, 64, 1024)))
        if how == "byte" and data:
            data[at] = draw(st.integers(0, 255))
        elif how == "bits" and data:
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif how == "cut":
            del data[at:]
        elif how == "drop":
            del data[at:at + size]
        elif how == "double":
            data[at:at] = data[at:at + size]
        elif how == "text":
            data[at:at] = draw(st.sampled_from(TEXTS)).encode()
        elif how == "number":
            data[at:at + 8] = struct.pack("<q", draw(st.sampled_from((-1, 0, 2**31 - 1, 2**62, -2**63))))
        elif how == "zero":
            data[at:at + size] = bytes(size)
    return bytes(data)


def hangs(*_):
    raise TimeoutError("a reader did not come to an end within a minute")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_a_damaged_file_is_read_or_refused_in_one_sentence(name):
    whole, file, read = CASES[name]
    told = {"read": 0, "refused": 0}

    @settings(max_examples=COUNT, deadline=None, database=None, derandomize=COUNT < 1000,
              suppress_health_check=list(HealthCheck))
    @given(damaged(whole))
    def tried(data):
        with tempfile.TemporaryDirectory(dir=PLACE) as folder:
            path = Path(folder) / file
            path.write_bytes(data)
            before = signal.signal(signal.SIGALRM, hangs)
            signal.alarm(60)
            try:
                read(path)
                told["read"] += 1
            except UserError as error:
                told["refused"] += 1
                assert "\n" not in str(error).strip()
            finally:
                signal.alarm(0)
                signal.signal(signal.SIGALRM, before)
    tried()
    print(f"{name}: {sum(told.values())} cases, {told['read']} read, {told['refused']} refused")
