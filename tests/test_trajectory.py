"""Trajectories on disk: plain arrays, checked, the same after a round trip."""
import numpy as np
import pytest
import tiny
import torch

from restyle_lib.errors import UserError
from restyle_lib.trajectory import Trajectory, merge


def same(a, b):
    for field in ("latents", "images", "step", "seconds", "stopped_at"):
        x, y = getattr(a, field), getattr(b, field)
        assert (x is None and y is None) or torch.equal(x, y), field
    assert (a.space, a.generator, a.names) == (b.space, b.generator, b.names)


def test_saved_loaded_and_rendered_again(tmp_path):
    inverter = tiny.inverter()
    trajectory = inverter(tiny.images(), steps=3, timed=True)
    trajectory.save(tmp_path / "a.npz")
    loaded = Trajectory.load(tmp_path / "a.npz")
    same(trajectory, loaded)
    assert loaded.noise == "const" and loaded.generator == inverter.fingerprint
    assert torch.equal(inverter.rerender(loaded), trajectory.images)
    assert inverter.rerender(loaded, full=True).shape == (4, 3, 3, 16, 16)


@pytest.mark.parametrize("noise", [7, "maps"])
def test_noise_travels_with_the_trajectory(tmp_path, noise):
    noise = tiny.generator().noise_maps(5) if noise == "maps" else noise
    inverter = tiny.inverter(noise=noise)
    trajectory = inverter(tiny.images(), steps=2)
    trajectory.save(tmp_path / "a.npz")
    again = tiny.inverter().rerender(Trajectory.load(tmp_path / "a.npz"))
    assert torch.equal(again, trajectory.images)
    assert not torch.equal(again, tiny.inverter()(tiny.images(), steps=2).images)


def test_latents_and_times_may_be_missing(tmp_path):
    images, step = torch.zeros(2, 3, 1, 4, 4), torch.tensor([0, 100])
    trajectory = Trajectory(images, step=step, space="w", names=("a", "b", "ç"))
    trajectory.save(tmp_path / "a.npz")
    same(trajectory, Trajectory.load(tmp_path / "a.npz"))
    with pytest.raises(UserError, match="holds no latents"):
        tiny.inverter().rerender(trajectory)


def test_another_generator_is_refused():
    trajectory = tiny.inverter()(tiny.images(), steps=1).replace(generator="0123456789abcdef")
    with pytest.raises(UserError, match="comes from generator 0123456789ab"):
        tiny.inverter().rerender(trajectory)


@pytest.mark.parametrize("change, message", [
    ({"latents": torch.zeros(3, 3, 6, 8)}, "latents is torch.float32"),
    ({"latents": torch.zeros(2, 3, 6, 8, dtype=torch.float64)}, "latents is torch.float64"),
    ({"stopped_at": torch.zeros(2, dtype=torch.int64)}, "stopped_at"),
    ({"seconds": torch.zeros(2, 3)}, "seconds is torch.float32"),
    ({"images": torch.zeros(2, 3, 4, 4)}, "images must have the shape"),
    ({"space": "z"}, "accepted: w, w+"),
    ({"names": ("a",)}, "3 images has 1 names")])
def test_shapes_and_types_are_checked(change, message):
    with pytest.raises(UserError, match=message):
        Trajectory(**({"images": torch.zeros(2, 3, 3, 4, 4)} | change))


def test_damaged_and_foreign_files_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    with pytest.raises(UserError, match="there is no such file"):
        Trajectory.load(path)
    tiny.inverter()(tiny.images(), steps=1).save(path)
    whole = path.read_bytes()
    for part in (b"", whole[:100], whole[:-200], b"text" * 50):
        path.write_bytes(part)
        with pytest.raises(UserError, match="not a readable trajectory"):
            Trajectory.load(path)
    np.savez(path, a=np.zeros(3))
    with pytest.raises(UserError, match="is not a trajectory: it holds a"):
        Trajectory.load(path)
    np.savez(path, restyle_trajectory=np.array(1), images=np.zeros((2, 1, 3, 4, 4), np.float32))
    with pytest.raises(UserError, match="incomplete"):
        Trajectory.load(path)


def test_pickles_are_never_opened(tmp_path):
    np.save(tmp_path / "a.npz", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (tmp_path / "a.npz.npy").rename(tmp_path / "a.npz")
    with pytest.raises(UserError, match="not a readable trajectory"):
        Trajectory.load(tmp_path / "a.npz")


def test_merging_is_joining_along_the_batch(tmp_path):
    whole = tiny.inverter()(tiny.images(5), steps=2, timed=True).replace(names=tuple("abcde"))
    for b in range(5):
        one = slice(b, b + 1)
        part = whole.replace(latents=whole.latents[:, one], images=whole.images[:, one],
                             names=whole.names[one], seconds=whole.seconds[:, one],
                             stopped_at=whole.stopped_at[one])
        part.save(tmp_path / f"{b}.npz")
    merge([tmp_path / f"{b}.npz" for b in range(5)], tmp_path / "all.npz")
    same(Trajectory.load(tmp_path / "all.npz"), whole)
    whole.replace(generator="other").save(tmp_path / "9.npz")
    with pytest.raises(UserError, match="cannot be joined"):
        merge([tmp_path / "0.npz", tmp_path / "9.npz"], tmp_path / "bad.npz")
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".") or p.name == "bad.npz"]
