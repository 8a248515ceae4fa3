"""Every figure of the workbook. A function returns a matplotlib Figure that carries the rows behind it;
nothing is drawn on screen: `run.show(figure, name, alt, caption)` saves PNG (300 dpi), PDF, CSV and shows it.

Images are [N, C, H, W] in [-1, 1] (torch or numpy) or uint8 [N, H, W, C]; C is 1 or 3. Small images are
enlarged by whole factors without smoothing. In strips the input stands once, first, set apart; then the start
and the steps.
"""
import contextlib
import csv
import io
import textwrap

import numpy as np

from .errors import UserError
from .files import atomic

DPI = 300
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")  # Okabe and Ito's
MARKS = "osD^vP*X"
METHODS = {           # colour and mark in every figure; hybrids and naive re-feeding have their encoder's
    "ReStyle-pSp": (COLOURS[0], "o"), "ReStyle-e4e": (COLOURS[1], "s"),
    "pSp": (COLOURS[2], "D"), "e4e": (COLOURS[3], "^"),
    "IDInvert": (COLOURS[5], "v"), "IDInvert, encoder": (COLOURS[5], "P"),
    "pSp, single head": (COLOURS[4], "D"), "ReStyle, N = 1": (COLOURS[4], "o"),
    "pSp, equal images": (COLOURS[5], "D"),
    "optimisation in W": ("0.1", "*"), "optimisation in W+": ("0.5", "X"),
}
STYLE = {"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
         "grid.alpha": 0.25, "axes.titlesize": 9, "legend.frameon": False, "legend.fontsize": 7,
         "lines.linewidth": 1.6, "figure.dpi": DPI, "savefig.dpi": DPI, "mathtext.fontset": "stix",
         "pdf.fonttype": 42}


def look(label, index=0):
    """(colour, mark, line) of a method by its label; another label's are those of its index.

    A plan's length ("..., 200") does not count; hybrids ("... + optimisation") are dash-dotted and naive
    re-feeding is dotted, in their encoder's colour."""
    label = label.removesuffix(" (recorded)")
    family = label if label in METHODS else label.rpartition(",")[0] or label
    name, plus, _ = family.removeprefix("naive ").partition(" + ")
    shade, mark = METHODS.get(name, (COLOURS[index % len(COLOURS)], MARKS[index % len(MARKS)]))
    return shade, mark, "-." if plus else ":" if family.startswith("naive ") else "-"


@contextlib.contextmanager
def style():
    """The workbook's matplotlib settings, for the block only."""
    try:
        import matplotlib
    except ImportError:
        raise UserError("figures need matplotlib: pip install matplotlib") from None
    with matplotlib.rc_context(STYLE):
        yield


def new(width, height, rows, css_width=None):
    """A Figure of that many inches, with the rows of its CSV and its width on a page (CSS pixels)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    figure.rows, figure.css_width = rows, css_width or round(width * 110)
    return figure


def save(figure, stem, alt=""):
    """Writes stem.png, .pdf and .csv; returns (PNG bytes, width on a page in CSS pixels)."""
    png = io.BytesIO()
    with style():
        figure.savefig(png, format="png", metadata={"Description": alt, "Software": None})
        with atomic(stem.with_suffix(".pdf")) as stream:
            figure.savefig(stream, format="pdf", metadata={"CreationDate": None, "Subject": alt})
    with atomic(stem.with_suffix(".png")) as stream:
        stream.write(png.getvalue())
    with atomic(stem.with_suffix(".csv"), "w") as stream:
        names = list(dict.fromkeys(name for row in figure.rows for name in row))
        table = csv.DictWriter(stream, names, lineterminator="\n")
        table.writeheader()
        table.writerows(figure.rows)
    return png.getvalue(), figure.css_width


def array(values):
    """A numpy array of a tensor, an array or a list."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = values.float() if values.is_floating_point() else values
    return np.asarray(values)


def pixels(images):
    """Any accepted images as uint8 [N, H, W, 3]: values in [-1, 1] clipped and rounded, grey repeated."""
    images = array(images)
    images = images[None] if images.ndim == 3 else images
    if images.dtype != np.uint8 or images.shape[-1] not in (1, 3):
        images = images.transpose(0, 2, 3, 1)
    if images.dtype != np.uint8:
        images = np.clip(np.round((images.astype(np.float64) + 1) * 127.5), 0, 255).astype(np.uint8)
    return np.repeat(images, 3, -1) if images.shape[-1] == 1 else images


def colour(maps, low=None, high=None, cmap="magma"):
    """Maps [N, H, W] as colour images uint8 [N, H, W, 3], one scale for all (by default their own range)."""
    from matplotlib import colormaps

    maps = array(maps).astype(float)
    low, high = maps.min() if low is None else low, maps.max() if high is None else high
    scaled = np.clip((maps - low) / max(high - low, 1e-12), 0, 1)
    return (colormaps[cmap](scaled)[..., :3] * 255).round().astype(np.uint8)


def resize(image, size):
    """One uint8 image at (width, height): pixels repeated where the factor is whole, smoothed otherwise."""
    from PIL import Image

    whole = size[0] % image.shape[1] == 0 and size[1] % image.shape[0] == 0
    how = Image.Resampling.NEAREST if whole else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(image).resize(size, how))


def panels(cells, columns=(), rows=(), below=None, apart=(), data=None):
    """A table of images: cells[r][c] is uint8 [H, W, 3] or None; a title per column, a label per row.

    `below[r][c]` is a short text under a cell; a wider gap follows the columns in `apart`; `data`: the CSV.
    """
    height, width = max((i.shape[:2] for line in cells for i in line if i is not None), key=lambda s: s[1])
    count = max(map(len, cells))
    small = 4 if count <= 8 else 3
    factor = max(1, 288 // width) if width <= 384 else 384 / width
    factor = max(small, 160 // width) if width <= 80 else factor
    w, h = round(width * factor), round(height * factor)
    gap, wide, line = 12, 60, 40
    left = 24 + 16 * max(len(str(r)) for r in rows) if len(rows) else 8
    columns = ["\n".join(textwrap.fill(part, (w + gap) // 17, break_long_words=False)
                         for part in str(title).split("\n")) for title in columns]
    top, foot = 8 + line * max((str(c).count("\n") + 1 for c in columns), default=0), line if below else 0
    x = [left + c * (w + gap) + wide * sum(a < c for a in apart) for c in range(count)]
    wide, tall = x[-1] + w + 8, top + len(cells) * (h + gap + foot)
    if data is None:
        data = [{"row": rows[r] if len(rows) else r, "column": columns[c] if columns else c,
                 "text": below[r][c] if below else ""}
                for r, row in enumerate(cells) for c in range(len(row))]
    canvas = np.full((tall, wide, 3), 255, np.uint8)
    with style():
        figure = new(wide / DPI, tall / DPI, data, min(wide, 1100))

        def text(x, y, words, size, **where):
            figure.text(x / wide, 1 - y / tall, words, fontsize=size, **where)

        for c, title in enumerate(columns):
            text(x[c] + w / 2, top - 12, title, 7, ha="center", va="bottom")
        for r, row in enumerate(cells):
            y = top + r * (h + gap + foot)
            if len(rows):
                text(left - 16, y + h / 2, rows[r], 6.5, ha="right", va="center")
            for c, image in enumerate(row):
                if image is not None:
                    canvas[y:y + h, x[c]:x[c] + w] = resize(image, (w, h))
                if below and below[r][c]:
                    text(x[c] + w / 2, y + h + 6, below[r][c], 6, ha="center", va="top")
        _paste(figure, canvas)
    return figure


def _paste(figure, canvas):
    """uint8 [H, W, 3] behind everything, pixel for pixel (figimage alone would resample it, slowly)."""
    from matplotlib.transforms import IdentityTransform

    opaque = np.full((*canvas.shape[:2], 1), 255, np.uint8)
    drawn = np.concatenate([canvas, opaque], 2)[::-1].copy(), 0, 0, IdentityTransform()
    figure.figimage(canvas, zorder=-1).make_image = lambda *ignored, **too: drawn


def strip(images, frames, steps=None, values=None, measure="L2", labels=()):
    """Film strips, a row per image: input, start, step 1, 2, ... `frames` is a Trajectory or
    [T+1, B, C, H, W].

    `values` [T+1, B] (of `measure`) stand under the frames and in the CSV; a Trajectory brings its steps.
    """
    steps = [int(s) for s in (getattr(frames, "step", range(len(frames))) if steps is None else steps)]
    shown = [pixels(f) for f in getattr(frames, "images", frames)]
    size = shown[0].shape[2:0:-1]
    cells = [[resize(image, size), *(f[b] for f in shown)] for b, image in enumerate(pixels(images))]
    columns = ["input", *("start" if s == 0 else f"step {s}" for s in steps)]
    table = None if values is None else array(values)
    names = labels if len(labels) else range(len(cells))
    below, data = None, [{"image": names[b], "step": s} for b in range(len(cells)) for s in steps]
    if table is not None:
        below = [["", *(f"{measure} {v:.3f}" for v in table[:, b])] for b in range(len(cells))]
        data = [{**row, measure: value} for row, value in zip(data, table.T.ravel(), strict=True)]
    return panels(cells, columns, labels, below, apart=(0,), data=data)


def compare(groups, labels=(), apart=(0,)):
    """Images side by side, a column per entry of {title: images}; the first, the input, is set apart."""
    shown = {title: pixels(images) for title, images in groups.items()}
    return panels(list(zip(*shown.values(), strict=True)), list(shown), labels, apart=apart)


def grid(images, columns=8, labels=None):
    """A contact sheet, row by row; `labels` are short texts under the images."""
    shown = list(pixels(images))
    cuts = range(0, len(shown), columns)
    below = None if labels is None else [[str(t) for t in labels[i:i + columns]] for i in cuts]
    return panels([shown[i:i + columns] for i in cuts], below=below)


def curve(series, xlabel, ylabel, title="", x=None, bands=None, dashed=(), log=False):
    """Lines {label: y or (x, y)} with `bands` {label: (low, high)}; `dashed` labels were recorded before."""
    lines = {k: line if isinstance(line, tuple) else (range(len(line)) if x is None else x, line)
             for k, line in series.items()}
    lines, bands = {k: (array(xs), array(ys)) for k, (xs, ys) in lines.items()}, bands or {}
    ends = {k: {"low": bands[k][0], "high": bands[k][1]} if k in bands else {} for k in lines}
    data = [{"series": k, xlabel: xs[i], ylabel: ys[i], **{end: v[i] for end, v in ends[k].items()}}
            for k, (xs, ys) in lines.items() for i in range(len(xs))]
    with style():
        figure, axes = plot(xlabel, ylabel, title, data)
        for i, (k, (xs, ys)) in enumerate(lines.items()):
            shade, _, kind = look(k, i)
            axes.plot(xs, ys, "--" if k in dashed else kind, marker="o" if len(xs) <= 12 else "", ms=3,
                      color=shade, label=k)
            if k in bands:
                axes.fill_between(xs, *map(array, bands[k]), color=shade, alpha=0.15, lw=0)
        axes.set_yscale("log" if log else "linear")
        whole = all(xs.dtype.kind in "iu" for xs, _ in lines.values())
        axes.xaxis.get_major_locator().set_params(integer=whole)
        _legend(axes, lines)
    return figure


def histogram(samples, xlabel, title="", bins=30):
    """Outlined histograms {label: values} on common bins, each of area 1."""
    samples = {k: array(v).astype(float).ravel() for k, v in samples.items()}
    edges = np.histogram_bin_edges(np.concatenate(list(samples.values())), bins)
    heights = {k: np.histogram(v, edges, density=True)[0] for k, v in samples.items()}
    data = [{"series": k, "from": a, "to": b, "density": d} for k, row in heights.items()
            for a, b, d in zip(edges[:-1], edges[1:], row, strict=True)]
    with style():
        figure, axes = plot(xlabel, "density", title, data)
        for (k, row), shade in zip(heights.items(), COLOURS * 3, strict=False):
            axes.stairs(row, edges, color=shade, label=k, lw=1.6)
        _legend(axes, samples)
    return figure


def bars(values, ylabel, title="", intervals=None):
    """One bar per {label: number}, the value written above it; `intervals` are {label: (low, high)}."""
    heights = [float(v) for v in values.values()]
    ends = [(intervals or {}).get(k, (v, v)) for k, v in values.items()]
    data = [{"label": k, ylabel: v, "low": float(a), "high": float(b)}
            for k, v, (a, b) in zip(values, heights, ends, strict=True)]
    with style():
        figure, axes = plot("", ylabel, title, data)
        spread = [[v - float(a), float(b) - v] for v, (a, b) in zip(heights, ends, strict=True)]
        drawn = axes.bar(list(values), heights, yerr=np.transpose(spread) if intervals else None,
                         color=COLOURS[0], width=0.6, capsize=3)
        axes.bar_label(drawn, fmt="%.3g", fontsize=7, padding=2)
        axes.grid(axis="x", visible=False)
    return figure


def scatter(x, y, xlabel, ylabel, title="", diagonal=False):
    """Points, with the diagonal when both axes mean the same; correlation and count are in the title."""
    x, y = array(x).astype(float).ravel(), array(y).astype(float).ravel()
    r = np.corrcoef(x, y)[0, 1] if len(x) > 2 and x.std() > 0 and y.std() > 0 else np.nan
    data = [{xlabel: a, ylabel: b} for a, b in zip(x, y, strict=True)]
    with style():
        figure, axes = plot(xlabel, ylabel, f"{title} (r = {r:.2f}, n = {len(x)})".strip(), data)
        axes.scatter(x, y, s=8, alpha=0.5, color=COLOURS[0], lw=0)
        if diagonal:
            axes.axline((x.mean(), x.mean()), slope=1, color="0.5", lw=0.8, ls=":")
    return figure


def plot(xlabel, ylabel, title, data):
    """(figure, axes) of the size and look of every graph; call it inside `style()`."""
    figure = new(5.6, 3.4, data)
    axes = figure.add_axes((0.12, 0.14, 0.85, 0.76 if title else 0.82))
    axes.set(xlabel=xlabel, ylabel=ylabel, title=title)
    return figure, axes


def _legend(axes, series):
    if len(series) > 1:
        axes.legend()
