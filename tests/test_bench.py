"""The bench: its cases run, agree with the twin, and say what they could not measure."""
import json

import pytest

from restyle_lib import bench
from restyle_lib.errors import UserError

TINY = dict(resolution=16, z_dim=8, w_dim=8, mapping_layers=2, channels={4: 8, 8: 8, 16: 8})


def test_every_case_writes_rows_with_the_same_columns(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(bench, "PUBLISHED", TINY)
    monkeypatch.setattr(bench, "EMBEDDED", TINY)
    rows = bench.run("all", 2, tmp_path / "bench.json", device="cpu")
    assert {row["case"] for row in rows} == set(bench.CASES)
    assert len({tuple(row) for row in rows}) == 1
    assert json.loads((tmp_path / "bench.json").read_text())["rows"] == rows
    assert "plain twin" in capsys.readouterr().out
    for row in rows:
        assert bool(row["note"]) == (row["seconds"] is None)
        if row["seconds"]:
            assert 0 < row["low"] <= row["seconds"] <= row["high"] and row["gflop"] > 0 and row["of_peak"] > 0
            if row["dtype"] == "float32" and row["difference"] is not None:
                assert row["difference"] < 1e-4


def test_wrong_cases_and_a_missing_twin_are_named(monkeypatch, tmp_path):
    with pytest.raises(UserError, match="did you mean 'embedded'"):
        bench.run("embeded", 1)
    monkeypatch.setattr(bench, "TWIN", tmp_path / "absent.py")
    with pytest.raises(UserError, match="full checkout"):
        bench.run("embedded", 1, device="cpu")
