"""Images for use: of a dataset, of a domain, or of your own files; and their export."""
import csv
import io
import sys
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from .cache import drawn_already, rendered_array
from .domains import load_dataset, load_domain
from .errors import UserError
from .files import atomic
from .pixels import decode, encode_png, to_pixels, to_tensor  # noqa: F401  (part of this module's names)
from .sources import discover
from .splits import RenderedImages

MAX_BAD = 100                       # images of a split that may be bad (or one in a hundred) in use


class LazyImages:
    """Files as an array uint8 [N, H, W, C]: decoded when indexed by an int, a slice or an int array.

    An image that cannot be read is named on stderr, once, and the next good one stands in its place; `bad`
    counts them: {index: its stand-in}. UserError: more than MAX_BAD of them, or none is good."""

    dtype, ndim = np.dtype(np.uint8), 4

    def __init__(self, source, size, fit, count):
        self.source, self.look, self.bad = source, (tuple(size), fit), {}
        self.shape = (count, *size, source.dataset.channels)

    def __len__(self):
        return self.shape[0]

    @property
    def size(self):
        """The number of values, as of an array."""
        return int(np.prod(self.shape))

    def __getitem__(self, index):
        chosen = np.arange(len(self))[index]
        pixels = np.stack([self._read(int(row)) for row in np.atleast_1d(chosen)])
        return pixels if np.ndim(chosen) else pixels[0]

    def __array__(self, dtype=None, copy=None):
        return self[:].astype(dtype or self.dtype, copy=False)

    def _read(self, row):
        for _ in range(len(self)):
            try:
                if row not in self.bad:
                    return self.source.load(row, *self.look)
            except UserError as error:
                self._skip(row, error)
            row = self.bad[row]
        raise UserError(f"none of the {len(self)} images of {self.source.dataset.name} can be read")

    def _skip(self, row, error):
        self.bad[row] = (row + 1) % len(self)
        what = f"the split '{self.source.name}' of {self.source.dataset.name}"
        tqdm.write(f"skipped: {error}; the image after it is used instead ({len(self.bad)} of {len(self)} in "
                   f"{what})", file=sys.stderr)
        if len(self.bad) > max(MAX_BAD, len(self) // 100):
            raise UserError(f"{len(self.bad)} images of {what} are bad; python -m restyle_lib data verify "
                            f"{self.source.dataset.name} lists them")


def images(dataset, split, size=None, *, count=None, indices=None, fit="stretch", progress=True):
    """Images of a dataset's split, uint8 [N, H, W, C]: the first `count`, those at `indices`, or all.

    size: [H, W], by default the dataset's. Rendered splits come from a memory-mapped cache; files are decoded
    when the result is indexed (see LazyImages). dataset: a name, a YAML path or a Dataset. UserError for
    anything that is not there.
    """
    dataset = load_dataset(dataset)
    source = dataset.split(split)
    size = size or dataset.size
    if size is None:
        raise UserError(f"the images of {dataset.name} have no common size; give one: size [height, width]")
    wanted = count if indices is None else int(np.max(indices)) + 1
    if wanted is not None and not 0 < wanted <= len(source):
        raise UserError(f"{wanted} images of the split '{split}' of {dataset.name} were asked for; it has "
                        f"{len(source)}")
    if not isinstance(source, RenderedImages):
        lazy = LazyImages(source, size, fit, count or len(source))
        return lazy if indices is None else lazy[np.asarray(indices)]
    if indices is None:
        return rendered_array(source, size, count, progress)
    many = 2 * len(indices) >= wanted                     # then the images between them are worth drawing
    size = tuple(size)
    drawn = rendered_array(source, size, wanted, progress) if many else drawn_already(source, size, wanted)
    return source.read(indices, size) if drawn is None else drawn[np.asarray(indices)]


def domain_images(domain, split="test", *, count=None, indices=None, progress=True):
    """Images of a domain at its encoder size -> float32 tensor [N, C, H, W] in [-1, 1].

    split: "train" comes from the training dataset, any other from the test dataset."""
    domain = load_domain(domain)
    dataset = domain_dataset(domain, split)
    return to_tensor(images(dataset, split, domain.encoder_size, count=count, indices=indices, fit=domain.fit,
                            progress=progress)[:])


def domain_masks(domain, split="test", *, count=None, indices=None):
    """Where what is in the images of `domain_images`: {region: [N, H, W] in [0, 1]}, {} if unknown."""
    import torch
    domain = load_domain(domain)
    source = domain_dataset(domain, split).split(split)
    if not hasattr(source, "masks"):
        return {}
    wanted = range(len(source) if count is None else count) if indices is None else indices
    masks = source.masks(wanted, domain.encoder_size)
    return {region: torch.from_numpy(mask) for region, mask in masks.items()}


def domain_dataset(domain, split="train"):
    """The Dataset that a domain's split comes from; refuses one with other channels than the domain's."""
    domain = load_domain(domain)
    dataset = domain.dataset("train" if split == "train" else "test")
    if dataset.channels != domain.channels:
        raise UserError(f"the dataset {dataset.name} has {dataset.channels} channels, the domain "
                        f"{domain.name} has "
                        f"{domain.channels}")
    return dataset


def square(images, domain):
    """Images [N, h, w, C] of a domain's cropped size, on the black square of its generator: [N, R, R, C]."""
    top, _, left, _ = domain.crop
    n, height, width, channels = images.shape
    canvas = np.zeros((n, domain.resolution, domain.resolution, channels), dtype=images.dtype)
    canvas[:, top:top + height, left:left + width] = images
    return canvas


def load_images(paths, domain, window=None):
    """Your own files, folders or zips -> float32 tensor [B, C, H, W] in [-1, 1] at the domain's encoder size.

    window: [low, high] of stored values for black and white (else 8 and 16 bits are taken whole). The first
    bad image raises a UserError; `invert` passes over it instead.
    """
    domain = load_domain(domain)
    paths = [paths] if isinstance(paths, (str, Path)) else paths
    return to_tensor(np.stack([read_item(item, domain, window) for item in discover(paths)[0]]))


def read_item(item, domain, window=None, data=None):
    """One Item -> uint8 [H, W, C] as the domain's encoder sees it."""
    data = item.read() if data is None else data
    return decode(data, item.name, domain.channels, window, domain.encoder_size, domain.fit)


def export(dataset, split, out, count=None, progress=True):
    """Writes a split's images as PNG files and attributes.csv (image, group, attributes) into `out` -> number
    written.

    Images have the dataset's size, or each its own; categories are written by name."""
    dataset = load_dataset(dataset)
    source, out = dataset.split(split), Path(out)
    count = len(source) if count is None else count
    if not 0 < count <= len(source):
        raise UserError(f"{count} images of the split '{split}' of {dataset.name} were asked for; it has "
                        f"{len(source)}")
    names = [str(Path(name).with_suffix(".png").as_posix()) for name in source.names[:count]]
    table = source.table(range(count)) or {}
    classes = source.classes
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "group", *table])
    for i, name in enumerate(names):
        row = {column: values[i] for column, values in table.items()}
        row = [classes[c][int(value)] if c in classes else _short(value) for c, value in row.items()]
        writer.writerow([name, int(source.groups[i]), *row])
    for i, name in enumerate(tqdm(names, desc="writing", unit="img", leave=False, disable=not progress)):
        with atomic(out / name) as stream:
            stream.write(encode_png(source.load(i)))
    with atomic(out / "attributes.csv", "w") as stream:
        stream.write(text.getvalue())
    return count


def _short(value):
    return f"{value:.6g}" if isinstance(value, (float, np.floating)) else value
