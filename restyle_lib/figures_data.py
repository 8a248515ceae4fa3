"""Figures about data sets: what the networks see, which attributes go together, what the masks hold."""
import numpy as np

from .data import square
from .figures import array, new, panels, pixels, style


def boxed(images, height, width, top=None, left=None):
    """uint8 [N, h, w, 3] on white [N, height, width, 3], at (top, left) or in the middle."""
    shown = pixels(images)
    h, w = shown.shape[1:3]
    top, left = (height - h) // 2 if top is None else top, (width - w) // 2 if left is None else left
    canvas = np.full((len(shown), height, width, 3), 255, np.uint8)
    canvas[:, top:top + h, left:left + w] = shown
    return canvas


def batches(groups):
    """Batches as the networks see them: tuples of a Domain and its images at the cropped size and at the
    encoder's, uint8 [N, h, w, C].

    A row for the generator's square, black where the domain has no image; where the encoder sees something
    else, a row for it, white where it sees nothing."""
    cells, rows = [], []
    for domain, full, small in groups:
        squares, (h, w) = pixels(square(full[:], domain)), domain.encoder_size
        whole = full[:].shape == small[:].shape and domain.crop_size == (domain.resolution,) * 2
        rows.append(f"{domain.name}{'' if whole else ', generator'} {domain.resolution}×{domain.resolution}")
        cells.append(list(squares))
        if not whole:
            scale = h / domain.crop_size[0]
            side, top, left = (round(scale * v) for v in (domain.resolution, domain.crop[0], domain.crop[2]))
            rows.append(f"{domain.name}, encoder {h}×{w}")
            cells.append(list(boxed(small[:], side, side, top, left)))
    return panels(cells, rows=rows)


def regions(sources, index, side=128):
    """An image of each rendered split {label: source} and what its masks hold, drawn at `side` pixels."""
    cells, below = [], []
    for source in sources.values():
        height, width = source.dataset.size
        size = round(side * height / max(height, width)), round(side * width / max(height, width))
        image, masks = source.world.render(source.scene([index]), *size, masks=True)
        parts = {name: (232 + (image - 232.0) * mask[:, None]).round().byte() for name, mask in masks.items()}
        shown = [array(part).transpose(0, 2, 3, 1) for part in (image, *parts.values())]
        cells.append([boxed(part, side, side)[0] for part in shown])
        below.append(["image", *parts])
    widest = max(map(len, cells))
    for line, words in zip(cells, below, strict=True):
        words += [""] * (widest - len(words))
        line += [None] * (widest - len(line))
    return panels(cells, rows=list(sources), below=below)


def correlations(tables, names):
    """Rank correlations {label: matrix [n, n]} of the attributes `names`, side by side, each written out."""
    below = list(zip(*np.nonzero(np.tri(len(names), k=-1)), strict=True))
    data = [{"set": label, "first": names[i], "second": names[j], "rank correlation": matrix[i, j]}
            for label, matrix in tables.items() for i, j in below]
    words, count = [name.replace("_", " ") for name in names], len(tables)
    side = 0.32 * (len(names) - 1)
    with style():
        figure = new(1.0 + (side + 0.25) * count, side + 1.15, data)
        width, height = figure.get_size_inches()
        for k, (label, matrix) in enumerate(tables.items()):
            left = 0.95 + k * (side + 0.25)
            axes = figure.add_axes((left / width, 0.9 / height, side / width, side / height))
            lower = np.where(np.tri(len(names), k=-1, dtype=bool), matrix, np.nan)
            axes.imshow(lower[1:, :-1], cmap="RdBu_r", vmin=-0.8, vmax=0.8)
            for i, j in below:
                shade = "white" if abs(matrix[i, j]) > 0.45 else "0.2"
                axes.text(j, i - 1, f"{matrix[i, j]:.2f}".replace("0.", "."), ha="center", va="center",
                          fontsize=5.5, color=shade)
            axes.set_title(label)
            axes.set_xticks(range(len(names) - 1), words[:-1], rotation=60, ha="right",
                            rotation_mode="anchor", fontsize=6.5)
            axes.set_yticks(range(len(names) - 1), words[1:] if k == 0 else [], fontsize=6.5)
            axes.tick_params(length=0)
            axes.grid(visible=False)
            for spine in axes.spines.values():
                spine.set_visible(False)
    return figure
