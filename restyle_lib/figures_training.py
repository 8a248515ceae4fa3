"""Figures about training: what a reader finds in two sets of images, attribute by attribute."""
import numpy as np

from .figures import COLOURS, new, style


def attributes(found, labels=("renders", "samples"), count=12, columns=4):
    """Small histograms of `audit.histograms`: the `count` attributes that are farthest apart, worst first.

    The first set is filled, the second outlined; each title says how far apart the two are, 0 to 1."""
    order = sorted(found, key=lambda name: -found[name]["apart"])
    chosen = order[:count]
    data = [{"attribute": name, "apart": entry["apart"], "bin": str(edge), labels[0]: a, labels[1]: b}
            for name, entry in ((n, found[n]) for n in order)
            for edge, a, b in zip(entry.get("edges", entry.get("classes")), entry["first"], entry["second"],
                                  strict=False)]
    lines = -(-len(chosen) // columns)
    with style():
        figure = new(1.8 * columns, 1.25 * lines + 0.3, data)
        top = 1 - 0.3 / figure.get_figheight()
        grid = figure.add_gridspec(lines, columns, left=0.03, right=0.99, top=top - 0.14 / lines,
                                   bottom=0.2 / lines, hspace=0.75, wspace=0.12)
        for cell, name in zip(grid, chosen, strict=False):
            axes, entry = figure.add_subplot(cell), found[name]
            edges = entry.get("edges") or np.arange(len(entry["first"]) + 1) - 0.5
            axes.stairs(entry["first"], edges, fill=True, color=COLOURS[0], alpha=0.35, label=labels[0])
            axes.stairs(entry["second"], edges, color=COLOURS[1], lw=1.3, label=labels[1])
            axes.set_title(f"{name.replace('_', ' ')} {entry['apart']:.2f}", fontsize=7, pad=3)
            axes.tick_params(labelsize=5.5, length=2, pad=1.5)
            axes.set_yticks([])
            axes.grid(visible=False)
            if "classes" in entry:
                words = [{True: "yes", False: "no"}.get(c, str(c)) for c in entry["classes"]]
                slant = dict(rotation=38, ha="right", rotation_mode="anchor") if len(words) > 3 else {}
                axes.set_xticks(range(len(words)), words, **slant)
        figure.legend(*axes.get_legend_handles_labels(), loc="upper right", ncols=2, fontsize=7,
                      borderaxespad=0.2)
    return figure
