"""Is a generator, is an encoder good enough to ship? Histograms by a reader, KID, gates on inversions.

Whole-image L2 does not see faces: a blur of the input without eyes or mouth scores well. So inversions are
judged by regions and by an attribute reader, and the blur must fail the same gates."""
import contextlib
from dataclasses import dataclass, field

import numpy as np
import torch

from .errors import UserError
from .inverter import crop, pool
from .metrics import (attribute_agreement, batches, features, kid, l2, nearest, read_attributes, region_l2,
                      to_floats)
from .models.features import PerceptualNet
from .pixels import to_pixels
from .training.distortions import coarse, imperfect


@dataclass(frozen=True)
class Gates:
    """Bounds on inversions of held-out images; attributes: {name: (score, least value)}."""
    falling: int = 3                    # mean L2 falls at each of these first steps ...
    rise: float = 0.01                  # ... and never rises again above the lowest by more than this share
    regions: tuple = ("eyes", "mouth")
    region_share: float = 0.5           # L2 in the regions' masks, as a share of the start image's
    attributes: dict = field(default_factory=lambda: {
        "yaw": ("r", 0.85), "smile": ("r", 0.6), "glasses": ("accuracy", 0.85)})


def with_truth(domain, split="test", count=500):
    """Held-out images of a domain and their truth: uint8 [N, H, W, C], {attribute: [N]}, {region: masks}.

    Attributes and masks are empty where the dataset has none."""
    from . import data
    dataset, indices = data.domain_dataset(domain, split), np.arange(count)
    images = data.images(dataset, split, domain.encoder_size, count=count, fit=domain.fit, progress=False)[:]
    source = dataset.split(split)
    masks = source.masks(indices, domain.encoder_size) if hasattr(source, "masks") else {}
    return images, source.table(indices) or {}, masks


@torch.no_grad()
def draw(generator, count, *, domain=None, psi=1.0, seed=0, batch=50):
    """`count` samples as uint8 [count, H, W, C]: z from one seed, truncated by psi, constant noise.

    Full squares, or as a domain sees them: cropped and pooled to its encoder size."""
    z = torch.randn(count, generator.z_dim, generator=torch.Generator().manual_seed(seed))
    return draw_from(generator, z, domain=domain, psi=psi, batch=batch)


@torch.no_grad()
def draw_from(generator, z, *, domain=None, psi=1.0, batch=50):
    """As `draw`, of given z [N, z_dim]."""
    device, rows = generator.w_mean.device, []
    for part in z.split(batch):
        images = generator(generator.truncate(generator.mapping(part.to(device)), psi))
        images = images if domain is None else pool(crop(images, domain.crop), domain.encoder_size)
        rows.append(to_pixels(images))
    return np.concatenate(rows)


def histograms(reader, first, second, bins=16):
    """What a reader finds in two sets of images: {name: {"edges" or "classes", "first", "second", "apart"}}.

    first, second: shares of each bin or class; apart: half their difference, 0 (alike) to 1 (disjoint)."""
    read, result = [read_attributes(reader, images) for images in (first, second)], {}
    for attribute in reader.attributes:
        name, values = attribute["name"], [r[attribute["name"]] for r in read]
        if attribute["kind"] == "real":
            both = np.concatenate(values)
            low, high = attribute.get("low"), attribute.get("high")
            low, high = both.min() if low is None else low, both.max() if high is None else high
            edges = np.linspace(low, high, bins + 1)
            shares = [np.histogram(v.clip(edges[0], edges[-1]), edges)[0] / len(v) for v in values]
            entry = {"edges": edges.tolist()}
        elif attribute["kind"] == "binary":
            shares = [np.array([(v <= 0.5).mean(), (v > 0.5).mean()]) for v in values]
            entry = {"classes": [False, True]}
        else:
            shares = [np.bincount(v.argmax(1), minlength=v.shape[1]) / len(v) for v in values]
            classes = attribute["classes"]
            entry = {"classes": list(range(classes)) if isinstance(classes, int) else list(classes)}
        first_share, second_share = shares
        result[name] = entry | {"first": first_share.tolist(), "second": second_share.tolist(),
                                "apart": float(np.abs(first_share - second_share).sum() / 2)}
    return result


def audit_generator(generator, renders, reader, network, *, domain=None, samples=2000, psi=1.0, seed=0):
    """Samples beside training images: uint8 [N, H, W, C] at the domain's encoder size, N = 2 x samples.

    -> {"samples", "renders", "psi", "seed", "histograms" (first: renders, second: samples), "kid",
    "kid_of_renders"}: KID in the features of `network`, samples against renders and half of the renders
    against the other half, each (mean, deviation)."""
    drawn, half = draw(generator, samples, domain=domain, psi=psi, seed=seed), min(samples, len(renders) // 2)
    one, other = renders[:half], renders[half:2 * half]
    seen = [features(network, images) for images in (drawn, one, other)]
    return {"samples": samples, "renders": half, "psi": psi, "seed": seed,
            "histograms": histograms(reader, one, drawn), "kid": kid(seen[0], seen[1], seed=seed),
            "kid_of_renders": kid(seen[1], seen[2], seed=seed)}


def feature_network(domain, device="cpu"):
    """(what it is, network) for KID and perceptual distances: the domain's judge, perceptual network or
    LPIPS, the first that is there; else an untrained one of seed 0, which still tells images apart."""
    from .weights import load_network
    for role in ("judge_perceptual", "perceptual", "lpips"):
        with contextlib.suppress(UserError):
            if role in domain.networks:
                network = load_network(domain.networks[role], role, device)
                return f"the network '{domain.networks[role]}'", network
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return "an untrained perceptual network", PerceptualNet().to(device).eval().requires_grad_(False)


@torch.no_grad()
def variety(network, images):
    """Mean distance of neighbours in a set of images, by a network with `distance`."""
    x = to_floats(images)
    return float(network.distance(x, x.roll(1, 0)).mean())


def truncation(generator, renders, network, psis, *, count=100, domain=None, seed=0):
    """What truncation buys and costs: a row per psi {"psi", "KID", "deviation", "variety"}, the last in
    shares of the renders' (uint8 [N, H, W, C], as the domain sees them)."""
    there, spread, rows = features(network, renders), variety(network, renders[:count]), []
    for psi in psis:
        drawn = draw(generator, count, domain=domain, psi=psi, seed=seed)
        value, deviation = kid(features(network, drawn), there, seed=seed)
        rows.append({"psi": psi, "KID": value, "deviation": deviation,
                     "variety": variety(network, drawn) / spread})
    return rows


def memory(drawn, training, held_out, network, *, seed=0):
    """Does a generator repeat its training images? Distances [n] to the nearest one, and which it is [n]:
    {"samples": (index, distance), "held-out images": ..., "copies": ...}, all uint8 [N, H, W, C].

    Held-out images are what samples should be like. Copies are training images, slightly changed: where a
    memory would lie. The distance is the network's, among the 8 nearest in L2."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        copies = imperfect(to_floats(training[:len(drawn)]), 0.5)
    sets = {"samples": drawn, "held-out images": held_out, "copies": copies}
    return {name: nearest(images, training, distance=network.distance) for name, images in sets.items()}


@torch.no_grad()
def audit_inversion(inverter, images, attributes, masks, reader, *, steps=5, gates=None, batch=50):
    """Inverts held-out images (uint8 [N, H, W, C], see `with_truth`) and holds the result against the gates.

    A one-pass encoder takes its one step, and no gate asks how its error falls.
    -> {"images", "steps", "l2" [T+1], "region_l2" [T+1], "attributes" (read on the last step), "originals"
    (read on the images), "gates": {name: {"value", "bound", "holds"}}, "holds", and "control",
    "control_holds": the same gates for an 8x8 blur of the images."""
    gates, device = gates or Gates(), inverter.device
    steps = 1 if getattr(inverter, "single", False) else steps
    chosen = [np.asarray(masks[region]) for region in gates.regions if region in masks]
    mask = torch.from_numpy(np.clip(sum(chosen), 0, 1)) if chosen else None
    errors, inside, last, blurred = [], [], [], []
    for first, part in zip(range(0, len(images), batch), batches(images, batch, device), strict=True):
        trajectory, blur = inverter(part, steps), coarse(part, 8)
        errors.append(torch.stack([l2(y, part) for y in trajectory.images]).cpu())
        if mask is not None:
            here = mask[first:first + len(part)]
            inside.append(torch.stack([region_l2(y, part, here) for y in (*trajectory.images, blur)]).cpu())
        last.append(trajectory.images[-1].clamp(-1, 1).cpu())
        blurred.append(blur.cpu())
    ours, control, originals = (
        attribute_agreement(read_attributes(reader, x, device=device), attributes, reader.attributes)
        for x in (torch.cat(last), torch.cat(blurred), images))
    errors = torch.cat(errors, 1).double().mean(1).tolist()
    *inside, blur = torch.cat(inside, 1).double().nanmean(1).tolist() if inside else [None, None]
    held = (_falls(gates, errors) if steps > 1 else {}) | _gates(gates, inside, inside[-1], ours)
    control = _gates(gates, inside, blur, control)
    return {"images": len(images), "steps": steps, "l2": errors,
            "region_l2": None if blur is None else inside, "attributes": ours, "originals": originals,
            "gates": held, "holds": all(g["holds"] for g in held.values()),
            "control": control, "control_holds": all(g["holds"] for g in control.values())}


def _falls(gates, errors):
    """Gates on the mean L2 of each step: it falls at first, and hardly rises later."""
    first = gates.falling + 1
    steepest = max((b / a for a, b in zip(errors[:first], errors[1:first], strict=False)), default=0.0)
    later = max((errors[t] / min(errors[:t]) - 1 for t in range(first, len(errors))), default=0.0)
    return {f"L2 falls at steps 1-{gates.falling}": _gate(steepest, 1.0, steepest < 1),
            "L2 rises later": _gate(later, gates.rise, later <= gates.rise)}


def _gates(gates, inside, error, agreement):
    """Gates on the error inside the regions (None: no masks) and on what a reader finds."""
    result = {}
    if error is not None:
        share = error / inside[0]
        name = f"L2 of {' and '.join(gates.regions)}, share of the start's"
        result[name] = _gate(share, gates.region_share, share <= gates.region_share)
    for name, (score, least) in gates.attributes.items():
        if name in agreement:
            value = agreement[name][score]
            result[f"{name} {score}"] = _gate(value, least, value >= least)
    return result


def _gate(value, bound, holds):
    return {"value": float(value), "bound": float(bound), "holds": bool(holds)}


def describe(gates):
    """Gates as lines of text, one a gate."""
    width = max(map(len, gates), default=0)
    return "\n".join(f"{name:<{width}}  {g['value']:.4g} (bound {g['bound']:g}): "
                     f"{'holds' if g['holds'] else 'fails'}" for name, g in gates.items())
