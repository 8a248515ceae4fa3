"""Figures of what refinement changes (Figures 6, 7, 14), of settling styles (15) and of encoders (3, 13)."""
import math

import numpy as np

from .analysis import ENDS, groups
from .figures import COLOURS, array, colour, new, panels, pixels, style
from .figures_loop import COOL, QUIET, WARM, _arrow, _patch
from .metrics import missed

HEAT = "RdYlBu_r"                                         # blue: little change, red: much (Appendix B)
CELL, GAP, ASIDE = 1.0, 0.07, 0.18                        # of a picture and the space between, in its widths


def focus(maps, average, outlines=None, steps=None, joint=False):
    """Mean squared change of each step as a map from blue to red: maps [T, H, W] beside the `average` image
    [C, H, W]; outlines: mean masks {region: [H, W]}.

    Each step on its own scale (Figure 6), or all on one (joint, Figure 7); the means stand below."""
    maps = array(maps).astype(float)
    steps = range(1, len(maps) + 1) if steps is None else steps
    heat = colour(maps, cmap=HEAT) if joint else [colour(m[None], cmap=HEAT)[0] for m in maps]
    rows = [{"step": int(t), "mean squared change": m.mean(), "least": m.min(), "most": m.max()}
            for t, m in zip(steps, maps, strict=True)]
    below = [["", *(f"mean {row['mean squared change']:.2g}" for row in rows)]]
    return outlined([[pixels(average)[0], *heat]], ["average image", *(f"step {t}" for t in steps)],
                    outlines=[[outlines] * (len(maps) + 1)], below=below, data=rows)


def focus_each(images, frames, maps, masks=None, labels=()):
    """Figure 14: outputs and changes image by image, each change on its own scale: images [n, C, H, W],
    frames [T+1, n, C, H, W], maps [T, n, H, W], masks {region: [n, H, W]}. Two rows for each image."""
    inputs, shown, maps = pixels(images), [pixels(frame) for frame in frames], array(maps).astype(float)
    cells, lines, rows, data = [], [], [], []
    for i, image in enumerate(inputs):
        own = {region: array(mask)[i] for region, mask in (masks or {}).items()}
        heat = [colour(m[None], cmap=HEAT)[0] for m in maps[:, i]]
        cells += [[image, *(frame[i] for frame in shown)], [None, None, *heat]]
        lines += [[own] + [None] * len(shown), [None, None] + [own] * len(heat)]
        rows += [labels[i] if len(labels) else "", "change"]
        data += [{"image": labels[i] if len(labels) else i, "step": t, "mean squared change": m.mean()}
                 for t, m in enumerate(maps[:, i], 1)]
    columns = ["input", "start", *(f"step {t}" for t in range(1, len(maps) + 1))]
    return outlined(cells, columns, rows, lines, data=data)


def outlined(cells, columns, rows=(), outlines=None, below=None, data=(), apart=(0,)):
    """A table of pictures, cells[r][c] uint8 [H, W, 3] or None, with contours of the masks {region: [H, W]}
    of outlines[r][c]: coloured in the first column, black elsewhere. The rest is as in `figures.panels`."""
    shape = next(cell.shape for line in cells for cell in line if cell is not None)
    tall, foot = CELL * shape[0] / shape[1], 0.15 if below else 0.0
    left = 0.06 * max((len(str(row)) for row in rows), default=0) + 0.05
    x = [left + c * (CELL + GAP) + ASIDE * sum(a < c for a in apart) for c in range(len(columns))]
    y = [0.26 + r * (tall + GAP + foot) for r in range(len(cells))]
    wide, high = x[-1] + CELL + 0.05, y[-1] + tall + foot + 0.22
    scale = min(1.25, max(0.62, 9.0 / wide))
    regions = list(dict.fromkeys(name for line in outlines or () for masks in line
                                 for name, mask in (masks or {}).items() if _drawable(array(mask))))
    with style():
        figure = new(wide * scale, high * scale, list(data), min(1100, round(wide * scale * 110)))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.axis("off")
        for r, line in enumerate(cells):
            for c, image in enumerate(line):
                if image is not None:
                    axes.imshow(image, extent=(x[c], x[c] + CELL, y[r] + tall, y[r]), interpolation="nearest")
                for name, mask in ((outlines and outlines[r][c]) or {}).items():
                    if _drawable(array(mask)):
                        _contour(axes, array(mask), x[c], y[r], tall,
                                 COLOURS[regions.index(name) % len(COLOURS)] if c == 0 else "black")
                if below and below[r][c]:
                    axes.text(x[c] + CELL / 2, y[r] + tall + 0.05, below[r][c], ha="center", va="top",
                              fontsize=6)
            if len(rows):
                axes.text(left - 0.05, y[r] + tall / 2, rows[r], ha="right", va="center", fontsize=6)
        for place, title in zip(x, columns, strict=True):
            axes.text(place + CELL / 2, 0.2, title, ha="center", va="bottom", fontsize=7)
        _legend(axes, regions, left, wide, high - 0.1)
        axes.set(xlim=(0, wide), ylim=(high, 0), aspect="auto")
    return figure


def _drawable(mask):
    """Whether a mask has an outline: it is neither empty nor full."""
    return mask.max() > 0.02 and mask.min() < mask.max() / 2


def _contour(axes, mask, x, y, tall, shade):
    """The line where a mask is half of its largest value."""
    height, width = mask.shape
    across = x + CELL * (np.arange(width) + 0.5) / width
    down = y + tall * (np.arange(height) + 0.5) / height
    axes.contour(across, down, mask, levels=[mask.max() / 2], colors=[shade], linewidths=0.7)


def _legend(axes, regions, left, wide, y):
    """The outlines' names on the left, the scale of the changes on the right."""
    x = left
    for i, name in enumerate(regions):
        axes.plot([x, x + 0.12], [y, y], color=COLOURS[i % len(COLOURS)], lw=1.2)
        axes.text(x + 0.15, y, name, va="center", fontsize=5.5)
        x += 0.22 + 0.04 * len(name)
    if wide - x > 1.2:
        bar = colour(np.linspace(0, 1, 64)[None, None], cmap=HEAT)[0]
        axes.imshow(bar, extent=(wide - 0.75, wide - 0.3, y + 0.03, y - 0.03))
        axes.text(wide - 0.78, y, "least", ha="right", va="center", fontsize=5.5)
        axes.text(wide - 0.27, y, "most", ha="left", va="center", fontsize=5.5)


def input_check(check, names, shown=3):
    """A row for each image of an InputCheck: as the network sees it, as it is drawn, what is missed (the mean
    difference of the channels, dark 0, bright half the range), and images of the domain as the network sees
    them; below, error / limit of each measure."""
    x, y = pixels(check.images), pixels(check.trajectory.images[-1])
    away = colour(missed(check.images.cpu(), check.trajectory.images[-1].cpu()), 0, 1)
    others, blank = pixels(check.reference), [""] * (1 + shown)
    cells = [[*row, *others[i * shown % len(others):][:shown]]
             for i, row in enumerate(zip(x, y, away, strict=True))]
    data = [{"image": names[i], "measure": n, "error": v[i], "limit": check.limits[n],
             "usual": check.usual[n]} for i in range(len(x)) for n, v in check.errors.items()]
    told = [f"{row['measure']} {row['error']:.3f} / {row['limit']:.3f}" for row in data]
    per = len(check.errors)
    below = [["", *told[i * per:][:per], *blank][:len(row)] for i, row in enumerate(cells)]
    return panels(cells, ["input", "drawn", "missed", *["of the domain"] * shown], names, below, (0, 2), data)


def style_map(changes, ends=ENDS, title=""):
    """v(l, t) of every style, coarse at the top, and every step: changes [T, k]; colours are logarithmic."""
    from matplotlib.colors import LogNorm

    v = array(changes).astype(float).T                                                  # [k, T]
    rows = [{"style": i, "step": t, "v": value} for i, row in enumerate(v) for t, value in enumerate(row, 1)]
    positive = v[v > 0]
    low, high = (positive.min(), positive.max()) if len(positive) else (1e-12, 1.0)
    with style():
        figure = new(max(3.4, 1.4 + 0.3 * v.shape[1]), max(2.2, 0.9 + 0.19 * len(v)), rows)
        axes = figure.add_axes((0.16, 0.18, 0.66, 0.7))
        drawn = axes.imshow(v.clip(low), aspect="auto", cmap=HEAT, norm=LogNorm(low, max(high, 1.001 * low)),
                            extent=(0.5, v.shape[1] + 0.5, len(v) - 0.5, -0.5))
        for name, where in groups(len(v), ends).items():
            if where.start:
                axes.axhline(where.start - 0.5, color="black", lw=1)
            axes.text(-0.11, (where.start + where.stop) / 2 - 0.5, name, rotation=90, fontsize=6.5,
                      ha="center", va="center", transform=axes.get_yaxis_transform())
        axes.set(xlabel="step", title=title)
        axes.grid(visible=False)
        for axis in (axes.xaxis, axes.yaxis):
            axis.get_major_locator().set_params(integer=True)
        figure.colorbar(drawn, cax=figure.add_axes((0.85, 0.18, 0.03, 0.7))).set_label("v(l, t)", fontsize=7)
    return figure


def encoder(rows, channels, size, title=""):
    """Figures 3 and 13 from `heads.shapes` of an encoder that takes [channels, *size]: maps, their sums,
    heads and styles with the tensors' real shapes; heights go by the logarithm of the maps'."""
    maps = [row for row in rows if row["part"] in ("stem", "map")]
    laterals, heads = ([row for row in rows if row["part"] == part] for part in ("lateral", "heads"))
    high, top = 1.75 + 1.15 * (len(heads) - 1), 0.85
    with style():
        figure = new(9.4, high, [{k: str(v) for k, v in row.items()} for row in rows])
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, 9.4), ylim=(high, 0))
        axes.axis("off")
        axes.text(0.15, 0.14, title, fontsize=9, va="center")
        places = [0.65 + 1.15 * i for i in range(len(maps) + 1)]
        shapes = [[channels, *size], *(row["out"] for row in maps)]
        for x, shape, name in zip(places, shapes, ["input", *(row["name"] for row in maps)], strict=True):
            _box(axes, x, top, shape, name, COOL if name != "input" else "0.6")
        for before, after in zip(places, places[1:], strict=False):
            _arrow(axes, [(before + 0.28, top), (after - 0.28, top)])
        for i, head in enumerate(heads):
            y, x = top + 1.15 * i, 6.35
            if i:
                _box(axes, x, y, laterals[i - 1]["out"], "sum", WARM)
                source = places[-1 - i]
                _arrow(axes, [(source, top + 0.5), (source, y), (x - 0.3, y)])
                axes.text(source + 0.08, y - 0.06, laterals[i - 1]["name"], fontsize=6, va="bottom")
                _arrow(axes, [(x, top if i == 1 else y - 0.7), (x, y - 0.48)], WARM)
                axes.text(x + 0.06, y - 0.6, "upsampled", fontsize=6, va="center", color=WARM)
                _arrow(axes, [(x + 0.28, y), (7.15, y)])
            else:
                _arrow(axes, [(places[-1] + 0.28, y), (7.15, y)])
            _heads(axes, head, y)
    return figure


def _box(axes, x, y, shape, name, shade):
    """A map [C, H, W], centred."""
    side = 0.1 + 0.085 * math.log2(shape[1] + 1)
    wide = 0.04 + 0.022 * math.log2(shape[0] + 1)
    half = side / 2
    corners = [(x - wide, y - half), (x + wide, y - half), (x + wide, y + half), (x - wide, y + half)]
    axes.add_patch(_patch(corners, fc=shade, ec=shade, alpha=0.3))
    axes.add_patch(_patch(corners, fc="none", ec=shade, lw=1.0))
    axes.text(x, y - half - 0.04, name, ha="center", va="bottom", fontsize=6.5)
    words = "×".join(map(str, shape))
    axes.text(x, y + half + 0.04, words, ha="center", va="top", fontsize=6, color=QUIET)


def _heads(axes, row, y):
    count, width = row["out"]
    box = {"boxstyle": "round,pad=0.35", "fc": "white", "ec": "0.2", "lw": 1.0}
    axes.text(7.55, y, f"{count} heads", ha="center", va="center", fontsize=7, bbox=box)
    _arrow(axes, [(7.95, y), (8.2, y)])
    axes.text(8.25, y, f"{row['name']}\n{count}×{width}", ha="left", va="center", fontsize=7)


def variants(lines, gaps, room=None):
    """An ablation: each variant's mean by step beside its paired difference to its reference.

    lines: {label: [T] from step 1 on}; gaps: {label: Interval or None (the reference)}, below zero is better;
    room: the spread of seeds, shaded: what lies inside shows nothing."""
    data = [{"variant": name, "step": t, "mean L2": float(v)} for name, line in lines.items()
            for t, v in enumerate(line, 1)]
    data += [{"variant": name, "difference": gap.estimate, "low": gap.low, "high": gap.high, "n": gap.count}
             for name, gap in gaps.items() if gap is not None]
    with style():
        figure = new(6.4, max(2.5, 0.9 + 0.3 * len(gaps)), data)
        left, right = figure.add_axes((0.11, 0.18, 0.34, 0.74)), figure.add_axes((0.66, 0.18, 0.31, 0.74))
        left.set(xlabel="step at inference", ylabel="mean L2 on [-1, 1]")
        right.set(xlabel="difference in L2, each at its N")
        left.xaxis.get_major_locator().set_params(integer=True)
        for i, (name, line) in enumerate(lines.items()):
            left.plot(range(1, len(line) + 1), line, "o-" if len(line) <= 12 else "-", ms=3,
                      color=COLOURS[i % len(COLOURS)], label=name)
        right.axvline(0, color="0.4", lw=0.9)
        if room is not None:
            right.axvspan(-room, room, color="0.85", lw=0, label="spread of seeds")
            right.legend(loc="lower right")
        for i, gap in enumerate(gaps.values()):
            if gap is not None:
                ends = [[gap.estimate - gap.low], [gap.high - gap.estimate]]
                right.errorbar([gap.estimate], [i], xerr=ends, fmt="o", ms=4, capsize=2, lw=1.1,
                               color=COLOURS[i % len(COLOURS)])
        names = [name if gap else f"{name} (reference)" for name, gap in gaps.items()]
        right.set_yticks(range(len(gaps)), names)
        right.set_ylim(len(gaps) - 0.4, -0.6)
        right.grid(axis="y", visible=False)
        for tick, i in zip(right.get_yticklabels(), range(len(gaps)), strict=True):
            tick.set_color(COLOURS[i % len(COLOURS)])
    return figure
