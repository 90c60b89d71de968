"""Means and medians of scores of cells, estimated from sampled cells, with intervals."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.99
# First sample of each stratum, and of all cells for a median. With fewer cells, the spread that
# determines the size of the sample would be too uncertain.
FIRST_OF_STRATUM, FIRST_OF_ALL = 200, 1000


class UndefinedMetricError(ValueError):
    """A metric is not defined on these cells."""


@dataclass(frozen=True)
class Estimate:
    """The value of a metric.

    Attributes:
        value: the metric.
        half_width: half the width of its interval, 0 if the value is exact.
        n_sampled: number of cells that were scored; None for all.
    """

    value: float
    half_width: float = 0.0
    n_sampled: int | None = None


class Remembered:
    """Scores of cells, each computed once.

    Args:
        score: function from rows to scores.
        n_cells: number of cells.
    """

    def __init__(self, score: Callable[[np.ndarray], np.ndarray], n_cells: int) -> None:
        self.score, self.values, self.known = score, np.zeros(n_cells), np.zeros(n_cells, bool)

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Return the scores of these rows."""
        new = rows[~self.known[rows]]
        if len(new):
            self.values[new], self.known[new] = self.score(new), True
        return self.values[rows]


def stratified_mean(
    score: Callable[[np.ndarray], np.ndarray], strata: np.ndarray, weights: np.ndarray, limit: float, seed: int
) -> Estimate:
    """Return the weighted mean of the strata's mean scores, from sampled cells.

    Cells are sampled until the half-width of the interval is at most `limit`. The variance is that
    of sampling without replacement (Cochran 1977, 5.6). The spread of each stratum counts a 0 and a
    1 besides its scores (as in Agresti and Coull 1998), so that a few equal scores do not appear
    certain.

    Args:
        score: function from rows to scores between 0 and 1.
        strata: stratum of each cell, 0 … len(weights) - 1; -1 for cells that do not count.
        weights: of the strata, summing to 1. No stratum is empty.
        limit: largest half-width.
        seed: seed of the sampling.
    """
    order = np.random.default_rng(seed).permutation(len(strata))
    members = [order[strata[order] == stratum] for stratum in range(len(weights))]
    sizes = np.array([len(m) for m in members])
    n, z = np.minimum(sizes, FIRST_OF_STRATUM), stats.norm.ppf((1 + CONFIDENCE) / 2)
    while True:
        scores = np.split(score(np.concatenate([m[:k] for m, k in zip(members, n, strict=True)])), np.cumsum(n)[:-1])
        spreads = np.array([np.var(np.append(s, (0, 1)), ddof=1) for s in scores])
        half = z * np.sqrt((weights**2 * spreads * (1 / n - 1 / sizes)).sum())
        if half <= limit:
            return Estimate(float(weights @ [s.mean() for s in scores]), float(half), int(n.sum()))
        n = enlarged(n, sizes, weights * np.sqrt(spreads), (0.95 * limit / z) ** 2)


def enlarged(n: np.ndarray, sizes: np.ndarray, deviations: np.ndarray, variance: float) -> np.ndarray:
    """Return larger samples of the strata, for a wanted variance of the mean.

    By Neyman's allocation (Cochran 1977, 5.9); the samples grow in any case.

    Args:
        n: number of sampled cells of each stratum.
        sizes: number of cells of each stratum.
        deviations: weight times standard deviation of each stratum.
        variance: wanted variance of the mean.
    """
    wanted = deviations * deviations.sum() / (variance + (deviations**2 / sizes).sum())
    larger = np.clip(np.ceil(wanted).astype(int), n, sizes)
    return larger if (larger > n).any() else np.minimum(2 * n, sizes)


def sampled_median(score: Callable[[np.ndarray], np.ndarray], n_cells: int, limit: float, seed: int) -> Estimate:
    """Return the median score, from sampled cells.

    Cells are sampled until the half-width of the interval is at most `limit`. The interval makes no
    assumption on the scores: the ranks between which the median of all cells lies are
    hypergeometric.

    Args:
        score: function from rows to scores.
        n_cells: number of cells.
        limit: largest half-width.
        seed: seed of the sampling.
    """
    order = np.random.default_rng(seed).permutation(n_cells)
    n = min(FIRST_OF_ALL, n_cells)
    while True:
        ranked = np.sort(score(order[:n]))
        low, high = stats.hypergeom.interval(CONFIDENCE, n_cells, n_cells // 2, n)
        middle = np.median(ranked)
        half = (
            max(middle - ranked[max(int(low) - 1, 0)], ranked[min(int(high), n - 1)] - middle) if n < n_cells else 0.0
        )
        if half <= limit:
            return Estimate(float(middle), float(half), n)
        n = min(n_cells, int(n * np.clip((half / limit) ** 2, 1.5, 8)))
