"""Tables that notebooks display, the environment check, and the map of the workbook."""
import importlib
from importlib import metadata

import pytest

from restyle_lib import environment, tables, workbook


def test_a_table_reads_as_text_and_as_html():
    table = tables.Table([{"name": tables.Link("a <b>", "a.ipynb"), "value": 0.123456, "none": None},
                          {"name": "c", "value": 7, "none": True}])
    first, second, third = repr(table).splitlines()
    assert first.split() == ["name", "value", "none"] and third.split() == ["c", "7", "True"]
    assert "0.1235" in second
    assert "<a href='a.ipynb'>a &lt;b&gt;</a>" in table._repr_html_()
    assert repr(tables.Table()) == ""


def test_the_map_has_every_notebook_with_its_claim():
    rows = tables.workbook_map()
    assert [str(row["notebook"]) for row in rows] == workbook.notebooks()
    assert all((workbook.folder() / row["notebook"].target).is_file() for row in rows)
    assert all(row["what it shows"] for row in rows)


@pytest.mark.parametrize("torch, torchvision", [("2.4.0", "0.19"), ("2.12.1+cpu", "0.27"), ("3.0.0", "")])
def test_the_torchvision_that_goes_with_a_torch(torch, torchvision):
    assert environment.partner(torch) == torchvision


def test_a_foreign_torchvision_is_named_with_its_remedy(monkeypatch):
    real = importlib.import_module("builtins").__import__

    def fail(name, *rest, **more):
        if name == "torchvision":
            raise RuntimeError("operator torchvision::nms does not exist")
        return real(name, *rest, **more)

    monkeypatch.setattr(metadata, "version", lambda name: "0.27.1")
    monkeypatch.setattr("builtins.__import__", fail)
    _, found, state, remedy = environment._pair("2.12.1+cpu")
    assert "nms" in found and state == environment.MISSING
    assert "torch==2.12.1 torchvision==0.27.*" in remedy


def test_what_is_missing_makes_a_machine_not_ready(monkeypatch):
    table = environment.check()
    assert [row["what"] for row in table][:3] == ["Python", "torch", "torchvision"]
    monkeypatch.setattr(environment, "LIBRARIES", ("no-such-library",))
    table = environment.check(device="cuda:99")
    states = {row["what"]: row for row in table}
    assert states["libraries"]["remedy"] == "pip install no-such-library"
    assert states["device"]["state"] == environment.MISSING and not environment.ready(table)
