"""Figures about the loop: Figure 2 of the paper drawn from real tensors, and errors against the step."""
import numpy as np

from .figures import COLOURS, array, look, new, pixels, plot, style
from .statistics import bootstrap

WARM, COOL, QUIET = COLOURS[1], COLOURS[0], "0.45"


def loop_diagram(image, before, after, residual, latent, t=0):
    """One step as in Figure 2: image, before, after: [C, H, W] in [-1, 1]; residual, latent (w_t): [k, d].

    Channels, latents and pictures are the tensors themselves; boxes are the two networks. The CSV holds the
    shape and range of each."""
    image, before, after, residual, latent = map(array, (image, before, after, residual, latent))
    tensors = {"x": image, f"y_{t}": before, f"x_{t}": np.concatenate([image, before]),
               f"Delta_{t}": residual, f"w_{t}": latent, f"w_{t + 1}": latent + residual, f"y_{t + 1}": after}
    rows = [{"tensor": name, "shape": "x".join(map(str, value.shape)), "min": value.min(), "max": value.max(),
             "rms": np.sqrt(np.square(value).mean())} for name, value in tensors.items()]
    now, then = f"{{{t}}}", f"{{{t + 1}}}"
    with style():
        figure = new(9.4, 3.1, rows)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, 9.4), ylim=(0, 3.1))
        axes.axis("off")
        tall = min(1.0, image.shape[1] / image.shape[2])
        _picture(axes, pixels(image)[0], 0.2, 2.3 - tall / 2, 1, tall, r"input $x$")
        _picture(axes, pixels(before)[0], 0.2, 1.0 - tall / 2, 1, tall, rf"reconstruction $\hat{{y}}_{now}$")
        _sheets(axes, tensors[f"x_{t}"], 1.75, 1.25, 0.62, rf"$x_{now} = (x, \hat{{y}}_{now})$")
        _network(axes, 3.1, 1.68, 0.62, 1.2, 0.62, "E", "encoder", COOL)
        bound = np.abs(np.concatenate([tensors[f"w_{t}"], tensors[f"w_{t + 1}"]])).max()
        _codes(axes, residual, 4.15, 1.93, np.abs(residual).max(), rf"residual $\Delta_{now}$")
        _codes(axes, latent, 4.15, 0.83, bound, rf"latent $w_{now}$")
        _codes(axes, tensors[f"w_{t + 1}"], 5.95, 1.38, bound, rf"latent $w_{then}$")
        _network(axes, 7.35, 1.68, 0.62, 0.62, 1.2, "G", "generator", WARM)
        _picture(axes, pixels(after)[0], 8.25, 1.68 - tall / 2, 1, tall, rf"output $\hat{{y}}_{then}$")
        for path in ([(1.24, 2.3), (1.45, 2.3), (1.45, 1.95), (1.7, 1.95)],
                     [(1.24, 1.0), (1.45, 1.0), (1.45, 1.45), (1.7, 1.45)],
                     [(2.72, 1.68), (3.06, 1.68)], [(3.76, 1.68), (3.95, 1.68), (3.95, 2.23), (4.11, 2.23)],
                     [(5.29, 2.23), (5.55, 2.23), (5.55, 1.8)], [(5.29, 1.13), (5.55, 1.13), (5.55, 1.56)],
                     [(5.68, 1.68), (5.91, 1.68)], [(7.09, 1.68), (7.31, 1.68)],
                     [(8.01, 1.68), (8.21, 1.68)]):
            _arrow(axes, path)
        axes.text(5.55, 1.675, "+", ha="center", va="center", fontsize=10,
                  bbox={"boxstyle": "circle,pad=0.12", "fc": "white", "ec": "0.2", "lw": 0.9})
        _arrow(axes, [(8.75, 1.68 - tall / 2 - 0.04), (8.75, 0.2), (0.7, 0.2), (0.7, 0.96 - tall / 2)], WARM)
        _arrow(axes, [(6.52, 1.36), (6.52, 0.42), (4.72, 0.42), (4.72, 0.77)], WARM)
        axes.text(2.7, 0.25, rf"the next step starts from $w_{then}$ and $\hat{{y}}_{then}$", ha="center",
                  va="bottom", fontsize=7.5, color=WARM)
        for x, y, number in ((2.24, 2.4, 1), (4.72, 2.79, 2), (6.52, 2.24, 3), (8.75, 1.95 + tall / 2, 4)):
            axes.text(x, y, f"Equation {number}", ha="center", va="bottom", fontsize=7, color=QUIET)
    return figure


def _image(axes, image, x, y, width, height, **look):
    axes.imshow(image, extent=(x, x + width, y, y + height), interpolation="nearest", aspect="auto",
                **{"zorder": 2, **look})
    axes.set(xlim=(0, 9.4), ylim=(0, 3.1))


def _picture(axes, image, x, y, width, height, title):
    _image(axes, image, x, y, width, height)
    axes.text(x + width / 2, y + height + 0.06, title, ha="center", va="bottom", fontsize=8)


def _sheets(axes, channels, x, y, side, title):
    """Channels [c, H, W] as grey sheets, one behind the other, the first in front."""
    count, middle = len(channels), x + (side + 0.36) / 2
    shift = 0.36 / max(count - 1, 1)
    for i in range(count):
        a, b, depth = x + i * shift, y + (count - 1 - i) * 0.35 * shift + 0.1, 3 + count - i
        _image(axes, channels[i], a, b, side, side, cmap="gray", vmin=-1, vmax=1, zorder=depth)
        corners = [(a, b), (a + side, b), (a + side, b + side), (a, b + side)]
        shade = COOL if i < count // 2 else WARM
        axes.add_patch(_patch(corners, fc="none", ec=shade, lw=0.8, zorder=depth + 0.5))
    axes.text(middle, y + side + 0.32, title, ha="center", va="bottom", fontsize=8)
    shape = "×".join(map(str, channels.shape))
    axes.text(middle, y - 0.02, shape, ha="center", va="top", fontsize=6.5, color=QUIET)


def _codes(axes, codes, x, y, bound, title, width=1.14, height=0.6):
    _image(axes, codes, x, y, width, height, cmap="RdBu_r", vmin=-bound, vmax=bound)
    axes.text(x + width / 2, y + height + 0.05, title, ha="center", va="bottom", fontsize=8)
    small = {"va": "top", "fontsize": 6.5, "color": QUIET}
    axes.text(x, y - 0.03, f"{codes.shape[0]}×{codes.shape[1]}", ha="left", **small)
    axes.text(x + width, y - 0.03, f"±{bound:.2g}", ha="right", **small)


def _network(axes, x, y, width, left, right, letter, word, shade):
    """A trapezoid from height `left` to height `right`, centred on y."""
    corners = [(x, y - left / 2), (x + width, y - right / 2), (x + width, y + right / 2), (x, y + left / 2)]
    axes.add_patch(_patch(corners, fc=shade, ec=shade, alpha=0.22, zorder=1))
    axes.add_patch(_patch(corners, fc="none", ec=shade, lw=1.2, zorder=2))
    axes.text(x + width / 2, y, f"${letter}$", ha="center", va="center", fontsize=14)
    axes.text(x + width / 2, y + max(left, right) / 2 + 0.06, word, ha="center", va="bottom", fontsize=8)


def _patch(corners, **look):
    from matplotlib.patches import Polygon

    return Polygon(corners, closed=True, **look)


def _arrow(axes, path, shade="0.2"):
    """A line through the points of `path` with a head at its end."""
    axes.plot(*zip(*path[:-1], strict=True), color=shade, lw=1.1, solid_joinstyle="miter", zorder=1)
    head = {"arrowstyle": "-|>", "color": shade, "lw": 1.1, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 9}
    axes.annotate("", path[-1], path[-2], arrowprops=head)


def errors(tables, ylabel, steps=None, trained=None, title="", log=False):
    """{label: [T+1, B]} against the step: means over the images with their 95 % bootstrap intervals.

    `trained` marks the number of steps that the encoder was trained with; NaNs (an image without the region)
    are left out."""
    rows, lines = [], {}
    for label, table in tables.items():
        table = array(table).astype(float)
        table = table[:, np.isfinite(table).all(0)]
        spread = [bootstrap(row) for row in table]
        xs = np.arange(len(table)) if steps is None else array(steps)
        lines[label] = xs, spread
        rows += [{"series": label, "step": int(x), ylabel: s[0], "low": s[1], "high": s[2], "n": s[3]}
                 for x, s in zip(xs, spread, strict=True)]
    with style():
        figure, axes = plot("step", ylabel, title, rows)
        for i, (label, (xs, spread)) in enumerate(lines.items()):
            shade, mark, kind = look(label, i)
            mean, low, high, count = zip(*spread, strict=True)
            axes.fill_between(xs, low, high, color=shade, alpha=0.15, lw=0)
            axes.plot(xs, mean, kind, marker=mark, ms=3.5, color=shade, label=f"{label} (n = {count[0]})")
        if trained is not None:
            axes.axvline(trained, color=QUIET, lw=0.9, ls=":", zorder=0)
            axes.annotate("steps in training", (trained, 0), (4, 3), xycoords=axes.get_xaxis_transform(),
                          textcoords="offset points", va="bottom", fontsize=7, color=QUIET)
        axes.set_yscale("log" if log else "linear")
        if not log:
            axes.set_ylim(bottom=0)
        axes.xaxis.get_major_locator().set_params(integer=True)
        many = len(lines) > 4
        axes.legend(loc="upper left" if many else "best", bbox_to_anchor=(1, 1) if many else None)
    return figure
