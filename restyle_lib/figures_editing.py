"""Figures of edits: rows of strengths (Figure 8), disentanglement, distortion against editability."""
import numpy as np

from .figures import look, new, panels, pixels, style


def edits(inputs, made, row=0):
    """Figure 8: a row for each method's Edit of one image: the input, then strengths, 0 the inversion.

    inputs: images [n, ...]; made: {label: Edit} of one direction; row: which image."""
    shown = {label: pixels(e.images[:, row]) for label, e in made.items()}
    first = next(iter(made.values()))
    cells = [[None, *images] for images in shown.values()]
    cells[0][0] = pixels(inputs)[row]                                # once: it is the same for all
    titles = ["input", *("inversion" if s == 0 else f"{s:+g}" for s in first.strengths)]
    below = [["", *(f"{c[row]:+.2f}" if s else "" for s, c in zip(e.strengths, e.wanted, strict=True))]
             for e in made.values()] if first.direction.attribute in first.change else None
    return panels(cells, titles, list(shown), below, apart=(0,))


def matrix(names, attributes, values, title=""):
    """Change of each attribute (columns) per unit of each direction (rows), values [D, A] in deviations."""
    values = np.asarray(values)
    data = [{"direction": n, "attribute": a, "change per unit": values[i, j]}
            for i, n in enumerate(names) for j, a in enumerate(attributes)]
    with style():
        wide, tall = 0.3 * len(attributes), 0.3 * len(names)               # inches of the table itself
        left, foot = 0.2 + 0.06 * max(map(len, names)), 0.2 + 0.06 * max(map(len, attributes))
        size = left + wide + 0.1, foot + tall + 0.35
        figure = new(*size, data)
        axes = figure.add_axes((left / size[0], foot / size[1], wide / size[0], tall / size[1]))
        bound = max(1.0, float(np.abs(values).max()))
        axes.imshow(values, cmap="RdBu_r", vmin=-bound, vmax=bound, aspect="auto")
        axes.set_xticks(range(len(attributes)), [a.replace("_", " ") for a in attributes], rotation=60,
                        ha="right", rotation_mode="anchor", fontsize=6.5)
        axes.set_yticks(range(len(names)), names, fontsize=6.5)
        axes.set_title(title, loc="left")
        axes.grid(visible=False)
        for i, line in enumerate(values):
            for j, value in enumerate(line):
                if abs(value) >= 0.1:
                    axes.text(j, i, f"{value:.1f}", ha="center", va="center", fontsize=6,
                              color="white" if abs(value) > 0.6 * bound else "black")
    return figure


def plane(points, xlabel, ylabel, title=""):
    """The distortion-editability plane: {label: (Interval of distortion, Interval of editability)}."""
    data = [{"method": label, xlabel: x.estimate, "x low": x.low, "x high": x.high, ylabel: y.estimate,
             "y low": y.low, "y high": y.high, "images": y.count} for label, (x, y) in points.items()]
    with style():
        figure = new(6.6, 3.6, data)
        axes = figure.add_axes((0.1, 0.14, 0.56, 0.76 if title else 0.82))
        axes.set(xlabel=xlabel, ylabel=ylabel, title=title)
        for i, (label, (x, y)) in enumerate(points.items()):
            shade, mark, _ = look(label, i)
            axes.errorbar([x.estimate], [y.estimate], [[y.estimate - y.low], [y.high - y.estimate]],
                          [[x.estimate - x.low], [x.high - x.estimate]], fmt=mark, ms=5,
                          capsize=2, lw=0.9, color=shade, mfc="white" if " + " in label else shade,
                          label=f"{label} (n = {y.count})")
        axes.locator_params(nbins=5)
        axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.02), fontsize=6.5, frameon=False)
    return figure
