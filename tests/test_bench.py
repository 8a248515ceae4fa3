"""The bench: its cases run, agree with the twin, and say what they could not measure."""
import json

import pytest
import torch

from restyle_lib import bench, bench_cases
from restyle_lib.errors import UserError
from restyle_lib.models.encoders import Encoder

TINY = dict(resolution=16, z_dim=8, w_dim=8, mapping_layers=2, channels={4: 8, 8: 8, 16: 8})
ENCODER = dict(backbone="irse_small", input_size=(16, 16), head_channels=4, channels=(4, 8, 8, 8),
               depths=(1, 1, 1))


@pytest.fixture
def small(monkeypatch):
    for name in ("PUBLISHED", "EMBEDDED", "QUARTER"):
        monkeypatch.setattr(bench_cases, name, TINY)
    for name in ("PUBLISHED_ENCODER", "EMBEDDED_ENCODER"):
        monkeypatch.setattr(bench_cases, name, ENCODER)
    monkeypatch.setattr(bench_cases, "SIDE", 300)


def test_every_case_writes_rows_with_the_same_columns(small, tmp_path, capsys):
    rows = bench.run("all", 2, tmp_path / "bench.json", device="cpu")
    assert {row["case"] for row in rows} == set(bench_cases.CASES)
    assert len({tuple(row) for row in rows}) == 1
    assert json.loads((tmp_path / "bench.json").read_text())["rows"] == rows
    assert "plain twin" in capsys.readouterr().out
    compared = 0
    for row in rows:
        assert bool(row["note"]) == (row["seconds"] is None)
        if row["seconds"]:
            assert 0 < row["low"] <= row["seconds"] <= row["high"] and row["first_call"] > 0
            assert row["case"] == "data" or row["gflop"] > 0 and row["of_peak"] > 0
            if row["dtype"] == "float32" and row["difference"] is not None:
                compared += 1
                assert row["difference"] < (1e-3 if "training" in row["case"] else 1e-4)
    assert compared >= 7
    bench.run("encoder", 1, device="cpu", batch=3, compare=tmp_path / "bench.json")
    told = capsys.readouterr().out
    assert "not measured before" in told, "another batch is another measurement"
    bench.run("encoder", 1, device="cpu", compare=tmp_path / "bench.json")
    assert "%" in capsys.readouterr().out


@pytest.mark.parametrize("settings", [{"head": "pyramid"}, {"progressive": True}])
def test_the_plain_encoder_is_every_encoder(settings):
    torch.manual_seed(0)
    network = Encoder(**ENCODER | settings | dict(n_styles=9, w_dim=6)).eval()
    x = torch.rand(2, 6, 16, 16) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(bench_cases._twin("inversion").encode(network, x), network(x),
                                   rtol=1e-4, atol=1e-5)


def test_wrong_cases_files_and_a_missing_twin_are_named(monkeypatch, tmp_path):
    with pytest.raises(UserError, match="did you mean 'encoder'"):
        bench.run("encodr", 1)
    with pytest.raises(UserError, match="is no result of bench"):
        bench.run("encoder", 1, compare=tmp_path / "none.json")
    monkeypatch.setattr(bench_cases, "TWINS", tmp_path)
    bench_cases._twin.cache_clear()
    with pytest.raises(UserError, match="full checkout"):
        bench.run("embedded-generator", 1, device="cpu")
    bench_cases._twin.cache_clear()
