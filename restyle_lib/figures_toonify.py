"""Figures of Section 5.5 and Appendix D: Figure 10 from real tensors, alignments, style against identity."""
import numpy as np

from .figures import COLOURS, MARKS, array, new, pixels, style
from .figures_loop import COOL, QUIET, WARM, _arrow, _codes, _network, _picture, _sheets
from .statistics import bootstrap
from .toon_study import ONCE, PLAIN, RERENDERED, TOON

NAMED = {"attributes": "attributes kept", "identity": "identity to the input"}      # on axes


def bootstrap_diagram(image, trajectory, first, second):
    """image: [C, H, W] in [-1, 1]; trajectory: `toonify.bootstrap` of it alone; first, second: names.

    Above, the first encoder's inversion w_1 and its image; below, the second encoder sees input and image
    and adds its residual to w_1; further steps go on from there. The CSV holds each tensor's shape and
    range."""
    x, latents, frames = array(image), array(trajectory.latents[:, 0]), array(trajectory.images[:, 0])
    both, residual = np.concatenate([x, frames[0]]), latents[1] - latents[0]
    tensors = {"x": x, "w_1": latents[0], "y_1": frames[0], "x_1": both, "Delta_1": residual,
               "w_2": latents[1], "y_2": frames[1]}
    rows = [{"tensor": name, "shape": "x".join(map(str, value.shape)), "min": value.min(), "max": value.max()}
            for name, value in tensors.items()]
    bound = np.abs(latents[:2]).max()
    with style():
        figure = new(9.4, 3.1, rows)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, 9.4), ylim=(0, 3.1))
        axes.axis("off")
        tall = 0.8 * min(1.0, x.shape[1] / x.shape[2])
        top, low = 2.35, 0.72
        _picture(axes, pixels(x)[0], 0.25, top - tall / 2, 0.8, tall, r"input $x$")
        _network(axes, 1.55, top, 0.55, 0.95, 0.5, "E", first, COOL)
        _codes(axes, latents[0], 2.6, top - 0.25, bound, r"inversion $w_1$", height=0.5)
        _network(axes, 4.45, top, 0.55, 0.5, 0.95, "G", "its generator", COOL)
        _picture(axes, pixels(frames[0])[0], 5.4, top - tall / 2, 0.8, tall, r"$\hat{y}_1$")
        _sheets(axes, both, 0.25, low - 0.4, 0.5, r"$x \Vert \hat{y}_1$")
        _network(axes, 1.55, low, 0.55, 0.95, 0.5, "E", second, WARM)
        _codes(axes, residual, 2.6, low - 0.25, np.abs(residual).max(), r"residual $\Delta$", height=0.5)
        _codes(axes, latents[1], 4.55, low - 0.25, bound, r"$w_1 + \Delta$", height=0.5)
        _network(axes, 6.15, low, 0.55, 0.5, 0.95, "G", "its generator", WARM)
        _picture(axes, pixels(frames[1])[0], 7.1, low - tall / 2, 0.8, tall, "step 1")
        if len(frames) > 2:
            _picture(axes, pixels(frames[-1])[0], 8.4, low - tall / 2, 0.8, tall, f"step {len(frames) - 1}")
            _arrow(axes, [(7.94, low), (8.36, low)])
        down = 1.62
        for path in ([(1.09, top), (1.51, top)], [(2.14, top), (2.56, top)], [(3.78, top), (4.41, top)],
                     [(5.04, top), (5.36, top)], [(1.15, low), (1.51, low)], [(2.14, low), (2.56, low)],
                     [(3.78, low), (4.02, low)], [(4.28, low), (4.51, low)], [(5.73, low), (6.11, low)],
                     [(6.74, low), (7.06, low)]):
            _arrow(axes, path)
        _arrow(axes, [(0.33, top - tall / 2 - 0.04), (0.33, low + 0.38)], COOL)
        _arrow(axes, [(5.8, top - tall / 2 - 0.04), (5.8, down), (1.0, down), (1.0, low + 0.38)], COOL)
        _arrow(axes, [(4.15, top), (4.15, low + 0.14)], COOL)
        axes.text(4.15, low - 0.005, "+", ha="center", va="center", fontsize=10,
                  bbox={"boxstyle": "circle,pad=0.12", "fc": "white", "ec": "0.2", "lw": 0.9})
        axes.text(6.4, top, "The start is the pair: the latent\nand the image that the first\n"
                  "generator made of it.", va="center", fontsize=8, color=QUIET)
    return figure


def alignments(lines, places, xlabel, ylabel, chance=None):
    """{name: [Interval]} at labelled places: a line of dots with 95 % intervals each, gaps where it is None.

    chance: [[Interval]] of shuffled pairs at each place, a grey band from the lowest end to the highest."""
    places, rows = [str(place) for place in places], []
    for name, line in lines.items():
        rows += [{"series": name, xlabel: place, ylabel: v.estimate, "low": v.low, "high": v.high,
                  "n": v.count} for place, v in zip(places, line, strict=True) if v is not None]
    with style():
        figure = new(6.8, 3.4, rows)
        axes = figure.add_axes((0.09, 0.2, 0.64, 0.75))
        axes.use_sticky_edges = False
        axes.set(xlabel=xlabel, ylabel=ylabel, xlim=(-0.5, len(places) - 0.5))
        axes.set_xticks(range(len(places)), places)
        if chance:
            low, high = ([end(v[i] for v in group) for group in chance] for i, end in ((1, min), (2, max)))
            edges = np.arange(len(places) + 1) - 0.5
            axes.stairs(high, edges, baseline=low, fill=True, color="0.85", zorder=0, label="shuffled pairs")
        for i, (name, line) in enumerate(lines.items()):
            there = [(x + 0.06 * (i - (len(lines) - 1) / 2), v) for x, v in enumerate(line) if v is not None]
            spread = [[v.estimate - v.low for _, v in there], [v.high - v.estimate for _, v in there]]
            axes.errorbar([x for x, _ in there], [v.estimate for _, v in there], np.abs(spread),
                          marker=MARKS[i % len(MARKS)], ms=4, lw=1.2, elinewidth=0.7,
                          color=COLOURS[i % len(COLOURS)], label=name.replace("_", " "))
        axes.grid(axis="x", visible=False)
        axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.02))
    return figure


def looks(labels):
    """{label: (colour, mark, line)} of real-to-toon variants, the same in all figures that show them."""
    fixed = {ONCE: (COLOURS[2], "D", "-"), PLAIN: (COLOURS[0], "o", "-"), RERENDERED: ("0.45", "X", ":")}
    rest = [label for label in labels if label not in fixed]
    shades = (COLOURS[1], COLOURS[5], COLOURS[3], COLOURS[4], COLOURS[6])
    return {label: (shades[i % len(shades)], "s^vP*"[i % 5], "-") for i, label in enumerate(rest)} | fixed


def courses(measured, whats, references=()):
    """A panel for each measure against the second encoder's step: means of every variant with 95 % intervals;
    `references` (labels of a single row, such as the input) are dotted lines."""
    whats, rows = [what for what in whats if what in measured], []
    labels = list(dict.fromkeys(label for what in whats for label in measured[what]))
    shown = looks([label for label in labels if label not in references])
    tall = -(-len(whats) // 2)
    with style():
        figure = new(7.4, 0.4 + 2.3 * tall, rows)
        for place, what in enumerate(whats):
            axes = figure.add_subplot(tall, 2, place + 1, xlabel="step of the second encoder",
                                      ylabel=NAMED.get(what, what))
            for label, table in measured[what].items():
                spread = [bootstrap(row) for row in table]
                rows += [{"measure": what, "variant": label, "step": t, "mean": v.estimate, "low": v.low,
                          "high": v.high, "n": v.count} for t, v in enumerate(spread)]
                if label in references:
                    axes.axhline(spread[-1].estimate, color="0.1", lw=0.9,
                                 ls=(":", "--")[references.index(label) % 2], label=label)
                    continue
                shade, mark, kind = shown[label]
                mean, low, high, _ = zip(*spread, strict=True)
                axes.fill_between(range(len(mean)), low, high, color=shade, alpha=0.12, lw=0)
                axes.plot(range(len(mean)), mean, kind, marker=mark, ms=3.5, color=shade, label=label)
            axes.xaxis.get_major_locator().set_params(integer=True)
        figure.subplots_adjust(left=0.09, right=0.77, top=0.97, bottom=0.4 / (0.4 + 2.3 * tall) + 0.03,
                               wspace=0.32, hspace=0.35)
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="upper left",
                      bbox_to_anchor=(0.785, 0.98))
    return figure


def tradeoff(measured, whats, references=()):
    """Style against what is kept: mean toon-ness across, each measure up, a path along the second encoder's
    steps for every variant, the last step with its number; `references` are single points."""
    whats, rows = [what for what in whats if what in measured], []
    shown = looks([label for label in measured[TOON] if label not in references])
    with style():
        figure = new(7.4, 3.2, rows)
        for place, what in enumerate(whats):
            axes = figure.add_subplot(1, len(whats), place + 1, xlabel="mean toon-ness",
                                      ylabel=NAMED.get(what, what))
            for label, table in measured[what].items():
                first = 0 if label in references else 1                  # step 0 is no output
                both = measured[TOON][label], table
                spread = [[bootstrap(row) for row in values[first:]] for values in both]
                x, y = ([v.estimate for v in line] for line in spread)
                rows += [{"measure": what, "variant": label, "step": t + first, "toon-ness": a.estimate,
                          "mean": b.estimate, "low": b.low, "high": b.high, "n": b.count}
                         for t, (a, b) in enumerate(zip(*spread, strict=True))]
                if label in references:
                    mark = "*P"[references.index(label) % 2]
                    axes.plot(x, y, mark, ms=8, color="0.1", mfc="white", label=label)
                    continue
                shade, mark, kind = shown[label]
                axes.errorbar(x, y, [[b.estimate - b.low for b in spread[1]],
                                     [b.high - b.estimate for b in spread[1]]],
                              fmt=kind, marker=mark, ms=3.5, lw=1.2, elinewidth=0.6, color=shade, label=label)
                axes.annotate(str(len(y) - 1 + first), (x[-1], y[-1]), (4, 3), textcoords="offset points",
                              fontsize=6.5, color=shade)
        figure.subplots_adjust(left=0.08, right=0.77, top=0.96, bottom=0.15, wspace=0.3)
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="upper left",
                      bbox_to_anchor=(0.785, 0.98))
    return figure
