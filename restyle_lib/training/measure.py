"""What feature networks know, measured on held-out images: the numbers that stand in their config.json."""
import numpy as np
import torch

from ..metrics import (attribute_agreement, attribute_distance, colour_auc, features, l2, mean_colours,
                       nearness, read_attributes, to_floats, verification)
from ..statistics import auc, spearman, threshold_accuracy
from .distortions import ordering


def measure(kind, model, images, labels, spec=(), *, device="cpu", pairs=6000, count=256, seed=0):
    """What a feature network knows of held-out images: a JSON-able dict.

    identity: verification AUC and accuracy over `pairs` pairs, beside the AUC of a colour-only verifier.
    attributes: r, accuracy, AUC of each. perceptual: distance of each known change and share in order, beside
    L2's. moco: rank correlation of similarity and attribute distance, see `similarities`."""
    model = model.to(device).eval()
    if kind == "attributes":
        read = read_attributes(model, images, device=device)
        return {"images": len(images), "attributes": attribute_agreement(read, labels, spec)}
    if kind == "identity":
        who, embeddings = labels["identity"], features(model, images, device=device)
        scores, same = verification(embeddings, who, count=pairs, seed=seed)
        return {"images": len(images), "pairs": pairs, "auc": auc(scores, same),
                "accuracy": threshold_accuracy(scores, same),
                "colour_only_auc": colour_auc(images, who, count=pairs, seed=seed)}
    if kind == "moco":
        distance, found = similarities({"moco": model}, images, labels, spec, pairs, seed, device)
        return {"images": len(images), "pairs": pairs, "weighted": any("weight" in a for a in spec),
                **{f"{name}_spearman": -spearman(near, distance) for name, near in found.items()}}
    x, same, other = triples(images, labels.get("identity"), count, seed, device)
    result = {"images": len(x)}
    for name, distance in (("distance", model.distance), ("l2", l2)):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            result[name], result[f"{name}_in_order"] = ordering(distance, x, same, other)
    return result


def triples(images, identities, count, seed, device):
    """Images, another picture of each one's identity (None if unknown), and one of another identity."""
    rng, n = np.random.default_rng(seed), len(images)
    rows = rng.permutation(n)[:count]
    same, other = None, np.roll(rows, 1)
    if identities is not None:
        who = np.asarray(identities)
        paired = [r for r in rows if (who == who[r]).sum() > 1 and (who != who[r]).any()]
        if paired:
            rows = paired
            same = [rng.choice(np.flatnonzero((who == who[r]) & (np.arange(n) != r))) for r in rows]
            other = [rng.choice(np.flatnonzero(who != who[r])) for r in rows]
    return [None if r is None else to_floats(np.stack([images[i] for i in r]), device)
            for r in (rows, same, other)]


def similarities(networks, images, labels, spec, pairs=6000, seed=0, device="cpu"):
    """How alike random pairs of images are: (attribute distance [pairs], {name: similarity [pairs]}) by each
    of `networks` {name: module with unit features} (their cosine), by L2 and by mean colours.

    Attributes count by how well they can be read, where the spec has such a weight: what nobody sees at this
    size, no similarity can follow."""
    rng, n = np.random.default_rng(seed), len(images)
    first = rng.integers(n, size=pairs)
    second = (first + rng.integers(1, n, size=pairs)) % n
    found = {}
    for name, network in networks.items():
        embedded = features(network, images, device=device).numpy()
        found[name] = (embedded[first] * embedded[second]).sum(1)
    flat, colours = to_floats(np.asarray(images)).flatten(1), mean_colours(images)
    found["l2"] = -torch.cdist(flat, flat).numpy()[first, second]
    found["colour"] = nearness(colours[first], colours[second])
    return attribute_distance(labels, spec, first, second), found
