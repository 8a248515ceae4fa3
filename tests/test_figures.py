"""Figures: pixels stay pixels, strips keep their order, and every figure carries its data."""

import csv
import io

import numpy as np
import pytest
import torch
from PIL import Image

from restyle_lib import figures

GREY = np.arange(4 * 8 * 8, dtype=np.uint8).reshape(4, 8, 8, 1)


def saved(figure, folder):
    png, width = figures.save(figure, folder / "figure", "what it shows")
    with open(folder / "figure.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert (folder / "figure.pdf").read_bytes().startswith(b"%PDF") and width > 0
    image = Image.open(io.BytesIO(png))
    assert round(image.info["dpi"][0]) == 300 and image.info["Description"] == "what it shows"
    return np.asarray(image.convert("RGB")), rows


def occurs(small, big):
    """Where the image `small` stands in `big`, as (row, column)."""
    view = np.lib.stride_tricks.sliding_window_view(big[..., 0], small.shape[:2])
    where = np.argwhere((view[:, :, ::7, ::7] == small[::7, ::7, 0]).all((2, 3)))
    return [
        tuple(p)
        for p in where
        if (big[p[0] : p[0] + small.shape[0], p[1] : p[1] + small.shape[1]] == small).all()
    ]


def test_pixels_of_every_accepted_kind_agree():
    floats = GREY.transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1
    assert (figures.pixels(floats) == figures.pixels(GREY)).all()
    assert figures.pixels(GREY[0]).shape == (1, 8, 8, 3) and (figures.pixels(floats * 9).max() == 255)
    assert (figures.pixels(torch.from_numpy(GREY.transpose(0, 3, 1, 2))) == figures.pixels(GREY)).all()


def test_a_strip_shows_input_start_and_steps_in_order_without_smoothing(tmp_path):
    frames = GREY[1:].transpose(0, 3, 1, 2)[:, None].astype(np.float32) / 127.5 - 1  # [3, 1, 1, 8, 8]
    figure = figures.strip(GREY[:1], frames, values=np.array([[0.3], [0.2], [0.1]]), labels=["a"])
    image, rows = saved(figure, tmp_path)
    where = [occurs(np.kron(np.repeat(g, 3, -1), np.ones((20, 20, 1), np.uint8)), image) for g in GREY]
    assert all(len(w) == 1 for w in where), "every frame stands there once, enlarged to 160 pixels"
    columns = [w[0][1] for w in where]
    gaps = np.diff(columns)
    assert (gaps > 0).all() and gaps[0] > gaps[1] == gaps[2], "the input first and set apart"
    assert [(r["step"], r["L2"]) for r in rows] == [("0", "0.3"), ("1", "0.2"), ("2", "0.1")]


def test_a_trajectory_brings_its_step_numbers():
    class Trajectory:
        step, images = [0, 5], GREY[:2].transpose(0, 3, 1, 2)[:, None]

        def __len__(self):
            return 2

    assert [row["step"] for row in figures.strip(GREY[:1], Trajectory()).rows] == [0, 5]


def test_graphs_carry_their_rows(tmp_path):
    curve = figures.curve(
        {"a": [3.0, 2.0], "b": ([1, 2], [1.0, 0.5])}, "step", "L2", bands={"a": ([2, 1], [4, 3])}
    )
    _, rows = saved(curve, tmp_path)
    assert rows[1] == {"series": "a", "step": "1", "L2": "2.0", "low": "1", "high": "3"} and len(rows) == 4
    _, rows = saved(figures.histogram({"x": np.arange(100.0)}, "degrees", bins=4), tmp_path)
    assert sum(float(r["density"]) * (float(r["to"]) - float(r["from"])) for r in rows) == pytest.approx(1)
    _, rows = saved(figures.bars({"a": 1, "b": 2.5}, "L2", intervals={"a": (0, 2), "b": (2, 3)}), tmp_path)
    assert rows[1] == {"label": "b", "L2": "2.5", "low": "2.0", "high": "3.0"}
    _, rows = saved(figures.scatter([1, 2, 3], [2, 4, 6], "true", "read", diagonal=True), tmp_path)
    assert len(rows) == 3


def test_sheets_and_comparisons(tmp_path):
    image, rows = saved(figures.grid(GREY, columns=2, labels="abcd"), tmp_path)
    assert [r["text"] for r in rows] == list("abcd")
    image, rows = saved(
        figures.compare({"input": GREY[:2], "map": figures.colour(GREY[:2, ..., 0])}), tmp_path
    )
    assert [r["column"] for r in rows] == ["input", "map"] * 2
    assert figures.colour([[[0.0, 1.0]]]).shape == (1, 1, 2, 3)


def test_a_method_looks_the_same_whatever_stands_beside_it():
    assert figures.look("ReStyle-pSp", 3) == figures.look("ReStyle-pSp", 5)
    alone, hybrid, naive = (figures.look(label) for label in ("pSp", "pSp + optimisation, 50", "naive pSp"))
    assert alone[0] == hybrid[0] == naive[0] and len({alone[2], hybrid[2], naive[2]}) == 3
    assert figures.look("optimisation in W, 100", 1) == figures.look("optimisation in W, 1000", 2)
    assert figures.look("mine", 0) != figures.look("mine", 1), "another label's look is that of its index"
    assert len({figures.look(name)[:2] for name in figures.METHODS}) == len(figures.METHODS)
