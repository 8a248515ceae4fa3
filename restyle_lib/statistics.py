"""Small statistics with their uncertainty, in numpy: paired bootstrap intervals, correlation, rank scores."""
from typing import NamedTuple

import numpy as np

from .errors import UserError


class Interval(NamedTuple):
    """An estimate with its bootstrap interval; `count` is the number of paired observations."""
    estimate: float
    low: float
    high: float
    count: int

    def __str__(self):
        return f"{self.estimate:.4g} [{self.low:.4g}, {self.high:.4g}] (n={self.count})"


def bootstrap(*columns, statistic=np.mean, level=0.95, resamples=2000, seed=0):
    """Percentile bootstrap of `statistic(*columns)`; columns [n] are resampled together, so pairs stay pairs.

    `statistic` maps arrays [..., n] to [...] when it takes `axis` (mean, median), else [n] to a number.
    Returns an Interval; a single observation gives an interval of width zero. Raises UserError when empty."""
    columns = [np.asarray(c, dtype=np.float64).reshape(-1) for c in columns]
    n = len(columns[0])
    if n == 0 or any(len(c) != n for c in columns):
        raise UserError(f"a bootstrap needs equally many observations in each column, at least one; got "
                        f"{[len(c) for c in columns]}")
    rng = np.random.Generator(np.random.Philox(seed))
    along = statistic in (np.mean, np.median)
    values = []
    chunk = max(1, min(resamples, 2_000_000 // n))
    for first in range(0, resamples, chunk):
        index = rng.integers(0, n, (min(chunk, resamples - first), n))
        if along:
            values.append(statistic(columns[0][index], axis=1))
        else:
            values.append([statistic(*(c[i] for c in columns)) for i in index])
    low, high = np.nanquantile(np.concatenate(values), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(statistic(*columns)), float(low), float(high), n)


def paired_interval(a, b, *, level=0.95, resamples=2000, seed=0):
    """The mean of a - b over paired images [n], with its bootstrap interval."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise UserError("paired columns must be two equally long lists of numbers, got shapes "
                        f"{a.shape} and {b.shape}")
    return bootstrap(a - b, level=level, resamples=resamples, seed=seed)


def pearson(a, b):
    """Correlation of two columns [n]; 0.0 when one of them does not vary."""
    a = np.asarray(a, dtype=np.float64) - np.mean(a)
    b = np.asarray(b, dtype=np.float64) - np.mean(b)
    scale = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / scale) if scale > 0 else 0.0


def ranks(values):
    """Ranks from 1, ties sharing their mean rank: [n] -> [n]."""
    _, inverse, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse.reshape(-1)]


def spearman(a, b):
    """Rank correlation of two columns [n]."""
    return pearson(ranks(a), ranks(b))


def auc(scores, positive):
    """Area under the ROC curve by ranks (Mann-Whitney), ties counting half; scores [n], positive [n] of bool.

    nan when one class is empty."""
    positive = np.asarray(positive, dtype=bool)
    inside, outside = int(positive.sum()), int((~positive).sum())
    if inside == 0 or outside == 0:
        return float("nan")
    total = ranks(scores)[positive].sum()
    return float((total - inside * (inside + 1) / 2) / (inside * outside))


def roc(scores, positive):
    """(share of false alarms, share of hits) at every threshold: arrays from (0, 0) to (1, 1)."""
    scores, positive = np.asarray(scores, dtype=np.float64), np.asarray(positive, dtype=bool)
    order = np.argsort(-scores, kind="stable")
    last = np.r_[np.flatnonzero(np.diff(scores[order])), len(scores) - 1]             # of equal scores
    hits, alarms = np.cumsum(positive[order])[last], np.cumsum(~positive[order])[last]
    return np.r_[0, alarms] / max(1, alarms[-1]), np.r_[0, hits] / max(1, hits[-1])


def threshold_accuracy(scores, positive):
    """Share of observations [n] right at the threshold that is best on half of each class, on the others."""
    order = np.argsort(np.asarray(positive, dtype=bool), kind="stable")
    scores, positive = np.asarray(scores, dtype=np.float64)[order], np.asarray(positive, dtype=bool)[order]
    tried, right = np.sort(scores[::2])[:, None], positive[::2]
    best = ((scores[::2] >= tried) == right).mean(1).argmax()
    return float(((scores[1::2] >= tried[best]) == positive[1::2]).mean())
