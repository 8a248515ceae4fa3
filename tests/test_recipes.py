"""The recipes of restyle_lib/README.md, each executed as it stands there."""
import re
from pathlib import Path

from restyle_lib.files import ROOT
from restyle_lib.models import encoders

PAGE = ROOT / "restyle_lib" / "README.md"


def blocks():
    """(language, text) of every fenced block, in order."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.S | re.M)


def test_every_recipe_works_as_printed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(encoders, "HEADS", dict(encoders.HEADS))
    executed, names = 0, {}
    for language, text in blocks():
        named = re.match(r"# (\S+\.(?:py|yaml))\n", text)
        if named:
            Path(named[1]).write_text(text, encoding="utf-8")
        elif language == "python":
            exec(compile(text, f"recipe {executed + 1}", "exec"), names)
            executed += 1
    page = PAGE.read_text(encoding="utf-8")
    assert len(re.findall(r"^\*\*An? \w+\*\*", page, re.M)) == 7 and executed >= 7


def test_the_map_names_files_that_exist():
    table = PAGE.read_text(encoding="utf-8").split("## Seven recipes")[0]
    named = re.findall(r"`((?:\w+/)*\w*\*?(?:\.py|/))`", table)
    assert len(named) > 20
    for name in named:
        here = name if (PAGE.parent / name).exists() or "*" in name else f"training/{name}"
        assert list(PAGE.parent.glob(here)), name
