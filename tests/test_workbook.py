"""The runner, on tiny notebooks of its own: strict parameters, failures, pages, the gallery."""

import json
import re

import pytest

from restyle_lib import html, options, report, runs, workbook
from restyle_lib.errors import UserError
from restyle_lib.provenance import cells_version

PARAMETERS = (
    'profile = "smoke"  # sizes\nseed = 0  # random\ndevice = "cpu"  # where\nrun = ""  # folder\n'
    'domain = "avatars"  # which\nrate = 0.5  # a number\nwords = ["a"]  # a list\nquick = False  # a flag'
)


def notebook(folder, name, *code):
    cells = [
        ("markdown", f"# Title of {name}\n\nWhat it shows. More.\n\n$$\\Delta_t = E(x, \\hat{{y}}_t)$$"),
        ("code", PARAMETERS),
        ("markdown", "## The work\n\nWith $w_0$ and `$HOME`."),
        *(("code", c) for c in code),
    ]
    content = {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        "cells": [
            {
                "cell_type": kind,
                "id": f"c{i}",
                "source": text,
                "metadata": {"tags": ["parameters"] if i == 1 else []},
                **({"outputs": [], "execution_count": None} if kind == "code" else {}),
            }
            for i, (kind, text) in enumerate(cells)
        ],
    }
    (folder / f"{name}.ipynb").write_text(json.dumps(content))


@pytest.fixture
def books(tmp_path, monkeypatch):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    monkeypatch.setenv("RESTYLE_NOTEBOOKS", str(folder))
    monkeypatch.setenv("RESTYLE_OUTPUTS", str(tmp_path / "outputs"))
    notebook(
        folder,
        "00_good",
        "print('seed', seed, 'rate', rate, words, quick, run)\nimport os\n"
        "print('interactive', os.environ['RESTYLE_INTERACTIVE'])",
    )
    notebook(
        folder,
        "10_bad",
        "class UserError(Exception):\n    pass\nraise UserError('no such thing: try another')",
    )
    return folder


def finished(tmp_path, monkeypatch, name="00_good"):
    """A finished run of a notebook, made without a kernel."""
    from types import SimpleNamespace

    from restyle_lib import figures

    folder = runs.new_run("smoke", "made")
    run = runs.Run(
        folder / name,
        {"profile": "smoke", "seed": 0, "device": "cpu", "run": "made", "domain": "avatars"},
        SimpleNamespace(images=2),
    )
    run.record("l2", 0.12345, "mean", split="test", n=2)
    run.show(figures.bars({"a": 1}, "L2"), "bars", "One bar.", "A rendered bar & more.")
    run.show(figures.bars({"a": 1}, "L2"), "second", "Another bar.", "Another.")
    run.finish(it_works=True)
    return folder


def test_a_notebook_says_what_it_is_and_takes(books):
    assert workbook.notebooks() == ["00_good", "10_bad"]
    assert workbook.title("00_good") == ("Title of 00_good", "What it shows")
    found = workbook.parameters("00_good")
    assert [(p.name, p.kind, p.default, p.help) for p in found][-3:] == [
        ("rate", "float", 0.5, "a number"),
        ("words", "list", ["a"], "a list"),
        ("quick", "bool", False, "a flag"),
    ]
    assert (
        workbook.resolve("00")
        == workbook.resolve("00_g")
        == workbook.resolve("notebooks/00_good.ipynb")
        == "00_good"
    )
    with pytest.raises(UserError, match="did you mean '10_bad'"):
        workbook.resolve("10_bat")


@pytest.mark.parametrize(
    "argument, told",
    [
        ("sed=3", "did you mean 'seed'"),
        ("seed=x", "whole number"),
        ("seed=1.5", "whole number"),
        ("rate=fast", "a number"),
        ("words=a", "a list such as"),
        ("words={a: 1}", "a list such as"),
        ("quick=maybe", "true or false"),
        ("seed", "name=value, for instance seed="),
        ("profile=quik", "did you mean 'quick'"),
        ("device=gpu", "accepted: auto"),
        ("domain=nowhere", "accepted: afhq-wild, avatars"),
        ("profile=gpu", "expects a GPU"),
        ("device=cuda", "no CUDA device"),
    ],
)
def test_wrong_parameters_are_refused_before_anything_runs(books, argument, told, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError, match=told):
        workbook.run(["00_good"], [argument])
    assert not (tmp_path / "outputs").exists()


def test_values_get_their_types():
    kinds = {"a": "int", "b": "float", "c": "bool", "d": "list", "e": "str", "f": "dict", "g": "tuple"}
    words = ["a=-3", "b=1e-3", "c=Yes", "d=[1, x]", "e=1=2", "f={4: 8}", "g=[1]"]
    assert options.pairs(words, kinds) == {
        "a": -3,
        "b": 1e-3,
        "c": True,
        "d": [1, "x"],
        "e": "1=2",
        "f": {4: 8},
        "g": (1,),
    }


def test_dataclass_fields_have_kinds():
    from dataclasses import dataclass

    @dataclass
    class Settings:
        a: int = 0
        b: float | None = None
        c: tuple[int, int] = (1, 2)
        d: dict = None
        e: str = ""

    assert options.field_kinds(Settings) == {"a": "int", "b": "float", "c": "tuple", "d": "dict", "e": "str"}


def test_a_run_goes_on_after_a_failure_and_leaves_pages(books, tmp_path):
    said, seen = [], []

    def say(line):
        said.append(line)
        seen.append((tmp_path / "outputs" / "001-smoke" / "index.html").exists())

    target, failed = workbook.run(
        ["10_bad", "00_good"], ["seed=3", "rate=1", 'words=["b"]', "quick=true"], say=say
    )
    assert failed["00_good"] is None and seen == [False, True, True, True], (
        "the index is there after the first"
    )
    assert "10_bad failed under 'The work': no such thing: try another; the copy" in failed["10_bad"]
    assert runs.read_facts(target / "10_bad")["status"] == "failed"
    facts = runs.read_facts(target / "00_good")
    assert facts["status"] == "finished" and facts["seconds_with_kernel"] > 0
    assert (
        facts["asked"]
        == """python -m restyle_lib run 10_bad 00_good seed=3 rate=1 'words=["b"]' quick=true"""
    )
    page = (target / "00_good" / "notebook.html").read_text()
    assert "seed 3 rate 1.0 ['b'] True 001-smoke" in page and "interactive 0" in page
    assert 'alt="\\Delta_t = E(x, \\hat{y}_t)"' in page and "<code>$HOME</code>" in page
    index = (target / "index.html").read_text()
    assert "Title of 00_good" in index and "no such thing" in index
    for text in (page, index):
        assert "<script" not in text and not re.search(r"(src|href)=.?https?:", text)


def test_prepare_sets_parameters_without_running(books):
    path = workbook.prepare("00_good", ["seed=9"], "quick")
    cells = json.loads(path.read_text())["cells"]
    assert "seed = 9" in "".join(cells[2]["source"]) and 'run = "001-quick"' in "".join(cells[2]["source"])
    assert not any(cell.get("outputs") for cell in cells)


def test_the_index_shows_figures_numbers_and_checks(books, tmp_path, monkeypatch):
    page = report.write_index(finished(tmp_path, monkeypatch)).read_text()
    assert "A rendered bar &amp; more." in page and "alt='One bar.'" in page and "0.1235" in page
    assert "it works: <b>True</b>" in page and "<h2>Claims" not in page
    (tmp_path / "outputs" / "made" / "90_claims").mkdir()
    (tmp_path / "outputs" / "made" / "90_claims" / "claims.json").write_text(
        '[{"claim": "one-pass", "verdict": "holds"}]'
    )
    page = report.write_index(tmp_path / "outputs" / "made").read_text()
    assert page.index("one-pass") < page.index("Title of 00_good")


def test_the_gallery_is_small_and_has_a_section_per_notebook(books, tmp_path, monkeypatch):
    folder = finished(tmp_path, monkeypatch)
    (folder / "00_good" / "notebook.ipynb").write_bytes((books / "00_good.ipynb").read_bytes())
    path = report.write_gallery(folder)
    text = path.read_text()
    assert path == tmp_path / "outputs" / "gallery" / "RESULTS.md"
    assert (
        '<a id="00_good"></a>\n\n## 00_good: Title of 00_good' in text
        and "![One bar.](00_good_bars.webp)" in text
        and "Another" not in text
    )
    assert "| l2 | 0.1235 mean | split test, n 2, seed 0 |" in text
    assert f"code cells `{cells_version(books / '00_good.ipynb')}`" in text
    assert (path.parent / "00_good_bars.webp").stat().st_size < 300_000


def test_code_cells_have_a_digest_that_prose_does_not_change(books):
    path = books / "00_good.ipynb"
    content, before = json.loads(path.read_text()), cells_version(path)
    content["cells"][0]["source"] += " More prose."
    put_in = {"cell_type": "code", "source": "seed = 7", "metadata": {"tags": ["injected-parameters"]}}
    content["cells"].insert(2, put_in)
    path.write_text(json.dumps(content))
    assert cells_version(path) == before
    content["cells"][-1]["source"] += "\n"
    path.write_text(json.dumps(content))
    assert cells_version(path) != before and cells_version(books / "none.ipynb") is None


def test_large_pictures_are_made_small(tmp_path):
    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (600, 600, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    assert (tmp_path / "noise.png").stat().st_size > 300_000 > len(report.small(tmp_path / "noise.png"))


def test_mathematics_becomes_pictures_and_prices_stay():
    text = html.offline_math("costs $5 or $6, `a $x$ b`, but $x_t$ and\n$$w_{t+1} = w_t + \\Delta_t$$")
    assert text.startswith("costs $5 or $6, `a $x$ b`, but <img") and text.count("<img") == 2
    assert html.picture("\\unknowncommand{x}") == "<code>\\unknowncommand{x}</code>"


def test_paths_are_relative_to_where_the_command_was_given(books, tmp_path, monkeypatch):
    notebook(books, "20_reads", "print(open('mine.txt').read())")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine.txt").write_text("found")
    monkeypatch.chdir(elsewhere)
    workbook.run(["20_reads"], run="made", say=lambda text: None)
    executed = json.loads((tmp_path / "outputs" / "made" / "20_reads" / "notebook.ipynb").read_text())
    assert "".join(executed["cells"][-1]["outputs"][0]["text"]) == "found\n"
