"""The claims of the paper in one picture: how far each measured one is from its bound."""
import textwrap

import numpy as np

from .claims import FAILS, HOLDS, UNKNOWN
from .figures import COLOURS, new, style

LOOKS = {HOLDS: (COLOURS[0], "o"), FAILS: (COLOURS[1], "X"), UNKNOWN: ("0.55", "D")}
MOST, LINE, HEAD, FOOT = 100, 0.19, 0.4, 0.55             # end of the axis; inches
NOTE = ("Right of the line is where the claim holds, with its whole 95 % interval where the bound is zero. "
        "¹ Units: the bound itself; half the interval where the bound is zero; half the range where the "
        "bound is one; the value a step before where it has to fall or rise. Faint: other steps, attributes.")


def claims(rows, absent=()):
    """Figure of ledger.margins rows, from the top: a mark for each claim and part on its domain with the 95 %
    interval. Colour and mark both tell the verdict. absent: names of claims without one, told below."""
    notes = textwrap.wrap(NOTE, 230)
    notes += textwrap.wrap("Not measured: " + ", ".join(absent), 230) if absent else []
    body, foot, wide = LINE * max(3, len(rows)), FOOT + 0.13 * len(notes), 11.0
    height = HEAD + body + foot
    with style():
        figure = new(wide, height, [{k: v for k, v in row.items() if k != "all"} for row in rows], 1100)
        axes = figure.add_axes((0.44, foot / height, 0.27, body / height))
        axes.axvline(0, color="0.2", lw=0.9)
        axes.set_xscale("symlog", linthresh=1, linscale=1.4)
        axes.set(xlim=(-MOST, MOST), ylim=(max(3, len(rows)) - 0.5, -0.5), yticks=())
        axes.set_xlabel("distance from the bound, in units of the bound¹", fontsize=7, labelpad=1)
        ticks = (-100, -10, -1, 0, 1, 10, 100)
        axes.set_xticks(ticks, [f"{t}".replace("-", "−") for t in ticks], fontsize=7)
        axes.spines["left"].set_visible(False)
        for x, words in ((0.25, "against the claim"), (0.75, "for the claim")):
            axes.text(x, 1, words, transform=axes.transAxes, ha="center", va="bottom", fontsize=7.5)
        for y, row in enumerate(rows):
            _mark(axes, y, row)
            _words(axes, y, row, rows)
        for verdict in dict.fromkeys(row["verdict"] for row in rows):
            shade, mark = LOOKS[verdict]
            axes.plot([], [], mark, color=shade, ms=5, label=verdict)
        if rows:
            axes.legend(loc="lower center", bbox_to_anchor=(1.25, 1.0), ncols=3, borderpad=0)
        else:
            axes.text(0.5, 0.5, "nothing measured", transform=axes.transAxes, ha="center", fontsize=9,
                      bbox={"facecolor": "white", "lw": 0})
        figure.text(0.01, 0.05 / height, "\n".join(notes), fontsize=6.3, va="bottom", color="0.35")
    return figure


def _mark(axes, y, row):
    shade, mark = LOOKS[row["verdict"]]
    others = np.clip(row["all"][1:], -MOST, MOST)
    axes.plot(others, np.full(len(others), y), "|", color=shade, ms=5, alpha=0.5)
    ends = [value if np.isfinite(value) else row["margin"] for value in (row["low"], row["high"])]
    axes.plot(np.clip(ends, -MOST, MOST), [y, y], "-", color=shade, lw=1.2, solid_capstyle="butt")
    at = float(np.clip(row["margin"], -MOST, MOST))
    mark = mark if at == row["margin"] else ">" if at > 0 else "<"
    axes.plot([at], [y], mark, color=shade, ms=5.5, clip_on=False, mec="white", mew=0.4)


def _words(axes, y, row, rows):
    """What the paper says, once for each claim; the claim's name, part and domain; our numbers."""
    mine = [other for other in rows if other["claim"] == row["claim"]]
    name = row["claim"] + (f": {row['part']}" if len({o["part"] for o in mine}) > 1 else "")
    name += f" ({row['domain']})" if len({o["domain"] for o in rows}) > 1 else ""
    says = textwrap.shorten(f"{row['where']}  {row['says']}", 68, placeholder=" …") if row is mine[0] else ""
    for x, text, side, shade in ((-1.6, says, "left", "0.35"), (-0.02, name, "right", "0"),
                                 (1.03, textwrap.shorten(row["ours"], 64, placeholder=" …"), "left", "0.2")):
        axes.text(x, y, text, transform=axes.get_yaxis_transform(), ha=side, va="center", fontsize=6.5,
                  color=shade)
    if row is mine[0]:                                    # a line above every claim
        axes.plot([-1.6, 2.05], [y - 0.5] * 2, "-", transform=axes.get_yaxis_transform(), color="0.9", lw=0.6,
                  clip_on=False, zorder=-2)
