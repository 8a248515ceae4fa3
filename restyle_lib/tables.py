"""Small tables that notebooks display: aligned text in a terminal, HTML where there is a page."""
import html
from typing import NamedTuple

from . import profiles, workbook


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
        return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in cells)

    def _repr_html_(self):
        head = "".join(f"<th style='text-align:left'>{html.escape(k)}</th>" for k in (self[0] if self else ()))
        body = "".join(f"<tr>{''.join(map(_cell, row.values()))}</tr>\n" for row in self)
        return f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table>"


def _text(value):
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _cell(value):
    if isinstance(value, Link):
        return f"<td style='text-align:left'><a href='{html.escape(value.target, quote=True)}'>{html.escape(value.text)}</a></td>"
    side = "right" if isinstance(value, (int, float)) and not isinstance(value, bool) else "left"
    return f"<td style='text-align:{side}'>{html.escape(_text(value))}</td>"


def workbook_map():
    """A row for each notebook there is: its link, its claim, and the seconds it takes in each measured profile."""
    seconds = {name: profiles.SECONDS.get(name, ()) for name in workbook.notebooks()}
    measured = [i for i in range(len(profiles.PROFILES)) if any(s[i:i + 1] not in ((), (None,)) for s in seconds.values())]
    return Table({"notebook": Link(name, f"{name}.ipynb"), "what it shows": workbook.title(name)[0],
                  **{f"{list(profiles.PROFILES)[i]}, s": (*times, *[None] * 4)[i] for i in measured}}
                 for name, times in seconds.items())
