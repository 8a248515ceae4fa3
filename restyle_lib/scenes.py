"""The same scenes in two styles, which only a renderer has, and what an attribute reader can tell in each."""
from dataclasses import dataclass

import numpy as np

from . import data
from .domains import RenderedSource, load_dataset, load_domain
from .errors import UserError
from .metrics import attribute_agreement, read_attributes, to_floats
from .metrics import legibility as shares  # {attribute: how well it is read at all, 0 to 1}
from .tables import Table

LEGIBLE = 0.25          # least share of an attribute that a reader must see (as in notebook 30)


@dataclass(frozen=True, eq=False)
class Scenes:
    """Held-out images of a domain, and the same scenes as another dataset draws them.

    styles: {dataset's name: [N, C, H, W] in [-1, 1]}, the domain's own first; truth: {attribute: [N]}, empty
    where nobody knows it; names: of the images; world: which of the claims' worlds they belong to."""
    styles: dict
    truth: dict
    names: list
    world: str

    @property
    def images(self):
        """In the domain's own style: [N, C, H, W]."""
        return next(iter(self.styles.values()))

    @property
    def drawn(self):
        """In the other style, or None where no dataset draws them: [N, C, H, W]."""
        return list(self.styles.values())[1] if len(self.styles) > 1 else None


def scenes(domain, drawn="", *, split="test", count=64, device="cpu"):
    """`count` images of a split, evenly spread, and the same rows of the dataset `drawn` -> Scenes.

    drawn: a dataset's name or YAML path; "" for none. UserError unless it holds the same scenes."""
    domain = load_domain(domain)
    first = data.domain_dataset(domain, split)
    source = first.split(split)
    rows, styles = source.spread(count), {}
    names, truth = [str(source.names[row]) for row in rows], source.table(rows) or {}
    for dataset in (first, *([load_dataset(drawn)] if drawn else [])):
        other = dataset.split(split)
        if len(other) != len(source) or [str(other.names[row]) for row in rows] != names \
                or not _same(truth, other.table(rows) or {}):
            raise UserError(f"the dataset {dataset.name} does not hold the scenes of {first.name}: its split "
                            f"'{split}' has other images or other attributes")
        pixels = data.images(dataset, split, domain.encoder_size, indices=rows, fit=domain.fit,
                             progress=False)
        styles[dataset.name] = to_floats(pixels[:], device)
    world = "rendered" if isinstance(first.source, RenderedSource) else "photographs"
    return Scenes(styles, truth, names, world)


def _same(first, second):
    """Whether two tables of attributes agree, as far as both know."""
    if not (first and second):
        return True
    both = first.keys() & second.keys()
    return bool(both) and all(np.array_equal(first[name], second[name]) for name in both)


def agreements(reader, found):
    """How a reader's readings of each style agree with the truth: {style: see `attribute_agreement`}."""
    return {style: attribute_agreement(read_attributes(reader, images, device=images.device), found.truth,
                                       reader.attributes)
            for style, images in found.styles.items()} if found.truth else {}


def readable(agreed, attributes, names, least=LEGIBLE):
    """Those of `names` that are read well enough in every style of `agreements`; of one style alone, or of
    none, nothing is known about the other, and so no name is."""
    seen = [shares(agreement, attributes) for agreement in agreed.values()]
    return [n for n in names if len(seen) > 1 and all(s.get(n, 0.0) >= least for s in seen)]


def error_rows(agreed, attributes, names, least=LEGIBLE):
    """A row for each attribute: how well it is read in each style, in words, and whether in all of them."""
    kinds, rows = {a["name"]: a for a in attributes}, Table()
    well = readable(agreed, attributes, names, least)
    for name in names:
        told = {style: _told(agreement[name], kinds[name]) for style, agreement in agreed.items()
                if name in agreement}
        if told:
            rows.append({"attribute": name, **told, "read in both": name in well})
    return rows


def _told(scores, attribute):
    """One attribute's scores in words."""
    if attribute["kind"] == "real":
        return f"r {scores['r']:.2f}, off by {scores['mae']:.2g}"
    if attribute["kind"] == "binary":
        return f"AUC {scores['auc']:.2f}, right {scores['accuracy']:.0%}"
    classes = attribute["classes"]
    chance = 1 / (classes if isinstance(classes, int) else len(classes))
    return f"right {scores['accuracy']:.0%}, chance {chance:.0%}"
