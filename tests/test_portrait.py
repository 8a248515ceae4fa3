"""Notebook 04's choices, files, images, edits; and that notebooks start in Colab as it is."""
import json
import re
import subprocess
import sys

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from test_alignment import FACE, waves

from restyle_lib import downloads, notebook_cells, portrait, registry, workbook
from restyle_lib.errors import UserError
from restyle_lib.files import ROOT


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RESTYLE_CACHE", str(tmp_path / "cache"))


def put(*names):
    for name in names:
        place = registry.entry(name).place
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"there")


def test_a_portrait_lists_its_files_and_does_without():
    rows = portrait.files("portrait")
    assert [row["file"] for row in rows] == list(portrait.PORTRAIT)
    assert {row["here"] for row in rows} == {"no"}
    assert rows[0]["size"] == "~955 MB" and rows[0]["licence"] and rows[0]["minutes to fetch (unmeasured)"]
    assert portrait.files("") == portrait.files("somebody/encoder.pt") == []
    chosen = portrait.choose("portrait", "avatars", ["smile"])
    assert (chosen.model, chosen.domain) == ("avatars/restyle-psp", "avatars")
    assert chosen.edits == {"smile": ("smile", 2)}
    assert "restyle-e4e-ffhq is not here" in chosen.told[0]
    put("restyle-e4e-ffhq", "direction-age")
    chosen = portrait.choose("portrait", "avatars", ["smile"])
    assert (chosen.model, chosen.domain, chosen.toon) == ("restyle-e4e-ffhq", "ffhq", "")
    assert chosen.edits == {"age": ("direction-age", 3)} and len(chosen.told) == 4
    put("restyle-psp-toonify")
    assert portrait.choose("portrait", "avatars").toon == "restyle-psp-toonify"
    with pytest.raises(UserError, match="weights fetch e4e-ffhq"):
        portrait.choose("e4e-ffhq", "avatars")


def test_fetching_goes_on_after_a_refusal(monkeypatch):
    asked, told = [], []

    def refuse(name, say):
        asked.append(name)
        raise UserError(f"{name}: the host's quota page")

    monkeypatch.setattr(downloads, "fetch", refuse)
    portrait.fetch("portrait", told.append)
    assert asked == list(portrait.PORTRAIT) and len(told) == len(asked)


def test_images_given_aligned_or_nobodys(tmp_path):
    inverter, out = tiny.inverter(), tmp_path / "out"
    names, x, nobody = portrait.inputs("", inverter, out, count=3, seed=1)
    assert nobody and names == ["nobody 0", "nobody 1", "nobody 2"] and x.shape == (3, 3, 8, 8)
    assert torch.equal(x, portrait.inputs("", inverter, out, count=3, seed=1)[1])
    source, marks = tmp_path / "in", tmp_path / "marks.json"
    source.mkdir()
    for name in "ab":
        Image.fromarray(waves(150, 120)).save(source / f"{name}.png")
    assert portrait.inputs(source, inverter, out)[0] == ["a.png", "b.png"]
    marks.write_text(json.dumps({"a": FACE.tolist(), "b": (FACE + 5).tolist()}))
    names, x, nobody = portrait.inputs(source, inverter, out, str(marks))
    assert names == ["a.png", "b.png"] and not nobody and not torch.equal(x[0], x[1])
    marks.write_text(json.dumps({"a": FACE.tolist()}))
    with pytest.raises(UserError, match=r"1 images have no usable face: b\.png"):
        portrait.inputs(source, inverter, out, str(marks))
    grey = portrait.stranger(tiny.domain(channels=1))
    assert grey.shape == (1, 1, 8, 8) and grey.std() > 0


def test_edits_without_a_reader_and_what_is_written(tmp_path):
    inverter = tiny.inverter()
    ways = portrait.ways(portrait.Choice("m", "tiny", {"smile": ("smile", 2.0)}), inverter, 30)
    assert list(ways) == ["pc0", "pc1"]
    latents = inverter(tiny.images(1), 2).latents[-1]
    written = portrait.save(tmp_path, ["a b/c.png"], inverter, latents, ways, 3)
    assert {p.name for p in written} == {"inversion.png", "pc0_+2.png", "pc0_-2.png", "pc0.gif", "pc1_+2.png",
                                         "pc1_-2.png", "pc1.gif", "latents.npz"}
    assert {p.parent.name for p in written} == {"a_b_c.png"}
    with Image.open(written[0]) as film:
        assert film.n_frames == 4
    kept = np.load(written[-1])
    assert np.array_equal(kept["inversion"], latents) and kept["generator"].item() == inverter.fingerprint
    assert not np.array_equal(kept["pc0_+2"], kept["pc0_-2"])


def test_a_stopwatch_adds_up():
    watch = portrait.Stopwatch()
    for stage in ("load", "edit", "load"):
        with watch(stage):
            pass
    assert watch.seconds.keys() == {"load", "edit"}
    assert [row["stage"] for row in watch.table()] == list(portrait.PLANNED)


# ---- Colab

@pytest.mark.parametrize("name", workbook.notebooks())
def test_badges_lead_to_their_notebooks(name):
    first = workbook.read(name)["cells"][0]["source"]
    assert notebook_cells.BADGE.findall(first) == [notebook_cells.badge(name)]
    assert f"/{notebook_cells.BRANCH}/notebooks/{name}.ipynb)" in first


def test_notebooks_start_in_colab_without_what_it_lacks(tmp_path):
    """The set-up cell clones and installs once; then every module that a notebook imports can be imported."""
    code = "\n".join(c["source"] for name in workbook.notebooks() for c in workbook.read(name)["cells"]
                     if c["cell_type"] == "code")
    lines = re.findall(r"^from restyle_lib import (.+)$", code, re.M)
    wanted = {word for line in lines for word in re.findall(r"\w+", line)} - {"UserError"}
    setup = notebook_cells.BOOTSTRAP.replace("/content/restyle", str(tmp_path / "restyle"))
    code = f"""
import os, subprocess, sys, types
lacking = ("kornia", "lpips", "papermill", "nbval", "jupyterlab", "gdown")
sys.modules.update(dict.fromkeys(lacking), **{{"google.colab": types.ModuleType("google.colab")}})
sys.path[:] = [p for p in sys.path if p not in ("", {str(ROOT)!r})]
asked = []
def run(command, check):
    asked.append([str(word) for word in command])
    if command[0] == "git":
        os.symlink({str(ROOT)!r}, command[-1])
subprocess.run = run
setup = {setup!r}
exec(setup)
exec(setup)
import importlib
for name in {sorted(wanted)!r}:
    importlib.import_module("restyle_lib." + name)
print(asked, rl.__file__)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=tmp_path, text=True,
                          capture_output=True, env={"PATH": "", "HOME": str(tmp_path), "RESTYLE_REPOSITORY": "https://host/workbook",
                                                    "MPLBACKEND": "agg"}, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("'clone'") == 1 and done.stdout.count("'install'") == 1
    assert "https://host/workbook" in done.stdout and f"{tmp_path}/restyle/restyle_lib" in done.stdout
