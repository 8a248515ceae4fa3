"""Figures that lay inversion methods side by side: quality against time or passes, images in rows."""
import numpy as np

from .figures import array, look, new, panels, pixels, style
from .recorded import PASSES, SUFFIX


def quality(found, labels, *, against="seconds", floors=None, envelopes=None):
    """Quality against seconds an image or against passes (Figures 5, 18, 19), a panel for each metric.

    found: {metric: {label: comparison.Curve}}; labels: {metric: its axis}. One pass is a point, more are a
    line from step 1 on; bars and bands are 95 % intervals; what was recorded before is dashed and says so,
    but for encoders that take several steps or were trained on since, which are controls: those are in the
    data and are not drawn.
    floors: {metric: value} drawn as a line. envelopes: {metric: {label: (x, y)}} of optimisations, drawn in
    place of their single plans."""
    floors, envelopes = floors or {}, envelopes or {}
    data = [{"metric": kind, "method": label, "step": int(c.steps[i]), "seconds": c.seconds[i],
             "passes": c.passes[i], "mean": c.mean[i], "low": c.low[i], "high": c.high[i],
             "images": len(c.images), "recorded": c.recorded}
            for kind, curves in found.items() for label, c in curves.items() for i in range(len(c.steps))]
    names = list(dict.fromkeys(label for curves in found.values() for label in curves))
    with style():
        wide = 0.55 + 2.35 * len(found)
        whole = wide + 2.35                                     # the legend's place
        figure, shown = new(whole, 2.9, data), {}
        for n, (kind, curves) in enumerate(found.items()):
            axes = figure.add_axes(((0.55 + 2.35 * n) / whole, 0.15, 1.85 / whole, 0.76))
            axes.set(xlabel=f"{against} an image", title=labels[kind], xscale="log")
            for label, curve in curves.items():
                several = curve.steps[-1] > 1 or PASSES.search(label.removesuffix(SUFFIX))
                control = curve.recorded and not curve.plan and several
                if not control and not (curve.plan and envelopes):  # else a point of its envelope
                    _draw(axes, label, curve, getattr(curve, against), names.index(label))
            for i, (label, (x, y)) in enumerate(envelopes.get(kind, {}).items()):
                shade, mark, dashes = look(label, i)
                dashes = "--" if label.endswith(SUFFIX) else dashes
                axes.plot(array(x), array(y), dashes, marker=mark, ms=3, color=shade, lw=1.1, label=label)
            if kind in floors:
                axes.axhline(floors[kind], color="0.45", lw=0.9, ls=":", label="the generator's floor")
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
                shown.setdefault(label, handle)
        figure.set_figheight(max(2.9, 0.15 + 0.145 * len(shown)))
        figure.legend(shown.values(), shown, loc="upper left", bbox_to_anchor=(wide / whole, 0.98),
                      fontsize=6.5, frameon=False, labelspacing=0.4)
    return figure


def _draw(axes, label, curve, x, index):
    shade, mark, kind = look(label, index)
    begin = 0 if len(curve.steps) == 1 else 1               # the average image has cost nothing
    x, mean, low, high = (array(v)[begin:] for v in (x, curve.mean, curve.low, curve.high))
    x = np.maximum(x, 1e-6)
    kind = "--" if curve.recorded else kind
    if len(x) == 1:
        axes.errorbar(x, mean, [mean - low, high - mean], fmt=mark, color=shade, ms=5, capsize=2, lw=0.9,
                      label=label)
        return
    axes.plot(x, mean, kind, marker=mark if len(x) <= 12 else "", ms=3.5, color=shade, label=label)
    axes.fill_between(x, low, high, color=shade, alpha=0.14, lw=0)


def rows_of(inputs, outputs, below=None, rows=()):
    """Figure 4: a row for each image, the input first and set apart, then each method's last step.

    inputs: images [n, ...]; outputs: {label: images [n, ...]}; below: {label: [n] texts}; rows: n labels."""
    inputs, outputs = pixels(inputs), {label: pixels(images) for label, images in outputs.items()}
    cells = [[inputs[i], *(images[i] for images in outputs.values())] for i in range(len(inputs))]
    texts = None if below is None else [["", *(below[label][i] for label in outputs)]
                                        for i in range(len(inputs))]
    return panels(cells, ["input", *outputs], rows, below=texts, apart=(0,))
