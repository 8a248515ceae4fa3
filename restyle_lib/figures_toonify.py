"""Figure 10 drawn from real tensors: the first encoder's latent and image become the second one's start."""
import numpy as np

from .figures import array, new, pixels, style
from .figures_loop import COOL, QUIET, WARM, _arrow, _codes, _network, _picture, _sheets


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
        _network(axes, 4.25, top, 0.55, 0.5, 0.95, "G", "its generator", COOL)
        _picture(axes, pixels(frames[0])[0], 5.2, top - tall / 2, 0.8, tall, r"$\hat{y}_1$")
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
        for path in ([(1.09, top), (1.51, top)], [(2.14, top), (2.56, top)], [(3.78, top), (4.21, top)],
                     [(4.84, top), (5.16, top)], [(1.15, low), (1.51, low)], [(2.14, low), (2.56, low)],
                     [(3.78, low), (4.02, low)], [(4.28, low), (4.51, low)], [(5.73, low), (6.11, low)],
                     [(6.74, low), (7.06, low)]):
            _arrow(axes, path)
        _arrow(axes, [(0.33, top - tall / 2 - 0.04), (0.33, low + 0.38)], COOL)
        _arrow(axes, [(5.6, top - tall / 2 - 0.04), (5.6, down), (1.0, down), (1.0, low + 0.38)], COOL)
        _arrow(axes, [(4.15, top), (4.15, low + 0.14)], COOL)
        axes.text(4.15, low - 0.005, "+", ha="center", va="center", fontsize=10,
                  bbox={"boxstyle": "circle,pad=0.12", "fc": "white", "ec": "0.2", "lw": 0.9})
        axes.text(6.2, top, "The start is the pair: the latent\nand the image that the first\n"
                  "generator made of it.", va="center", fontsize=8, color=QUIET)
    return figure
