"""Widgets without a browser: the figure comes first, and alone where nothing is live; then sliders draw."""
import asyncio
import datetime
import io
import sys
from types import SimpleNamespace

import ipywidgets
import numpy as np
import pytest
import torch
from PIL import Image

import tiny
from restyle_lib import widgets
from restyle_lib.directions import Direction
from restyle_lib.pixels import encode_png


@pytest.fixture
def run(tmp_path):
    shown = []
    return SimpleNamespace(folder=tmp_path, interactive=True, seed=0, shown=shown,
                           show=lambda figure, name, alt, caption: shown.append((name, alt, caption)))


def parts(box, kind):
    """All widgets of a class inside a box."""
    found = [box] if isinstance(box, kind) else []
    return found + [p for child in getattr(box, "children", ()) for p in parts(child, kind)]


@pytest.fixture
def inverter():
    return tiny.inverter()


def directions(inverter, unit=1.0):
    return [Direction(name, torch.randn(8, generator=torch.Generator().manual_seed(i)), unit=unit,
                      generator=inverter.fingerprint, meaning=f"{name} +1") for i, name in enumerate("ab")]


def everything(run, inverter):
    images = tiny.images(2)
    trajectory = inverter(images, steps=3)
    return {"player": lambda: widgets.refinement_player(run, trajectory, images),
            "bench": lambda: widgets.inversion_bench(run, {"tiny": inverter}, images),
            "desk": lambda: widgets.editing_desk(run, inverter, trajectory.latents[-1], directions(inverter)),
            "explorer": lambda: widgets.latent_explorer(run, inverter.generator, inverter.domain)}


@pytest.mark.parametrize("name", ["player", "bench", "desk", "explorer"])
def test_the_figure_stands_alone_where_nothing_is_live(run, inverter, name, monkeypatch, capsys):
    run.interactive = False
    assert everything(run, inverter)[name]() is None
    assert [shown[0] for shown in run.shown] == [name] and all(run.shown[0])
    run.interactive = True
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    assert everything(run, inverter)[name]() is None and len(run.shown) == 2
    assert "pip install ipywidgets" in capsys.readouterr().out


def test_the_player_shows_each_step_and_what_it_changed(run, inverter):
    box = everything(run, inverter)["player"]()
    _, picture, change, graph = parts(box, ipywidgets.Image)
    slider, label = parts(box, ipywidgets.IntSlider)[0], parts(box, ipywidgets.HTML)[0]
    assert (slider.min, slider.max) == (0, 3) and label.value.startswith("step 0:")
    before = picture.value, graph.value
    slider.value = 2
    assert label.value.startswith("step 2:") and picture.value != before[0] and graph.value != before[1]
    assert Image.open(io.BytesIO(picture.value)).size == (192, 192) and change.value
    slider.value = 0
    assert (picture.value, graph.value) == before


def test_the_desk_edits_resets_and_saves(run, inverter):
    box = everything(run, inverter)["desk"]()
    (still, picture), label = parts(box, ipywidgets.Image), parts(box, ipywidgets.HTML)[0]
    first, second = parts(box, ipywidgets.FloatSlider)
    assert [m.value for m in parts(box, ipywidgets.Label)] == ["a unit: a +1", "a unit: b +1"]
    untouched = picture.value
    first.value = 2.0
    assert picture.value != untouched and still.value == untouched
    reset, save = parts(box, ipywidgets.Button)
    second.value = -1.0
    save.click()
    with np.load(run.folder / "desk" / "edit.npz") as file:
        step = 2 * directions(inverter)[0].vector - directions(inverter)[1].vector
        assert np.allclose(file["edited"] - file["inversion"], step.numpy(), atol=1e-5)
    assert (run.folder / "desk" / "edit.png").is_file() and "saved" in label.value
    reset.click()
    assert picture.value == untouched and first.value == second.value == 0


def test_the_bench_inverts_what_is_chosen_or_given_and_explains_what_is_no_image(run, inverter):
    box = everything(run, inverter)["bench"]()
    button, label = parts(box, ipywidgets.Button)[0], parts(box, ipywidgets.HTML)[0]
    steps, picture = parts(box, ipywidgets.IntSlider)[0], parts(box, ipywidgets.Image)[0]
    assert not picture.value
    wide = []
    for steps.value in (2, 3):
        button.click()
        assert label.value.startswith(f"done after {steps.value} steps")
        wide.append(Image.open(io.BytesIO(picture.value)).width)
    assert wide[0] < wide[1], "a frame for every step"
    before, menu = picture.value, parts(box, ipywidgets.Dropdown)[1]
    upload(box, "notes.png", b"no")
    assert menu.value == "notes.png"
    button.click()
    assert "notes.png is not an image" in label.value and picture.value == before
    upload(box, "grey.png", encode_png(np.full((8, 8, 3), 128, np.uint8)))
    button.click()
    assert "done after" in label.value and picture.value != before
    menu.value = 0
    button.click()
    assert picture.value == before and len(menu.options) == 4


def upload(box, name, data):
    parts(box, ipywidgets.FileUpload)[0].value = (
        {"name": name, "type": "", "size": len(data), "content": memoryview(data),
         "last_modified": datetime.datetime(2020, 1, 1)},)


def test_uploads_of_both_versions():
    assert widgets.uploaded(()) is None and widgets.uploaded({}) is None
    assert widgets.uploaded({"a.png": {"content": b"x", "metadata": {}}}) == ("a.png", b"x")
    assert widgets.uploaded(({"name": "a.png", "content": memoryview(b"x")},)) == ("a.png", b"x")


def test_the_explorer_truncates_and_mixes(run, inverter):
    box = everything(run, inverter)["explorer"]()
    picture, psi = parts(box, ipywidgets.Image)[0], parts(box, ipywidgets.FloatSlider)[0]
    first, second, layer = parts(box, ipywidgets.IntSlider)
    whole = picture.value
    second.value = 3
    assert picture.value == whole, "mixing from the last style on changes nothing"
    layer.value = 0
    assert picture.value != whole
    psi.value = 0.0
    average = picture.value
    first.value, second.value = 2, 4
    assert picture.value == average, "without truncation's reach every sample is the average"


def test_a_slider_in_a_kernel_draws_only_the_value_it_rests_on():
    drawn = []

    async def drag():
        slider, label = ipywidgets.IntSlider(), ipywidgets.HTML()
        widgets.follow(label, drawn.append, slider)
        for value in range(1, 8):
            slider.value = value
        await asyncio.sleep(4 * widgets.WAIT)

    asyncio.run(drag())
    assert drawn == [0, 7]


def test_an_edit_of_another_generator_is_explained_below_the_sliders(run, inverter):
    from restyle_lib.errors import UserError

    label = ipywidgets.HTML()

    def fails(value):
        raise UserError("this direction belongs to another generator")

    widgets.follow(label, fails, ipywidgets.IntSlider())
    assert "another generator" in label.value
