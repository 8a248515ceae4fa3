"""Our own folders: what is written is what is read, and what was measured."""
import json

import pytest
import tiny
import torch
from torch import nn

from restyle_lib import weights
from restyle_lib.checkpoints import inspect, own
from restyle_lib.errors import UserError
from restyle_lib.models.stylegan2 import fingerprint


class Normed(nn.Module):
    """A network with batch norm, for its buffers."""

    def __init__(self, width=4):
        super().__init__()
        self.config = {"width": width}
        self.norm = nn.BatchNorm1d(width)
        self.layer = nn.Linear(width, 2)

    def forward(self, x):
        return self.layer(self.norm(x))


@pytest.fixture(autouse=True)
def kinds(monkeypatch):
    monkeypatch.setitem(own.KINDS, "encoder", "tiny:TinyEncoder")
    monkeypatch.setitem(own.KINDS, "identity", f"{__name__}:Normed")


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """An assets folder with a generator and an encoder trained on it."""
    monkeypatch.setattr(weights, "ASSETS", tmp_path)
    manifests = tmp_path / "manifests" / "domains"
    manifests.mkdir(parents=True)
    monkeypatch.setattr("restyle_lib.domains.MANIFESTS", manifests.parent)
    (manifests / "tiny.yaml").write_text(
        "{name: tiny, train: tiny, generator: tiny, resolution: 16, encoder_size: [8, 8]}")
    mark = own.save_model(tmp_path / "tiny/generator", tiny.generator(), "generator")["generator"]
    own.save_model(tmp_path / "tiny/restyle-psp", tiny.TinyEncoder(), "encoder", generator=mark, seed=3)
    return tmp_path


def test_a_generator_comes_back_as_it_was_measured(tmp_path):
    model = tiny.generator()
    rounded = own.halved(model)
    config = own.save_model(tmp_path / "g", model, "generator", seed=1, kid=0.25)
    loaded, read = own.load_model(tmp_path / "g", "generator")
    w = torch.randn(2, 8)
    assert torch.equal(loaded(w), rounded(w)) and not torch.equal(loaded(w), model(w))
    assert torch.equal(loaded.w_mean, model.w_mean)
    assert fingerprint(loaded) == config["generator"] == read["generator"]
    assert read["facts"] == {"seed": 1, "kid": 0.25} and read["kind"] == "generator"
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    own.save_model(tmp_path / "again", loaded, "generator")
    first, again = (tmp_path / folder / "model.safetensors" for folder in ("g", "again"))
    assert again.read_bytes() == first.read_bytes()


def test_buffers_of_batch_norm_keep_their_precision(tmp_path):
    model = Normed()
    model.train()(torch.randn(16, 4) / 3)
    own.save_model(tmp_path / "n", model, "identity")
    loaded, _ = own.load_model(tmp_path / "n")
    assert torch.equal(loaded.norm.running_mean, model.norm.running_mean)
    assert loaded.norm.num_batches_tracked == 1
    assert torch.equal(loaded.layer.weight, model.layer.weight.half().float())
    own.save_model(tmp_path / "exact", model, "identity", half=False)
    assert torch.equal(own.load_model(tmp_path / "exact")[0].layer.weight, model.layer.weight)


def test_values_that_fp16_cannot_hold_are_refused(tmp_path):
    for value in (1e6, float("nan"), float("inf")):
        model = Normed()
        model.layer.weight.data[0, 0] = value
        with pytest.raises(UserError, match="layer.weight holds values that cannot be saved"):
            own.save_model(tmp_path / "n", model, "identity")
    assert not (tmp_path / "n").exists()


def test_damaged_folders_are_refused(tmp_path):
    folder = tmp_path / "n"
    with pytest.raises(UserError, match="cannot read .*config.json"):
        own.load_model(folder)
    config = own.save_model(folder, Normed(), "identity")
    with pytest.raises(UserError, match="kind 'identity', not 'encoder'"):
        own.load_model(folder, "encoder")
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:-1])
    with pytest.raises(UserError, match="is damaged, copy it again"):
        own.load_model(folder)
    (folder / "model.safetensors").write_bytes(data)
    for wrong, message in [({"architecture": {"width": 5}}, "cannot be rebuilt: .*size mismatch"),
                           ({"architecture": {"depth": 5}}, "cannot be rebuilt: .*depth"),
                           ({"kind": "identiti"}, "did you mean 'identity'"), ]:
        (folder / "config.json").write_text(json.dumps(config | wrong))
        with pytest.raises(UserError, match=message):
            own.load_model(folder)
    for text, message in [("{", "not valid JSON"), ("[]", "lacks 'kind'"),
                          ('{"kind": "identity"}', "lacks 'architecture'")]:
        (folder / "config.json").write_text(text)
        with pytest.raises(UserError, match=message):
            own.load_model(folder)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match="cannot read .*model.safetensors"):
        own.load_model(folder)


def test_shipped_names_and_paths_load_the_same(saved):
    inverter = weights.load_inverter("tiny/restyle-psp")
    assert inverter.domain.name == "tiny"
    assert inverter.fingerprint == fingerprint(weights.load_generator("tiny"))
    folder = saved / "tiny"
    other = weights.load_inverter(folder / "restyle-psp", domain="tiny", generator=folder / "generator")
    images = tiny.images()
    assert torch.equal(inverter(images, steps=2).latents, other(images, steps=2).latents)
    with pytest.raises(UserError, match="did you mean 'tiny/restyle-psp'.* accepted: tiny/generator, "):
        weights.load_inverter("tiny/restyle-spp")
    with pytest.raises(UserError, match="no file or folder .*shipped: tiny/generator"):
        weights.load_generator("somewhere/else/model.pt")


def test_an_encoder_of_another_generator_is_refused(saved):
    own.save_model(saved / "other", tiny.generator(seed=5), "generator")
    with pytest.raises(UserError, match=r"trained with generator \w{12}, the one given is \w{12}"):
        weights.load_inverter("tiny/restyle-psp", generator=saved / "other")
    with pytest.raises(UserError, match="kind 'encoder', not 'generator'"):
        weights.load_generator(saved / "tiny/restyle-psp")


def test_files_are_told_apart_by_content(saved, tmp_path):
    path = tmp_path / "x"
    torch.save({"a": torch.zeros(2)}, path)
    assert inspect.kind_of(path) == "torch"
    torch.save({"a": torch.zeros(2)}, path, _use_new_zipfile_serialization=False)
    assert inspect.kind_of(path) == "torch"
    for data, kind in [(b"", "empty"), (b"\n<!DOCTYPE html>", "html"), (b'{"error": 403}', "json"),
                       (b"PK\x03\x04xx", "cut"), (b"\x89HDF", "hdf5"), (b"\x93NUMPY", "numpy"),
                       (b"\x1f\x8b\x08", "archive"), (b"hello", "unknown")]:
        path.write_bytes(data)
        assert inspect.kind_of(path) == kind
        with pytest.raises(UserError, match="expected a network of kind 'generator'"):
            weights.load_generator(path)
        assert inspect.describe(path) == [f"{path} is {inspect.NAMES[kind]}"]
    path.write_bytes(b"\x80\x03}q\x00.")
    assert inspect.kind_of(path) == "pickle"
    torch.save({"encoder.styles.0.convs.0.weight": torch.zeros(2), "decoder.a": torch.zeros(2)}, path)
    assert inspect.kind_of(path) == "torch"
    assert inspect.kind_of(saved / "tiny/generator") == "own"
    assert inspect.kind_of(saved / "tiny/generator/model.safetensors") == "safetensors"
    first, second, *_ = inspect.describe(saved / "tiny/generator")
    assert "a model folder of this library: generator, 0.0 MB" in first
    assert second.startswith("  generator: 16 x 16, 3 channels, 6 styles of 8, z of 8, 2 mapping layers; wid")
    with pytest.raises(UserError, match="No such file"):
        inspect.kind_of(tmp_path / "none")
