"""What notebook 11 asks of feature networks beyond their training: which are there, how each measure sees
known changes, and samples whose truth is known."""
import numpy as np
import torch

from . import audit, data, weights
from .errors import UserError
from .metrics import attribute_agreement, l2
from .training.commands import held_out_split, labelled
from .training.distortions import known_changes, ordering
from .training.measure import triples

KINDS = {"identity": "identity", "judge_identity": "identity-judge", "perceptual": "perceptual",
         "judge_perceptual": "perceptual-judge", "attributes": "attributes", "moco": "moco"}


def present(domain, device="cpu"):
    """The feature networks that a domain names, and their judges: ({role: module} of those that are there,
    {role: name} of those that are not)."""
    found, missing = {}, {}
    for kind in (kind for kind in KINDS if kind.removeprefix("judge_") in domain.networks):
        name = domain.networks.get(kind, f"{domain.name}/{KINDS[kind]}")
        try:
            found[kind] = weights.load_network(name, kind, device)
        except UserError:
            missing[kind] = name
    return found, missing


def describe(network):
    """{"trunk", "parameters"} of a network; None where there is none."""
    if network is None:
        return {"trunk": None, "parameters": None}
    return {"trunk": network.config.get("backbone") or "plain convolutions",
            "parameters": sum(p.numel() for p in network.parameters())}


def held_out(domain, count=None, identities=None, progress=False):
    """Images of the split that training looks at but never learns from: (uint8 [N, H, W, C], labels, specs).

    The first `count`, or all of the first `identities` ones."""
    dataset = data.domain_dataset(domain, "test")
    split = held_out_split(dataset)
    if identities is not None:
        count = int(np.searchsorted(dataset.split(split).groups, identities))
    images, labels, specs = labelled(dataset, split, domain, count, progress)
    return images[:], labels, specs


def known_samples(generator, domain, count, seed=0):
    """Samples of a generator of a rendered domain whose truth is known: (uint8 [count, H, W, C], {attribute:
    [count]}), or None where the generator has not learned from the renderer's draws (see training.warm).

    The codes are those of test images; the rest of z is drawn from the seed."""
    dataset = data.domain_dataset(domain, "test")
    learned = weights.facts(domain.generator, "generator").get("training", {}).get("warm_images")
    if not learned or dataset.source.kind != "rendered":
        return None
    source = dataset.split("test")
    rows = np.arange(min(count, len(source)))
    codes = torch.as_tensor(source.codes(rows), dtype=torch.float32)
    rest = torch.randn(len(rows), generator.z_dim - codes.shape[1],
                       generator=torch.Generator().manual_seed(seed))
    return audit.draw_from(generator, torch.cat([codes, rest], 1), domain=domain), source.table(rows)


def changes(networks, images, labels, count, seed=0, device="cpu"):
    """How L2 and each of `networks` {name: module with `distance`} see known changes of `count` images.

    -> ({change: its images [n, C, H, W], the originals as "original"}, {measure: {change: mean distance}},
    {measure: share of pairs of changes in the order of distortions.ORDER})."""
    x, same, other = triples(images, labels.get("identity"), count, seed, device)
    means, order = {}, {}
    for name, distance in {"L2": l2, **{n: network.distance for n, network in networks.items()}}.items():
        torch.manual_seed(seed)
        means[name], order[name] = ordering(distance, x, same, other)
    torch.manual_seed(seed)
    return {"original": x, **known_changes(x, same, other)}, means, order


def neighbours(similarity, queries, count=3):
    """similarity [N, N] (torch) -> the `count` most similar others of each query: int array [n, count]."""
    rows = similarity[queries].clone()
    rows[torch.arange(len(queries)), torch.as_tensor(queries)] = -torch.inf
    return rows.topk(count, 1).indices.numpy()


def agreement(read, truth, attributes):
    """attribute_agreement, one score each: {name: ("r", "auc" or "accuracy", value)}, where defined."""
    scores = {"real": "r", "binary": "auc", "category": "accuracy"}
    names = {a["name"]: scores[a["kind"]] for a in attributes}
    found = attribute_agreement(read, truth, attributes)
    return {name: (names[name], each[names[name]]) for name, each in found.items()
            if np.isfinite(each[names[name]])}
