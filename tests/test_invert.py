"""The `invert` command's engine: what it writes, what it skips, what it keeps, how little memory it needs."""
import csv
import dataclasses
import gc
import tracemalloc
import zipfile

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

import restyle_lib.invert as module
from restyle_lib import journal, pictures
from restyle_lib.errors import UserError
from restyle_lib.inverter import Inverter
from restyle_lib.invert import invert, strip
from restyle_lib.pixels import to_pixels
from restyle_lib.trajectory import Trajectory

RANDOM = np.random.default_rng(0)


def picture(path, size=(20, 16), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RANDOM.integers(0, 256, (*size, 3), dtype=np.uint8)).convert(mode).save(path)


@pytest.fixture
def photos(tmp_path):
    for name in ("a.png", "b.jpg", "deep/er/c.webp"):
        picture(tmp_path / "photos" / name)
    (tmp_path / "photos" / "notes.txt").write_text("hello")
    return tmp_path / "photos"


def run(paths, out, inverter=None, **options):
    paths = paths if isinstance(paths, list) else [paths]
    return invert(paths, inverter or tiny.inverter(), out, **({"steps": 2, "progress": False} | options))


def table(out):
    with open(out / "metrics.csv", newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_everything_is_written_where_it_belongs(photos, tmp_path):
    out, inverter = tmp_path / "out", tiny.inverter()
    summary = run(photos, out, inverter, save=["strip", "steps", "latents", "final"])
    assert (summary.finished, summary.kept, summary.passed_over, summary.bad) == (3, 0, 1, [])
    assert list(summary.lines())[1] == "1 files without an image suffix passed over"
    summary.check()
    names = ["a.png", "b.jpg", "deep/er/c.webp"]
    rows = table(out)
    assert list(rows[0]) == ["image", "step", "l2", "perceptual", "identity", "seconds"]
    assert [(row["image"], row["step"]) for row in rows] == [(name, t) for name in names for t in "012"]
    for name in names:
        trajectory = Trajectory.load(out / name / "trajectory.npz")
        assert trajectory.names == (name,) and trajectory.images.shape == (3, 1, 3, 8, 8)
        for t in range(3):
            drawn = np.asarray(Image.open(out / name / f"step_{t}.png")).astype(int)
            assert drawn.shape == (16, 16, 3)
            assert np.abs(drawn - to_pixels(inverter.render(trajectory.latents[t]))[0]).max() <= 1
        assert (out / name / "final.png").read_bytes() == (out / name / "step_2.png").read_bytes()
        mine = [row for row in rows if row["image"] == name]
        assert [row["perceptual"] + row["identity"] for row in mine] == [""] * 3
        seconds = [float(row["seconds"]) for row in mine]
        assert seconds == sorted(seconds)
    assert not list(out.rglob("*.part"))


def test_numbers_are_those_of_the_loop(photos, tmp_path):
    from restyle_lib.data import load_images
    inverter = tiny.inverter()
    run(photos, tmp_path / "out", inverter, batch=2)
    images = load_images(photos, inverter.domain)
    expected = (inverter(images, steps=2).images - images).square().mean((2, 3, 4)).T.flatten()
    assert np.allclose([float(row["l2"]) for row in table(tmp_path / "out")], expected, atol=1e-5)


def test_the_strip_shows_the_input_apart_then_start_to_end():
    image, frames = tiny.images(1)[0], tiny.images(3, seed=5)
    out = strip(image, frames)
    scale = 192 // 8
    assert out.shape == (192, 4 * 192 + 16 + 3 * 4, 3)
    assert np.array_equal(out[::scale, :192:scale], to_pixels(image[None])[0])
    assert np.array_equal(out[::scale, -192::scale], to_pixels(frames[-1:])[0])
    assert (out[:, 192:212] == 255).all()


@pytest.mark.parametrize("save, files", [
    ("strip", {"strip.png"}), ("latents", {"trajectory.npz"}), ("final", {"final.png"}),
    ("steps", {"step_0.png", "step_1.png", "step_2.png"})])
def test_only_what_is_asked_for_is_saved(photos, tmp_path, save, files):
    run(photos, tmp_path / "out", save=save)
    assert {path.name for path in (tmp_path / "out/a.png").iterdir()} == files


def test_bad_images_are_named_skipped_and_make_it_fail_at_the_end(photos, tmp_path, capsys):
    (photos / "empty.png").write_bytes(b"")
    (photos / "text.png").write_text("no image")
    (photos / "cut.jpg").write_bytes((photos / "b.jpg").read_bytes()[:300])
    picture(photos / "dot.png", (1, 1))
    summary = run(photos, tmp_path / "out")
    assert summary.finished == 3 and len(summary.bad) == 4
    err = capsys.readouterr().err
    for name in ("empty.png", "text.png", "cut.jpg", "dot.png"):
        assert f"skipped: {name} is" in err
    with pytest.raises(UserError, match="4 of 7 images were skipped: .*; all others are in .*out"):
        summary.check()
    assert {row["image"] for row in table(tmp_path / "out")} == {"a.png", "b.jpg", "deep/er/c.webp"}


def test_a_rerun_does_only_what_is_missing(photos, tmp_path):
    out = tmp_path / "out"
    run(photos, out)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    picture(photos / "new.png")
    picture(photos / "b.jpg")
    summary = run(photos, out)
    assert (summary.finished, summary.kept) == (2, 2)
    redone = {path.parent.name for path, time in times.items() if path.stat().st_mtime_ns != time}
    assert redone == {"b.jpg"}
    rows = table(out)
    assert len(rows) == 4 * 3 and len({(row["image"], row["step"]) for row in rows}) == 12


def test_an_interrupted_run_keeps_what_it_finished(photos, tmp_path, monkeypatch):
    out, inverter = tmp_path / "out", tiny.inverter()
    work, calls = module.Work.__call__, []

    def interrupted(self, names, images):
        calls.append(names)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return work(self, names, images)

    monkeypatch.setattr(module.Work, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(photos, out, inverter, batch=1)
    with open(out / "metrics.csv", "a", encoding="utf-8") as stream:
        stream.write("b.jpg,0,0.1")                          # a row cut in the middle
    summary = run(photos, out, inverter, batch=1)
    assert (summary.finished, summary.kept) == (2, 1) and calls[2:] == [("b.jpg",), ("deep/er/c.webp",)]
    assert len(table(out)) == 9


def test_results_of_other_settings_are_not_mixed(photos, tmp_path):
    run(photos, tmp_path / "out")
    with pytest.raises(UserError, match="holds results with steps 2, not 3; choose another folder"):
        run(photos, tmp_path / "out", steps=3)
    with pytest.raises(UserError, match="holds results with encoder .*, not .*; choose another folder"):
        run(photos, tmp_path / "out", tiny.inverter(single=True))


def test_early_stopped_images_repeat_their_last_step(photos, tmp_path):
    run(photos, tmp_path / "out", steps=4, tolerance=100.0)
    for name in ("a.png", "b.jpg"):
        steps = [(tmp_path / "out" / name / f"step_{t}.png").read_bytes() for t in range(5)]
        assert steps[1] == steps[2] == steps[4] != steps[0]


def test_starting_from_another_model(photos, tmp_path):
    first, second = tiny.inverter(single=True), tiny.inverter()
    run(photos, tmp_path / "out", second, start_from=first)
    from restyle_lib.data import load_images
    images = load_images(photos, first.domain)
    for b, name in enumerate(["a.png", "b.jpg", "deep/er/c.webp"]):
        trajectory = Trajectory.load(tmp_path / "out" / name / "trajectory.npz")
        assert torch.allclose(trajectory.latents[0, 0], first(images, steps=1).latents[1, b], atol=1e-5)
        shown = np.asarray(Image.open(tmp_path / "out" / name / "step_0.png")).astype(int)
        assert np.abs(shown - to_pixels(first.render(trajectory.latents[0]))[0]).max() <= 1
    with pytest.raises(UserError, match="one cannot start from the other"):
        run(photos, tmp_path / "two", second, start_from=tiny.inverter(encoder_size=(16, 16)))


def test_zips_and_folders_become_shards_above_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "SHARD", 4)
    for i in range(9):
        picture(tmp_path / "photos" / f"{i}.png")
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as file:
        for i in range(2):
            picture(tmp_path / "z.png")
            file.write(tmp_path / "z.png", f"in/{i}.png")
    out, inverter = tmp_path / "out", tiny.inverter()
    run([tmp_path / "photos", tmp_path / "more.zip"], out, inverter, batch=3)
    shards = [Trajectory.load(out / f"trajectories_{n:03d}.npz") for n in range(3)]
    names = [name for shard in shards for name in shard.names]
    assert names == [f"{i}.png" for i in range(9)] + ["in/0.png", "in/1.png"]
    assert [len(shard) for shard in shards] == [4, 4, 3] and not list(out.rglob("trajectory.npz"))
    drawn = to_pixels(inverter.render(shards[1].latents[-1]))
    shown = np.asarray(Image.open(out / names[4] / "step_2.png"))
    assert np.abs(drawn[0].astype(int) - shown).max() <= 1
    assert run([tmp_path / "photos", tmp_path / "more.zip"], out, inverter).kept == 11


def test_grey_domains_from_end_to_end(photos, tmp_path):
    picture(photos / "grey.png", mode="L")
    run(photos, tmp_path / "out", tiny.inverter(channels=1))
    with Image.open(tmp_path / "out/grey.png/strip.png") as shown:
        assert shown.mode == "L"


def test_networks_that_are_there_fill_their_columns(photos, tmp_path, monkeypatch):
    class Net(torch.nn.Module):
        def forward(self, images):
            return torch.nn.functional.normalize(images.flatten(1))

        def distance(self, a, b):
            return (a - b).abs().mean((1, 2, 3))

    monkeypatch.setattr(module, "find", lambda name, kind: name)
    monkeypatch.setattr(module, "load_network", lambda name, kind, device: Net())
    inverter = tiny.inverter()
    domain = dataclasses.replace(inverter.domain, networks={"identity": "i", "perceptual": "p"})
    run(photos, tmp_path / "out", Inverter(inverter.encoder, inverter.generator, domain))
    for row in table(tmp_path / "out"):
        assert float(row["perceptual"]) > 0 and -1 <= float(row["identity"]) <= 1


def test_wrong_wishes_are_refused(photos, tmp_path):
    with pytest.raises(UserError, match="unknown kind of output 'stips'; did you mean 'strip'"):
        run(photos, tmp_path / "out", save=["stips"])
    with pytest.raises(UserError, match="steps=0"):
        run(photos, tmp_path / "out", steps=0)
    with pytest.raises(UserError, match="photos is an input; write into another folder"):
        run(photos, photos)
    with pytest.raises(UserError, match="there is no file or folder"):
        run(tmp_path / "none", tmp_path / "out")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        run(photos, tmp_path / "file")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_ends_in_a_sentence(photos, tmp_path, monkeypatch):
    def full(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write", full)
    with pytest.raises(UserError, match="cannot write into .*: No space left on device; finished images are "
                                        "kept"):
        run(photos, tmp_path / "out")
    monkeypatch.setattr(pictures, "write", full)                         # in another thread
    with pytest.raises(UserError, match="No space left on device; finished images are kept"):
        run(photos, tmp_path / "steps", save=["steps"])


def test_an_output_folder_among_the_inputs_is_not_read(photos):
    run(photos, photos / "out")
    assert run(photos, photos / "out").kept == 3


def test_memory_does_not_grow_with_the_number_of_images(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "SHARD", 8)
    for i in range(48):
        picture(tmp_path / "photos" / f"{i}.bmp", (64, 64))
    work, held = module.Work.__call__, []

    def watched(self, names, images):
        rows = work(self, names, images)
        tensors = sum(t.nbytes for t in gc.get_objects() if type(t) is torch.Tensor)
        held.append((tensors, tracemalloc.get_traced_memory()[0]))
        return rows

    monkeypatch.setattr(module.Work, "__call__", watched)
    tracemalloc.start()
    run(tmp_path / "photos", tmp_path / "out", batch=4)
    tracemalloc.stop()
    (tensors, others), (tensors_then, others_then) = held[-1], held[3]
    assert tensors <= tensors_then and others < others_then + 32 * 3000      # names; a file has 12,000 bytes
