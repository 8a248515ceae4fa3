"""Widgets in JupyterLab, in a real browser: Run All, a slider moved, the picture seen to change.

Screenshots are left in outputs/browser, which git ignores."""
import base64
import contextlib
import io
import tempfile
from pathlib import Path

import nbformat
import numpy as np
import pytest
from PIL import Image

import browser
from restyle_lib.files import ROOT

if browser.chromium() is None:
    pytest.skip("no Chromium: apt-get install chromium", allow_module_level=True)

NOTEBOOK, SHOTS = "03_refining_one_image", ROOT / "outputs" / "browser"
DESK = """\
from restyle_lib.directions import Direction
axes = torch.eye(generator.w_dim)[:2]
ways = [Direction(f"axis {i}", axis, unit=2.0, generator=inverter.fingerprint, meaning="coordinate +2")
        for i, axis in enumerate(axes)]
widgets.editing_desk(run, inverter, trajectory.latents[-1], ways, "desk")"""
IDLE = "document.querySelector('#jp-main-statusbar')?.innerText.includes('| Idle')"
DONE = "[...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].every(e => /\\d/.test(e.innerText))"
ERRORS = "[...document.querySelectorAll('[data-mime-type*=error], [data-mime-type*=stderr]')]"
HELPERS = """
window.named = (what, text) => [...document.querySelectorAll(what)].find(e => e.textContent.trim() === text);
window.part = (name, what) => [...document.querySelectorAll(".jupyter-widgets")].find(e =>
    e.querySelector(":scope > .widget-label")?.textContent.trim() === name)?.querySelector(what);
window.images = (name, what) => [...part(name, what).closest(".jp-OutputArea-output")
    .querySelectorAll("img")];
window.bytes = async image => {
    const blob = await (await fetch(image.src)).blob();
    return new Promise(done => Object.assign(new FileReader(), {onload: e => done(e.target.result)})
        .readAsDataURL(blob));
};
"""


@pytest.fixture(scope="module")
def page():
    """Notebook 03 in smoke, and a desk and an explorer on its networks, all cells run, in a browser."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=SHOTS, ignore_cleanup_errors=True)))
        notebook = nbformat.read(ROOT / "notebooks" / f"{NOTEBOOK}.ipynb", 4)
        notebook.cells += [nbformat.v4.new_code_cell(DESK),
                           nbformat.v4.new_code_cell("widgets.latent_explorer(run, generator, spec)")]
        nbformat.write(notebook, folder / f"{NOTEBOOK}.ipynb")
        (folder / "notes.png").write_text("not an image")
        address = stack.enter_context(browser.lab(folder, RESTYLE_OUTPUTS=str(folder / "outputs"),
                                                  RESTYLE_INTERACTIVE="1"))
        page = stack.enter_context(browser.page(folder))
        page.folder = folder
        page.call("Page.navigate", url=address(f"{NOTEBOOK}.ipynb"))
        page.click("document.querySelector('.jp-Notebook .jp-Cell')")     # only then its kernel's state shows
        page.until(IDLE)
        page.js(HELPERS)
        page.click("named('.lm-MenuBar-item', 'Run')")
        page.click("named('.lm-Menu-item .lm-Menu-itemLabel', 'Run All Cells')")
        page.until(f"{DONE} || {ERRORS}.length")
        assert not (errors := page.js(f"{ERRORS}.map(e => e.innerText).join('\\n')")), errors
        yield page


def picture(page, name, number, what=".noUi-handle"):
    """The pixels of a picture of the widget that has a slider (or a menu) of that name."""
    data = page.js(f"bytes(images({name!r}, {what!r})[{number}])")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2]))).convert("RGB"))


def arrow(page, name, key):
    page.js(f"part({name!r}, '.noUi-handle').focus()")
    page.key(key, {"ArrowLeft": 37, "ArrowRight": 39}[key])


def changed(page, name, number, before):
    """The picture, as soon as it is another one."""
    def differing():
        return [now] if not np.array_equal(now := picture(page, name, number), before) else []

    return browser.wait(differing, "another picture")[0]


@pytest.mark.parametrize(("slider", "number"), [("step", 1), ("axis 0", 1), ("truncation", 0)])
def test_a_slider_changes_the_picture_and_back(page, slider, number):
    page.until(f"part({slider!r}, '.noUi-handle')")
    before = picture(page, slider, number)
    arrow(page, slider, "ArrowRight")
    after = changed(page, slider, number, before)
    assert after.shape == before.shape and min(after.shape) > 1
    page.screenshot(SHOTS / f"{slider.replace(' ', '_')}.png")
    arrow(page, slider, "ArrowLeft")
    assert np.array_equal(changed(page, slider, number, after), before)


def test_the_bench_inverts_and_explains_an_upload_that_is_no_image(page):
    page.click("named('button', 'Invert')")
    page.until("document.body.innerText.includes('done after 5 steps')")
    assert picture(page, "tolerance", 0).std() > 0
    page.screenshot(SHOTS / "bench.png")
    page.choose("document.querySelector('button.widget-upload')", page.folder / "notes.png")
    page.until("part('image', 'select')?.textContent.includes('notes.png')")
    page.click("named('button', 'Invert')")
    page.until("document.body.innerText.includes('notes.png is not an image')")


def test_the_desk_saves_what_it_shows(page):
    page.click("named('button', 'Save')")
    page.until("document.body.innerText.includes('saved edit.png')")
    with np.load(page.folder / "desk" / "edit.npz") as saved:
        assert np.array_equal(saved["edited"], saved["inversion"])
