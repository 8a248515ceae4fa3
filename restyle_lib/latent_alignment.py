"""Are two generators' latent spaces aligned? The same w through both (Appendix D, Figure 17), in numbers."""
import numpy as np
import torch
import torch.nn.functional as F

from .errors import UserError
from .inverter import crop, pool
from .metrics import features, read_attributes
from .statistics import Interval, bootstrap, paired_interval
from .tables import Table

ASKED = ("yaw", "pitch", "smile", "glasses", "hair_style", "hair_melanin", "skin_melanin")


def same_latents(first, second, count=64, *, seed=0, psi=1.0, domain=None, batch=32):
    """What two generators draw of the same w, mapped by the first (Figure 17): two [N, C, H, W], [-1, 1].

    As a domain sees them, cropped and pooled; without one, whole, pooled to the smaller of both."""
    w, bounds, size = _latents(first, [second], count, seed, psi, domain)
    return tuple(_drawn(g, w, bounds, size, batch) for g in (first, second))


@torch.no_grad()
def _latents(first, others, count, seed, psi, domain):
    """Random w [N, d], mapped by the first, and (crop, size) of what all generators draw of them."""
    for other in others:
        latents, theirs = ([g.n_styles, g.w_dim, g.image_channels] for g in (first, other))
        if latents != theirs:
            raise UserError("two generators that share no latent space cannot be aligned: the first takes "
                            f"{latents[0]}x{latents[1]} and draws {latents[2]} channels, the second "
                            f"{theirs[0]}x{theirs[1]} and {theirs[2]}")
    z = torch.randn(count, first.z_dim, generator=torch.Generator().manual_seed(seed))
    w = [first.truncate(first.mapping(part.to(first.w_mean)), psi) for part in z.split(256)]
    bounds = domain.crop if domain else (0, None, 0, None)
    size = domain.encoder_size if domain else (min(g.resolution for g in (first, *others)),) * 2
    return torch.cat(w), bounds, size


@torch.no_grad()
def _drawn(generator, w, bounds, size, batch=32):
    """Images [N, C, H, W] in [-1, 1], on the CPU, of latents w [N, d] or [N, k, d]."""
    parts = (generator(part.to(generator.w_mean)) for part in w.split(batch))
    return torch.cat([pool(crop(images, bounds), size).clamp(-1, 1).cpu() for images in parts])


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
    return _alike(*(features(network, images, device=images.device) for images in (a, b)), seed)


def _alike(x, y, seed):
    """As `likeness`, of unit embeddings [N, d]."""
    true = (x * y).sum(1).double().numpy()
    strangers = (x * y[shuffled(len(x), seed)]).sum(1).double().numpy()
    return {"true": bootstrap(true), "shuffled": bootstrap(strangers),
            "difference": paired_interval(true, strangers)}


def alignment(first, second, readers=(), network=None, **how):
    """How well two latent spaces are aligned: `series` of one other generator."""
    return series(first, {"": second}, readers, network, **how)[""]


def series(first, others, readers=(), network=None, *, names=ASKED, count=64, seed=0, psi=1.0, domain=None,
           keep=None, again=None, style=None):
    """How well the first generator's latents are aligned with those of others {label: Generator}, on the same
    w -> {label: {"images": (a, b), the first `keep` of them, "score": Interval, "attributes": see
    `correlations`, "identity": see `likeness`, "readers": {name: Interval}, "toon-ness": Interval}}; what has
    no network is empty.

    readers: one attribute reader for all, or (the first's, the others'). again: a second reader, trained
    apart; where truth is unknown, "readers" says how its readings of b correlate with those of the first.
    style: images -> [N], such as a ToonNess; its mean over b is "toon-ness"."""
    w, bounds, size = _latents(first, others.values(), count, seed, psi, domain)
    readers = tuple(readers) if isinstance(readers, (tuple, list)) else (readers, readers)
    device, found, a = first.w_mean.device, {}, _drawn(first, w, bounds, size)
    known = read_attributes(readers[0], a, device=device) if readers else {}
    faces = None if network is None else features(network, a, device=device)
    for label, other in others.items():
        if same := [done for done in found if others[done] is other]:
            found[label] = found[same[0]]
            continue
        b = a if other is first else _drawn(other, w, bounds, size)
        read = read_attributes(readers[1], b, device=device) if readers else {}
        twice = correlations(read, read_attributes(again, b, device=device), names, seed=seed) \
            if again is not None and readers else {}
        found[label] = {
            "images": (a[:keep], b[:keep]), "score": score(a, b),
            "attributes": correlations(known, read, names, seed=seed) if readers else {},
            "identity": {} if network is None else _alike(faces, features(network, b, device=device), seed),
            "readers": {name: rows["true"] for name, rows in twice.items()},
            "toon-ness": None if style is None else bootstrap(style(b.to(device)))}
    return found


def lines(found, names):
    """For curves over a list of alignments: ({name: [Interval of true pairs]}, [[Interval of shuffled]])."""
    rows = [one["attributes"] for one in found]
    return ({name: [row[name]["true"] for row in rows] for name in names},
            [[row[name]["shuffled"] for name in names] for row in rows])


def table(found, names=()):
    """A row for each of {label: alignment}: partner found, mean correlation of `names`, identity of pairs."""
    rows = Table()
    for label, one in found.items():
        read = [one["attributes"][name] for name in names]
        means = {f"mean r, {what}": float(np.mean([row[what].estimate for row in read]))
                 for what in ("true", "shuffled") if read}
        alike = {f"identity, {what}": str(value) for what, value in one["identity"].items()}
        drawn = {"toon-ness": str(one["toon-ness"])} if one["toon-ness"] else {}
        rows.append({"generator": label, **drawn, "partner found": str(one["score"]), **means, **alike})
    return rows


def evidence(found, readable=None):
    """Yields (name, Interval, unit, {claim, part, attribute}) of the claim `aligned` from an `alignment`.

    readable: names that a reader can read in both styles; the others say nothing about the latents."""
    for name, rows in found["attributes"].items():
        if readable is None or name in readable:
            where = {"claim": "aligned", "part": "correlation", "attribute": name}
            yield "attribute correlation, true - shuffled pairs", Interval(*rows["difference"]), "r", where
