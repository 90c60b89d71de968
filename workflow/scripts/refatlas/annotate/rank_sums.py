"""Rank-sum tests of one gene between each group of cells and all others, overall and within batches.

Values are sorted once and shared by all groupings of the cells. Zeros are not stored: they are one
tie below all values.
"""

from typing import NamedTuple

import numpy as np

from refatlas.numba_cache import cached_njit

# A batch takes part in a group's test within batches if it has so many cells of the group and of the rest.
MIN_CELLS = 5
# Added to both sides of a fold change, as scanpy does.
PSEUDO_MEAN = 1e-9
STATISTICS = (
    "score",
    "auc",
    "log2_fold_change",
    "share_in",
    "share_out",
    "mean_in",
    "mean_out",
    "batch_score",
    "batch_log2_fold_change",
    "n_batches",
    "n_batches_up",
)


class Ranks(NamedTuple):
    """What the values of a gene add up to.

    Attributes:
        tally: of each part, in float64: number of values, their sum, rank sum over all cells, rank
            sum within the batch; zeros have ranks, too. Shape (n_parts, 4).
        n_cells: of each batch that measured the gene, 0 for others.
        ties: sum of n³ - n over the ties of each batch.
        all_ties: the same over all cells.
        n_values: number of cells in which the gene is detected.
    """

    tally: np.ndarray
    n_cells: np.ndarray
    ties: np.ndarray
    all_ties: float
    n_values: int


@cached_njit()
def rank_values(values, cells, parts, measured):
    """Return the `Ranks` of one gene.

    Args:
        values: the gene's positive values in ascending order, shape (n_values,).
        cells: cell of each value.
        parts: `Parts` of the cells. Cells without a part take no part.
        measured: whether each batch measured the gene. The cells of others take no part.
    """
    tally = np.zeros((len(parts.sizes), 4))
    own_values, own_parts = _own_values(values, cells, parts.parts, tally)
    n_cells, n_below = np.zeros(parts.n_batches, dtype=np.int64), np.zeros(parts.n_batches, dtype=np.int64)
    for part in range(len(parts.sizes)):
        batch = parts.batches[part]
        if measured[batch]:
            n_cells[batch] += parts.sizes[part]
            n_below[batch] += parts.sizes[part] - np.int64(tally[part, 0])
    ties, all_below = np.empty(parts.n_batches), n_below.sum()
    for batch in range(parts.n_batches):
        ties[batch] = _cube(n_below[batch])
    for part in range(len(parts.sizes)):
        n_zeros = parts.sizes[part] - tally[part, 0]
        tally[part, 2] = n_zeros * (all_below + 1) / 2
        tally[part, 3] = n_zeros * (n_below[parts.batches[part]] + 1) / 2
    all_ties = _cube(all_below) + _add_ranks(own_values, own_parts, parts.batches, n_below, ties, tally)
    return Ranks(tally, n_cells, ties, all_ties, len(own_values))


@cached_njit()
def _own_values(values, cells, parts, tally):
    """Return values and parts of the cells that have a group, and count and sum them by part."""
    own_values, own_parts = np.empty(len(values), dtype=values.dtype), np.empty(len(values), dtype=np.int32)
    n = 0
    for place in range(len(values)):
        part = parts[cells[place]]
        if part >= 0:
            own_values[n], own_parts[n] = values[place], part
            tally[part, 0] += 1
            tally[part, 1] += values[place]
            n += 1
    return own_values[:n], own_parts[:n]


@cached_njit()
def _cube(n):
    return np.float64(n) ** 3 - n


@cached_njit()
def _add_ranks(values, parts, batches, n_below, ties, tally):
    """Add the ranks of all values to the rank sums; return the sum of n³ - n over their ties.

    Args:
        parts: of each value.
        batches: of each part.
        n_below: cells of each batch that are below the next value; ends as the number of its cells.
        ties: sum of n³ - n of each batch, added to.
        tally: rank sums in the columns 2 and 3.
    """
    all_ties, below, start = 0.0, n_below.sum(), 0
    n_tied = np.zeros(len(n_below), dtype=np.int64)
    while start < len(values):
        stop = start + 1
        while stop < len(values) and values[stop] == values[start]:
            stop += 1
        if stop == start + 1:
            part = parts[start]
            batch = batches[part]
            n_below[batch] += 1
            tally[part, 2] += below + 1
            tally[part, 3] += n_below[batch]
        else:
            all_ties += _cube(stop - start)
            _add_tie(parts[start:stop], batches, below, n_below, n_tied, ties, tally)
        below += stop - start
        start = stop
    return all_ties


@cached_njit()
def _add_tie(parts, batches, below, n_below, n_tied, ties, tally):
    """Add the mean rank of equal values to the rank sums. `n_tied` is zero before and after."""
    for part in parts:
        n_tied[batches[part]] += 1
    rank = below + (len(parts) + 1) / 2
    for part in parts:
        batch = batches[part]
        tally[part, 2] += rank
        tally[part, 3] += n_below[batch] + (n_tied[batch] + 1) / 2
    for part in parts:
        batch = batches[part]
        if n_tied[batch]:
            ties[batch] += _cube(n_tied[batch])
            n_below[batch] += n_tied[batch]
            n_tied[batch] = 0


@cached_njit()
def compare_groups(ranks, grouping, measured, found):
    """Fill in the statistics of one gene for all groups of a grouping.

    Args:
        ranks: of `rank_values`.
        grouping: of the same parts.
        measured: whether each batch measured the gene.
        found: filled, shape (n_groups, len(STATISTICS)).
    """
    tally = np.zeros((len(grouping.sizes), 4))
    for part in range(len(grouping.pairs)):
        for column in range(4):
            tally[grouping.pairs[part], column] += ranks.tally[part, column]
    _test_overall(grouping, measured, tally, ranks.n_cells.sum(), ranks.all_ties, found)
    _test_within_batches(grouping, measured, tally, ranks.n_cells, ranks.ties, found)


@cached_njit()
def _fold_change(mean_in, mean_out):
    return np.log2((np.expm1(mean_in) + PSEUDO_MEAN) / (np.expm1(mean_out) + PSEUDO_MEAN))


@cached_njit()
def _standard_score(deviation, variance):
    """Return a deviation in standard deviations; 0 where all ranks are equal."""
    return deviation / np.sqrt(variance) if variance > 0 else 0.0


@cached_njit()
def _test_overall(grouping, measured, tally, n_cells, ties, found):
    """Fill in the statistics over all cells; missing for a group that has no cells, or no rest."""
    # Of each group: number of cells, of values, their sum, their rank sum.
    groups = np.zeros((grouping.n_groups, 4))
    for pair in range(len(grouping.sizes)):
        if measured[grouping.batch_of_pair[pair]]:
            group = grouping.group_of_pair[pair]
            groups[group, 0] += grouping.sizes[pair]
            for column in range(3):
                groups[group, column + 1] += tally[pair, column]
    n_values, total = groups[:, 1].sum(), groups[:, 2].sum()
    tied = ties / _cube(n_cells) if n_cells > 1 else 1.0
    for group in range(grouping.n_groups):
        n, rest = groups[group, 0], n_cells - groups[group, 0]
        found[group, :7] = np.nan
        if n > 0:
            found[group, 3], found[group, 5] = groups[group, 1] / n, groups[group, 2] / n
        if n > 0 and rest > 0:
            deviation = groups[group, 3] - n * (n_cells + 1) / 2
            found[group, 0] = _standard_score(deviation, (1 - tied) * n * rest * (n_cells + 1) / 12)
            found[group, 1] = deviation / (n * rest) + 0.5
            mean_out = max(total - groups[group, 2], 0.0) / rest
            found[group, 4], found[group, 6] = (n_values - groups[group, 1]) / rest, mean_out
            found[group, 2] = _fold_change(groups[group, 2] / n, mean_out)


@cached_njit()
def _test_within_batches(grouping, measured, tally, n_cells, ties, found):
    """Fill in the statistics within batches, combined; missing for a group without a suitable batch."""
    totals = np.zeros(len(n_cells))
    for pair in range(len(grouping.sizes)):
        totals[grouping.batch_of_pair[pair]] += tally[pair, 1]
    # Of each group: weighted deviation and variance of its rank sums, its cells, the sum of its
    # means and of those of the rest, weighted by its cells.
    sums = np.zeros((grouping.n_groups, 5))
    found[:, 9:] = 0
    for pair in range(len(grouping.sizes)):
        group, batch, n = grouping.group_of_pair[pair], grouping.batch_of_pair[pair], grouping.sizes[pair]
        rest = n_cells[batch] - n
        if measured[batch] and n >= MIN_CELLS and rest >= MIN_CELLS:
            larger = n_cells[batch] + 1
            sums[group, 0] += (tally[pair, 3] - n * larger / 2) / larger
            sums[group, 1] += (1 - ties[batch] / _cube(n_cells[batch])) * n * rest / 12 / larger
            mean_out = max(totals[batch] - tally[pair, 1], 0.0) / rest
            sums[group, 2] += n
            sums[group, 3] += tally[pair, 1]
            sums[group, 4] += n * mean_out
            found[group, 9] += 1
            found[group, 10] += tally[pair, 1] / n > mean_out
    for group in range(grouping.n_groups):
        found[group, 7:9] = np.nan
        if sums[group, 2] > 0:
            found[group, 7] = _standard_score(sums[group, 0], sums[group, 1])
            found[group, 8] = _fold_change(sums[group, 3] / sums[group, 2], sums[group, 4] / sums[group, 2])
