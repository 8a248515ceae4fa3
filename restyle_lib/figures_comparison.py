"""Figures that lay inversion methods side by side: quality against time or passes, images in rows."""
import numpy as np

from .figures import COLOURS, array, new, panels, pixels, style

MARKS = "osD^vP*X"


def quality(found, ylabel, *, against="seconds", floor=None, envelopes=None, title=""):
    """Quality against seconds an image or against passes, of `comparison.Curve`s {label: Curve}, log axis.

    One pass is a point, more are a line from step 1 on; bars and bands are 95 % intervals; what was recorded
    before is dashed and says so. floor: a value drawn as a line. envelopes: {label: (x, y)} of optimisations,
    whose single plans are then small dots."""
    envelopes = envelopes or {}
    data = [{"method": label, "step": int(c.steps[i]), "seconds": c.seconds[i], "passes": c.passes[i],
             ylabel: c.mean[i], "low": c.low[i], "high": c.high[i], "images": len(c.images),
             "recorded": c.recorded} for label, c in found.items() for i in range(len(c.steps))]
    with style():
        figure = new(7.4, 3.7, data)
        axes = figure.add_axes((0.08, 0.13, 0.56, 0.76 if title else 0.83))
        axes.set(xlabel={"seconds": "seconds an image", "passes": "passes an image"}[against], ylabel=ylabel,
                 title=title, xscale="log")
        for i, (label, curve) in enumerate(found.items()):
            _draw(axes, label, curve, getattr(curve, against), COLOURS[i % len(COLOURS)],
                  MARKS[i % len(MARKS)], faint=bool(curve.plan and envelopes))
        for i, (label, (x, y)) in enumerate(envelopes.items()):
            axes.plot(array(x), array(y), color=str(0.15 + 0.25 * i), lw=1.4, label=f"{label} (envelope)")
        if floor is not None:
            axes.axhline(floor, color="0.45", lw=0.9, ls=":", label="the generator's floor")
        axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.02), fontsize=6.5, frameon=False,
                    labelspacing=0.55)
    return figure


def _draw(axes, label, curve, x, shade, mark, faint):
    begin = 0 if len(curve.steps) == 1 else 1               # the average image has cost nothing
    x, mean, low, high = (array(v)[begin:] for v in (x, curve.mean, curve.low, curve.high))
    x = np.maximum(x, 1e-6)
    label = f"{label} (recorded)" if curve.recorded else label
    kind = "--" if curve.recorded else "-"
    if faint:
        axes.plot(x[-1:], mean[-1:], ".", color=shade, ms=4, alpha=0.7)
        return
    if len(x) == 1:
        axes.errorbar(x, mean, [mean - low, high - mean], fmt=mark, color=shade, ms=5, capsize=2, lw=0.9,
                      label=label)
        return
    axes.plot(x, mean, kind, marker=mark if len(x) <= 12 else "", ms=3.5, color=shade, label=label)
    axes.fill_between(x, low, high, color=shade, alpha=0.14, lw=0)


def rows_of(inputs, outputs, below=None):
    """Figure 4: a row for each image, the input first and set apart, then each method's last step.

    inputs: images [n, ...]; outputs: {label: images [n, ...]}; below: {label: [n] texts}."""
    inputs, outputs = pixels(inputs), {label: pixels(images) for label, images in outputs.items()}
    cells = [[inputs[i], *(images[i] for images in outputs.values())] for i in range(len(inputs))]
    texts = None if below is None else [["", *(below[label][i] for label in outputs)]
                                        for i in range(len(inputs))]
    return panels(cells, ["input", *outputs], below=texts, apart=(0,))
