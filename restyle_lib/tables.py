"""Small tables that notebooks display: aligned text in a terminal, HTML where there is a page."""
import html
from typing import NamedTuple

from . import profiles, workbook

LEFT, RIGHT = "style='text-align:left'", "style='text-align:right'"


class Link(NamedTuple):
    """A cell that leads to a file beside the notebook."""
    text: str
    target: str

    def __str__(self):
        return self.text


class Table(list):
    """Rows: dicts with the same keys, which are the columns' titles. Numbers stand on the right."""

    def __repr__(self):
        cells = [list(self[0]), *([_text(v) for v in row.values()] for row in self)] if self else []
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        padded = ((c.ljust(w) for c, w in zip(line, widths, strict=True)) for line in cells)
        return "\n".join("  ".join(line).rstrip() for line in padded)

    def _repr_html_(self):
        head = "".join(f"<th {LEFT}>{html.escape(k)}</th>" for k in (self[0] if self else ()))
        body = "".join(f"<tr>{''.join(map(_cell, row.values()))}</tr>\n" for row in self)
        return f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table>"


def _text(value):
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("\n", "; ")


def _cell(value):
    if isinstance(value, Link):
        target = html.escape(value.target, quote=True)
        return f"<td {LEFT}><a href='{target}'>{html.escape(value.text)}</a></td>"
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    lines = map(html.escape, [_text(value)] if value is None or number else str(value).split("\n"))
    return f"<td {RIGHT if number else LEFT}>{'<br>'.join(lines)}</td>"


def workbook_map():
    """A row for each notebook there is: its link, its claim, its seconds where they were measured."""
    rows = Table()
    for name in workbook.notebooks():
        seconds = dict(zip(profiles.PROFILES, profiles.SECONDS.get(name, ()), strict=False))
        rows.append({"notebook": Link(name, f"{name}.ipynb"), "what it shows": workbook.title(name)[0],
                     **{f"{p}, s": seconds.get(p) for p in ("smoke", "quick", "gpu")}})
    return rows
