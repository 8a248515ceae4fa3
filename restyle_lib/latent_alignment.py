"""Are two generators' latent spaces aligned? The same w through both (Appendix D, Figure 17), in numbers."""
import numpy as np
import torch
import torch.nn.functional as F

from .errors import UserError
from .inverter import crop, pool
from .metrics import identity, read_attributes
from .statistics import Interval, bootstrap, paired_interval

ASKED = ("yaw", "pitch", "smile", "glasses", "hair_style", "hair_melanin", "skin_melanin")


@torch.no_grad()
def same_latents(first, second, count=64, *, seed=0, psi=1.0, domain=None, batch=32):
    """What two generators draw of the same w, mapped by the first (Figure 17): two [N, C, H, W], [-1, 1].

    As a domain sees them, cropped and pooled; without one, whole, pooled to the smaller of both."""
    latents, other = ([g.n_styles, g.w_dim, g.image_channels] for g in (first, second))
    if latents != other:
        raise UserError("two generators that share no latent space cannot be aligned: the first takes "
                        f"{latents[0]}x{latents[1]} and draws {latents[2]} channels, the second "
                        f"{other[0]}x{other[1]} and {other[2]}")
    z = torch.randn(count, first.z_dim, generator=torch.Generator().manual_seed(seed))
    bounds = domain.crop if domain else (0, None, 0, None)
    size = domain.encoder_size if domain else (min(first.resolution, second.resolution),) * 2
    rows = []
    for part in z.split(batch):
        w = first.truncate(first.mapping(part.to(first.w_mean)), psi)
        rows.append([pool(crop(g(w.to(g.w_mean)), bounds), size).clamp(-1, 1).cpu() for g in (first, second)])
    return tuple(torch.cat(images) for images in zip(*rows, strict=True))


def score(a, b, cells=16):
    """How surely the partner of an image a[i] is found among images b: Interval; 1 sure, 0.5 chance.

    The share of other images of b that are less like a[i] than b[i] is, by the correlation of grey images
    averaged to about `cells` cells a side, after each set's mean image is taken off. Needs no network."""
    if len(a) < 3:
        raise UserError(f"{len(a)} pairs tell nothing about alignment; give 3 or more")
    flat = []
    for images in (a, b):
        small = F.adaptive_avg_pool2d(images.float().mean(1, keepdim=True), cells).flatten(1)
        small = small - small.mean(0)
        flat.append(F.normalize(small - small.mean(1, keepdim=True), dim=1))
    near = flat[0] @ flat[1].T
    own = near.diagonal()[:, None]
    less = (near < own).double() + 0.5 * (near == own)
    less.fill_diagonal_(0)
    return bootstrap(less.sum(1).numpy() / (len(a) - 1))


def inspected(first, second, count=64, seed=0):
    """The line that `inspect A B` prints: the score of `count` random w."""
    found = score(*same_latents(first, second, count, seed=seed))
    return (f"alignment on {count} random w: {found}; 1: the same w always draws the most alike pair, "
            "0.5: the two latent spaces have nothing in common")


def shuffled(count, seed=0):
    """An order without fixed points: the partner of each of `count` images in a shuffled pair, [count]."""
    order = np.random.Generator(np.random.Philox(seed)).permutation(count)
    partner = np.empty(count, int)
    partner[order] = np.roll(order, 1)
    return partner


def correlations(first, second, names, *, seed=0, resamples=500):
    """Attributes read on both images of pairs, {name: [N] or [N, classes]} each -> for every name that both
    have {"true", "shuffled", "difference"}: Intervals of the correlation over pairs (Appendix D in numbers).

    Classes are centred and correlated together; what does not vary correlates with nothing."""
    names = [name for name in names if name in first and name in second]
    count = len(next(iter(first.values())))
    rng, partner = np.random.Generator(np.random.Philox(seed)), shuffled(count, seed)
    rows = np.concatenate([np.arange(count)[None], rng.integers(0, count, (resamples, count))])
    found = {}
    for name in names:
        x, y = (np.asarray(v[name], dtype=np.float64).reshape(count, -1) for v in (first, second))
        true, strangers = _correlation(x[rows], y[rows]), _correlation(x[rows], y[partner[rows]])
        columns = {"true": true, "shuffled": strangers, "difference": true - strangers}
        found[name] = {what: _interval(values, count) for what, values in columns.items()}
    return found


def _correlation(x, y):
    """Of [R, N, c] and [R, N, c] over all columns, each centred -> [R]; 0 where one does not vary."""
    x, y = x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
    scale = np.sqrt((x * x).sum((1, 2)) * (y * y).sum((1, 2)))
    return np.where(scale > 1e-12, (x * y).sum((1, 2)) / scale.clip(1e-12), 0.0)


def _interval(values, count):
    """The first of values, with the 95 % interval of the resampled others."""
    return Interval(float(values[0]), *map(float, np.quantile(values[1:], [0.025, 0.975])), count)


def likeness(network, a, b, seed=0):
    """Identity similarity of true and of shuffled pairs of images: {"true", "shuffled", "difference"}."""
    true = identity(network, a, b).double().cpu().numpy()
    strangers = identity(network, a, b[shuffled(len(a), seed)]).double().cpu().numpy()
    return {"true": bootstrap(true), "shuffled": bootstrap(strangers),
            "difference": paired_interval(true, strangers)}


def alignment(first, second, readers=(), network=None, *, names=ASKED, count=64, seed=0, psi=1.0,
              domain=None):
    """How well two latent spaces are aligned -> {"images": (a, b), "score": Interval, "attributes": see
    `correlations`, "identity": see `likeness`}; what has no network is empty.

    readers: one attribute reader for both, or (the first's, the second's)."""
    a, b = same_latents(first, second, count, seed=seed, psi=psi, domain=domain)
    readers = tuple(readers) if isinstance(readers, (tuple, list)) else (readers, readers)
    device = first.w_mean.device
    read = [read_attributes(r, x, device=device) for r, x in zip(readers, (a, b), strict=False)]
    found = correlations(*read, names, seed=seed) if read else {}
    alike = likeness(network, a.to(device), b.to(device), seed) if network is not None else {}
    return {"images": (a, b), "score": score(a, b), "attributes": found, "identity": alike}


def evidence(found, readable=None):
    """Yields (name, Interval, unit, {claim, part, attribute}) of the claim `aligned` from an `alignment`.

    readable: names that a reader can read in both styles; the others say nothing about the latents."""
    for name, rows in found["attributes"].items():
        if readable is None or name in readable:
            where = {"claim": "aligned", "part": "correlation", "attribute": name}
            yield "attribute correlation, true - shuffled pairs", Interval(*rows["difference"]), "r", where
