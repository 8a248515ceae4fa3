"""The same scenes in two styles, and what a reader can tell in each: refused where it is not known."""
import pytest
import tiny
import torch

from restyle_lib import scenes, weights
from restyle_lib.errors import UserError

SPECS = [{"name": "yaw", "kind": "real", "low": -45, "high": 45}, {"name": "glasses", "kind": "binary"},
         {"name": "hair_style", "kind": "category", "classes": 4}, {"name": "smile", "kind": "real"}]
NAMES = [spec["name"] for spec in SPECS]


def test_every_scene_has_its_partner():
    found = scenes.scenes("avatars", "toons", count=3)
    assert list(found.styles) == ["avatars", "toons"] and found.world == "rendered" and len(found.names) == 3
    assert found.images.shape == found.drawn.shape == (3, 3, 64, 64)
    assert found.truth["yaw"].shape == (3,)
    flat = [x.mean(1).flatten(1) - x.mean((1, 2, 3))[:, None] for x in (found.images, found.drawn)]
    alike = torch.nn.functional.cosine_similarity(flat[0][:, None], flat[1][None], dim=2)
    assert alike.argmax(1).tolist() == [0, 1, 2], "the toon of a scene is most like its own avatar"
    assert scenes.scenes("avatars", count=1).drawn is None


def test_a_dataset_of_other_scenes_is_refused():
    with pytest.raises(UserError, match="minicars does not hold the scenes of avatars"):
        scenes.scenes("avatars", "minicars", count=2)


class Reader:
    """Reads brightness as the truth of everything, well in one style and not in the other."""
    attributes = SPECS

    def __call__(self, images):
        value = images.mean((1, 2, 3))
        classes = torch.nn.functional.one_hot((value.round().long() % 4), 4).float()
        return {"yaw": value, "glasses": (value > 2).float(), "hair_style": classes, "smile": value}


def test_what_cannot_be_read_in_both_styles_is_left_out():
    numbers = torch.arange(8.0)
    truth = {"yaw": numbers.numpy(), "glasses": (numbers > 2).numpy(), "hair_style": numbers.numpy() % 4,
             "smile": numbers.numpy()[::-1]}
    images = numbers.view(-1, 1, 1, 1).expand(-1, 3, 2, 2)
    found = scenes.Scenes({"plain": images, "other": images.flip(0)}, truth, list("abcdefgh"), "rendered")
    agreed = scenes.agreements(Reader(), found)
    assert scenes.readable(agreed, SPECS, NAMES) == []          # each style fails where the other does not
    alike = scenes.Scenes({"plain": images, "other": images}, truth, found.names, "rendered")
    agreed = scenes.agreements(Reader(), alike)
    assert scenes.readable(agreed, SPECS, NAMES) == ["yaw", "glasses", "hair_style"]
    rows = scenes.error_rows(agreed, SPECS, NAMES)
    assert [row["read in both"] for row in rows] == [True, True, True, False]
    assert rows[0]["plain"] == "r 1.00, off by 0" and rows[2]["plain"] == "right 100%, chance 25%"
    alone = {"plain": agreed["plain"]}
    assert scenes.readable(alone, SPECS, NAMES) == [], "of the other style nothing is known"
    unknown = scenes.Scenes({"plain": images}, {}, found.names, "photographs")
    assert scenes.agreements(Reader(), unknown) == {} and not scenes.error_rows({}, SPECS, NAMES)


def test_the_judge_reads_first_and_a_second_reader_was_trained_apart(monkeypatch):
    there = {"a/judge": "judge", "a/reader": "reader"}

    def load(name, kind, device):
        if name not in there:
            raise UserError(name)
        return there[name]
    monkeypatch.setattr(weights, "load_network", load)
    both = tiny.domain(networks={"attributes": "a/reader", "judge_attributes": "a/judge"})
    assert (weights.load_reader(both), weights.load_other_reader(both)) == ("judge", "reader")
    assert weights.load_other_reader(tiny.domain(networks={"attributes": "a/reader"})) is None
    del there["a/judge"]                     # then the reader is the first one, and there is no second
    assert weights.load_reader(both) == "reader" and weights.load_other_reader(both) is None
    there.clear()
    with pytest.raises(UserError, match="train features attributes"):
        weights.load_reader(both)
