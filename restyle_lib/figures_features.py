"""Figures about feature networks: distances of known changes beside the changes, and read against true."""
import numpy as np

from .figures import COLOURS, DPI, _paste, array, new, pixels, resize, style

THUMB, ROW, LABEL, PLOT = 128, 140, 260, 1150                 # in pixels at 300 dpi


def changes(images, means, unit, shown=2):
    """A row per change: `shown` of its images, its name, and a dot per measure of its mean distance.

    images: {"original": ..., change: [n, C, H, W]}; means: {measure: {change: number}}. Distances are shares
    of the one of the change `unit`, where the dashed line is, on a logarithmic axis."""
    names = ["original", *(n for n in images if n != "original")]
    wide, tall = 20 + shown * ROW + LABEL + PLOT + 40, len(names) * ROW + 190
    data = [{"change": n, **{m: table[n] for m, table in means.items()}} for n in names[1:]]
    canvas = np.full((tall, wide, 3), 255, np.uint8)
    for r, name in enumerate(names):
        for c, image in enumerate(pixels(images[name][:shown])):
            image = resize(image, (THUMB, round(THUMB * image.shape[0] / image.shape[1])))
            top, left = 36 + r * ROW + (THUMB - image.shape[0]) // 2, 20 + c * ROW
            canvas[top:top + image.shape[0], left:left + THUMB] = image
    with style():
        figure = new(wide / DPI, tall / DPI, data, 900)
        _paste(figure, canvas)
        left = 20 + shown * ROW + LABEL
        axes = figure.add_axes((left / wide, 160 / tall, PLOT / wide, len(names) * ROW / tall))
        for (measure, table), colour, mark in zip(means.items(), COLOURS, "soD^v", strict=False):
            ys = [len(names) - 1 - names.index(n) for n in table]
            axes.plot([v / table[unit] for v in table.values()], ys, mark, color=colour, ms=4.5, alpha=0.85,
                      label=measure)
        axes.axvline(1, color="0.4", ls="--", lw=0.9)
        axes.set(xscale="log", ylim=(-0.5, len(names) - 0.5), xlabel=f"distance, 1 = '{unit}'")
        axes.set_yticks(range(len(names)), names[::-1], fontsize=8)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.tick_params(axis="y", length=0)
        axes.legend(loc="upper left", ncols=len(means), bbox_to_anchor=(0, 1), borderaxespad=0.2)
    return figure


def readings(sets, attributes, columns=4):
    """Read against true values, a row per entry of {title: (read, true)} and a column per attribute (a spec).

    read, true: {name: [N]}. The dotted line is where both are equal; r and n stand above each panel."""
    attributes, rows = list(attributes)[:columns], []
    with style():
        wide, tall = 0.75 + 1.75 * len(attributes), 0.35 + 1.85 * len(sets)
        figure = new(wide, tall, rows)
        for line, (title, (read, true)) in enumerate(sets.items()):
            for column, spec in enumerate(attributes):
                name, low, high = spec["name"], spec["low"], spec["high"]
                x, y = array(true[name]).astype(float), array(read[name]).astype(float)
                r = np.corrcoef(x, y)[0, 1] if len(x) > 2 and x.std() > 0 < y.std() else np.nan
                rows += [{"set": title, "attribute": name, "true": a, "read": b}
                         for a, b in zip(x, y, strict=True)]
                place = (0.72 + 1.75 * column, tall - 1.62 - 1.85 * line, 1.35, 1.35)
                axes = figure.add_axes((place[0] / wide, place[1] / tall, place[2] / wide, place[3] / tall))
                axes.scatter(x, y, s=5, alpha=0.5, lw=0, color=COLOURS[line])
                axes.plot([low, high], [low, high], color="0.2", lw=0.9, ls=":", zorder=3)
                axes.set_title(f"{name.replace('_', ' ')}: r = {r:.2f}", fontsize=7.5)
                axes.tick_params(labelsize=6)
                axes.set_ylabel(f"read on {title}" if column == 0 else "", fontsize=7)
                axes.set_xlabel("true" if line == len(sets) - 1 else "", fontsize=7)
    return figure
