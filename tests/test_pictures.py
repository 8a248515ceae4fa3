"""Pictures written by several threads."""
import numpy as np
import pytest
import torch
from PIL import Image

from restyle_lib import pictures
from restyle_lib.pictures import Pictures


def picture(index):
    return np.full((4, 6, 3), index, np.uint8)


@pytest.mark.parametrize("device", ["cpu", "meta"])                      # meta stands for any other device
def test_all_are_there_when_the_context_is_left(tmp_path, device):
    with Pictures(torch.device(device)) as writer:
        for index in range(50):
            writer.add(tmp_path / f"{index}.png", picture(index))
            assert len(writer.waiting) <= 8 * writer.threads             # what is in memory is bounded
    for index in range(50):
        with Image.open(tmp_path / f"{index}.png") as opened:
            assert np.array_equal(np.asarray(opened), picture(index))
    assert len(list(tmp_path.iterdir())) == 50                           # nothing half-written


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_what_goes_wrong_in_a_thread_is_raised(tmp_path, device):
    with pytest.raises(FileNotFoundError), Pictures(torch.device(device)) as writer:
        writer.add(tmp_path / "nowhere" / "a.png", picture(1))


def test_an_error_inside_is_not_covered_by_another(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "write", lambda path, data: (_ for _ in ()).throw(OSError("covered")))
    with pytest.raises(ValueError, match="first"), Pictures(torch.device("meta")) as writer:
        writer.add(tmp_path / "a.png", picture(1))
        raise ValueError("first")
