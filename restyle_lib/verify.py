"""Datasets held against their manifests, and the place that a manifest names joined to where images are."""
import hashlib
import os
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from .domains import RenderedSource, load_dataset
from .errors import UserError
from .sources import discover
from .statistics import pearson, ranks
from .tables import Table


def verify(dataset, count=None, progress=True):
    """Opens every split of a dataset (a name, path or Dataset) and decodes its images.

    -> (Table with a row for each split, list of sentences about what is wrong). "groups also in train" are
    identities, values of the `group` column or, without one, files; "duplicates" are files that show, pixel
    by pixel, what another of the split shows. Wrong are, beside bad files, another number of images than the
    manifest expects, other sizes than were published, and what is in training under another name. count: how
    many files of each split to decode, evenly spread (default: all); nothing is drawn of a rendered split.
    "decoded" are the files that were looked into."""
    dataset, rows, wrong, trained, learnt = load_dataset(dataset), Table(), [], None, {}
    names = sorted(dataset.splits, key=lambda name: name != "train")           # train first, else as they are
    for name in names:
        try:
            source = dataset.split(name)
        except UserError as error:
            wrong.append(str(error))
            continue
        drawn, bad = isinstance(dataset.source, RenderedSource), []
        sizes, odd, seen, twice, leaked = {dataset.size} if drawn else set(), [], {}, 0, []
        expected = None if drawn else source.split.images
        if expected not in (None, len(source)):
            wrong.append(f"{dataset.name}: the split '{name}' holds {len(source):,} images, {expected:,} are "
                         "expected")
        looked = () if drawn else source.spread(count)
        for i in tqdm(looked, desc=f"{dataset.name} {name}", unit="img",
                      leave=False, disable=not progress):
            try:
                pixels = source.original(i)
            except UserError as error:
                bad.append(str(error))
                continue
            sizes.add(pixels.shape[:2])
            if dataset.stored and pixels.shape[:2] != dataset.stored:
                odd.append(f"{source.names[i]} ({_range({pixels.shape[:2]})})")
            look = hashlib.blake2b(pixels.tobytes() + repr(pixels.shape).encode(), digest_size=16).digest()
            twice += look in seen
            seen.setdefault(look, source.names[i])
            if learnt.get(look, source.names[i]) != source.names[i]:
                leaked.append(f"{source.names[i]} = {learnt[look]}")
        wrong += bad
        usual = _range({dataset.stored} - {None})
        wrong += _told(odd, f"{dataset.name}: %s of the split '{name}' are not {usual} as published")
        wrong += _told(leaked, f"{dataset.name}: %s of the split '{name}' show what images of 'train' show")
        learnt = seen if name == "train" else learnt
        keys = set(source.keys)
        trained = keys if name == "train" else trained
        rows.append({"dataset": dataset.name, "split": name, "images": len(source), "groups": len(keys),
                     "groups also in train": "–" if name == "train" or trained is None else
                     len(keys & trained), "height x width": _range(sizes),
                     "decoded": "–" if drawn else len(looked), "bad": len(bad),
                     "duplicates": "–" if drawn else twice})
    return rows, wrong


def verdict(rows, wrong):
    """What `verify` found, in words: what is wrong, or that nothing is in the files that it looked into."""
    partly = [row for row in rows if row["decoded"] not in ("–", row["images"])]
    some = "".join(f"; of {row['dataset']} {row['split']}, {row['decoded']:,} of {row['images']:,} files "
                   "were decoded" for row in partly)
    more = f"{some} (`data verify` decodes all)" if some else ""
    return "\n".join(wrong or ["nothing is wrong"]) + more


def _told(found, sentence):
    """A sentence about some images with its first examples, as a list; [] where there are none."""
    more = ", ..." if len(found) > 3 else ""
    return [f"{sentence % f'{len(found):,} images'}: {', '.join(found[:3])}{more}"] if found else []


def _range(sizes):
    ends = sorted(sizes, key=lambda size: size[0] * size[1])
    return " to ".join(f"{h}x{w}" for h, w in dict.fromkeys([*ends[:1], *ends[-1:]])) or "–"


def marginals(first, second, classes=(), bins=16):
    """Two attribute tables {name: values [n]} side by side, as `audit.histograms`: {name: {"edges" or
    "classes", "first", "second": shares, "apart": half their difference}}.

    classes: {name: words} where values are their indices; other words are classes, 0 and 1 too."""
    result = {}
    for name in first:
        values = [np.asarray(table[name]) for table in (first, second)]
        known = np.unique(np.concatenate(values))
        if name in classes or known.dtype.kind not in "fiu" or set(known.tolist()) <= {0.0, 1.0}:
            words = list(classes[name]) if name in classes else known.tolist()
            known = range(len(words)) if name in classes else known
            shares = [np.array([(v == k).mean() for k in known]) for v in values]
            entry = {"classes": [bool(w) if w in (0, 1) else w for w in words]}
        else:
            edges = np.histogram_bin_edges(known[np.isfinite(known)], bins)
            shares = [np.histogram(v, edges)[0] / len(v) for v in values]
            entry = {"edges": edges.tolist()}
        result[name] = entry | {"first": shares[0].tolist(), "second": shares[1].tolist(),
                                "apart": float(np.abs(shares[0] - shares[1]).sum() / 2)}
    return result


def rank_correlations(table, names):
    """Spearman's correlations of the numeric attributes `names` of a table {name: values [n]}: [m, m]."""
    columns = [ranks(table[name]) for name in names]
    return np.array([[pearson(a, b) for b in columns] for a in columns])


def link(dataset, path):
    """Makes the place where a dataset's YAML expects its images a symbolic link to `path` -> that place."""
    dataset, path = load_dataset(dataset), Path(path).expanduser().resolve()
    if isinstance(dataset.source, RenderedSource):
        raise UserError(f"{dataset.name} is rendered; it has no images to link")
    place = dataset.root
    discover([path])                                      # refuses what is no image, folder, zip or LMDB
    if place.exists() and not place.is_symlink():
        raise UserError(f"{place}, where {dataset.name} expects its images, is there already and is no link")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        new = place.with_name(f".{place.name}.part")
        new.unlink(missing_ok=True)
        new.symlink_to(path, target_is_directory=path.is_dir())
        os.replace(new, place)
    except OSError as error:
        raise UserError(f"cannot link {place} to {path}: {error.strerror or error}") from None
    return place
