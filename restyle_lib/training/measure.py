"""What feature networks know, measured on held-out images: the numbers that stand in their config.json."""
import numpy as np
import torch

from ..metrics import (attribute_agreement, colour_auc, features, l2, read_attributes, to_floats,
                       verification_auc)
from .distortions import ordering


def measure(kind, model, images, labels, spec=(), *, device="cpu", pairs=6000, count=256, seed=0):
    """What a feature network knows of held-out images: a JSON-able dict.

    identity: verification AUC over `pairs` pairs, beside that of a colour-only verifier. attributes: r,
    accuracy, AUC of each. perceptual: distance of each known change and share in order, beside L2's."""
    model = model.to(device).eval()
    if kind == "attributes":
        read = read_attributes(model, images, device=device)
        return {"images": len(images), "attributes": attribute_agreement(read, labels, spec)}
    if kind == "identity":
        who, embeddings = labels["identity"], features(model, images, device=device)
        return {"images": len(images), "pairs": pairs,
                "auc": verification_auc(embeddings, who, count=pairs, seed=seed),
                "colour_only_auc": colour_auc(images, who, count=pairs, seed=seed)}
    x, same, other = _triples(images, labels.get("identity"), count, seed, device)
    result = {"images": len(x)}
    for name, distance in (("distance", model.distance), ("l2", l2)):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            result[name], result[f"{name}_in_order"] = ordering(distance, x, same, other)
    return result


def _triples(images, identities, count, seed, device):
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
