"""Licences: of every dependency, and of every published file, marked where it is offered."""
import tomllib

import pytest

from restyle_lib import licences, registry
from restyle_lib.__main__ import main
from restyle_lib.errors import UserError
from restyle_lib.files import ROOT


def test_every_dependency_is_listed_once_with_its_licence():
    rows = {row["package"].lower().replace("_", "-"): row for row in licences.packages()}
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert {line.split(">")[0] for line in wanted} <= rows.keys()
    assert {"jinja2", "requests"} <= rows.keys(), "those of dependencies too"
    assert all(row["version"] and row["licence"] for row in rows.values())
    assert "BSD" in rows["click"]["licence"] and "MIT" in rows["attrs"]["licence"]


def test_what_is_not_for_commercial_use_is_marked_where_it_is_offered(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("RESTYLE_CACHE", str(tmp_path))
    assert [row["file"] for row in licences.files()] == list(registry.files())
    main(["licences"])
    told = capsys.readouterr().out.splitlines()
    main(["weights", "list", "--published"])
    offered = capsys.readouterr().out
    for file in registry.files().values():
        line = next(line for line in told if line.startswith(f"{file.name} "))
        mark = {True: " yes ", False: " no ", None: " not stated "}[file.terms.commercial]
        assert mark in line and file.terms.licence in line
        assert f"{file.terms}\n" in offered
        assert ("[non-commercial]" in str(file.terms)) == (file.terms.commercial is False)
    assert main(["weights", "fetch", "restyle-psp-ffhq", "--offline"]) == 1
    assert "[non-commercial]" in capsys.readouterr().out
    with pytest.raises(UserError, match="non-commercial"):
        registry.find("restyle-psp-ffhq")
