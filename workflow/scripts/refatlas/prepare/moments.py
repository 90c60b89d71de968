"""Statistics over cells, by gene and batch, accumulated from blocks without copies, by several
threads.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np

from refatlas.numba_cache import cached_njit

SAMPLED = 64


class Splitter:
    """Work on blocks split over threads."""

    def __init__(self, n_threads: int) -> None:
        self.n_threads, self.pool = n_threads, ThreadPoolExecutor(n_threads)

    def columns(self, kernel: Callable, block, *arguments) -> None:
        """Call `kernel(data, indices, indptr, first column, last column, ...)` for a share of the
        columns in each thread.

        Whatever the number of threads, the values of each column are taken in the order of the
        cells. A sample of the values tells which shares are equal.
        """
        values = np.cumsum(np.bincount(block.indices[::SAMPLED], minlength=max(block.shape[1], 1)))
        inner = np.searchsorted(values, values[-1] * np.arange(1, self.n_threads) / self.n_threads)
        self._all(kernel, block, arguments, [0, *map(int, inner), block.shape[1]])

    def rows(self, kernel: Callable, block, *arguments) -> list:
        """Return what `kernel(data, indices, indptr, first row, last row, ...)` returns for the
        share of the rows of each thread.
        """
        inner = np.searchsorted(block.indptr, block.indptr[-1] * np.arange(1, self.n_threads) / self.n_threads)
        return self._all(kernel, block, arguments, [0, *map(int, inner), block.shape[0]])

    def _all(self, kernel: Callable, block, arguments: tuple, edges: list[int]) -> list:
        parts = [
            self.pool.submit(kernel, block.data, block.indices, block.indptr, first, last, *arguments)
            for first, last in pairwise(edges)
        ]
        return [part.result() for part in parts]


class Moments:
    """Mean and variance by batch and gene, by Welford's algorithm over the stored values, merged
    with the zeros at the end.

    The order of operations is that of scanpy 1.12, to the last bit: the loess fit that follows
    turns a difference in the last digit
    into another selection of genes.
    """

    def __init__(self, n_batches: int, n_genes: int, n_threads: int = 1) -> None:
        self.splitter = Splitter(n_threads)
        # Number of stored values, their mean, and the sum of their squared distances from it: side
        # by side, as they are used together.
        self.state = np.zeros((n_batches, n_genes, 3))

    def add(self, block, codes: np.ndarray, genes: np.ndarray) -> None:
        """Take in a CSR block whose columns ascend in each row.

        Args:
            codes: each cell's batch, -1 for one that takes no part. genes: each column's gene, -1
                for one that takes no part; no gene twice.
        """
        self.splitter.columns(_add_moments, block, codes, genes, self.state)

    def finish(self, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and variance (n - 1 in the denominator), shape (n_batches, n_genes), of
        batches with `sizes` cells.
        """
        stored, means, squares = np.moveaxis(self.state, 2, 0)
        n = sizes[:, None]
        zeros = n - stored
        merged = squares + np.where(zeros > 0, means * means * stored * zeros / n, 0.0)
        mean = np.where(zeros > 0, means * stored / n, means)
        return mean, merged / n * (n / np.maximum(n - 1, 1))


class ClippedSums:
    """Sums, and sums of squares, of values cut to a limit, by batch and gene; arrays of shape
    (n_batches, n_genes).
    """

    def __init__(self, limits: np.ndarray, n_threads: int = 1) -> None:
        self.splitter = Splitter(n_threads)
        self.state = np.stack([limits, np.zeros_like(limits), np.zeros_like(limits)], axis=2)

    def add(self, block, codes: np.ndarray, genes: np.ndarray) -> None:
        """Take in a CSR block, as `Moments` does."""
        self.splitter.columns(_add_clipped, block, codes, genes, self.state)

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        """Return sums and sums of squares."""
        return self.state[:, :, 1], self.state[:, :, 2]


@cached_njit()
def ascends(indices, indptr):
    """Tell whether the columns of each row ascend, none twice."""
    falls, between_rows = 0, 0
    for place in range(1, len(indices)):
        falls += indices[place] <= indices[place - 1]
    last = 0
    for row in range(1, len(indptr) - 1):
        start = indptr[row]
        if last < start < len(indices):
            between_rows += indices[start] <= indices[start - 1]
            last = start
    return falls == between_rows


@cached_njit()
def _from_column(indices, start, stop, column):
    """Return the first place between `start` and `stop` whose column is `column` or a later one."""
    while start < stop:
        middle = (start + stop) // 2
        if indices[middle] < column:
            start = middle + 1
        else:
            stop = middle
    return start


@cached_njit()
def _add_moments(data, indices, indptr, first, last, codes, genes, state):
    for row in range(len(indptr) - 1):
        batch = codes[row]
        if batch >= 0:
            for place in range(_from_column(indices, indptr[row], indptr[row + 1], first), indptr[row + 1]):
                if indices[place] >= last:
                    break
                gene = genes[indices[place]]
                if gene >= 0:
                    value, before = np.float64(data[place]), state[batch, gene, 1]
                    n = state[batch, gene, 0] + 1
                    delta = value - before
                    mean = before + delta / n
                    state[batch, gene, 0], state[batch, gene, 1] = n, mean
                    state[batch, gene, 2] += delta * (value - mean)


@cached_njit()
def _add_clipped(data, indices, indptr, first, last, codes, genes, state):
    for row in range(len(indptr) - 1):
        batch = codes[row]
        if batch >= 0:
            for place in range(_from_column(indices, indptr[row], indptr[row + 1], first), indptr[row + 1]):
                if indices[place] >= last:
                    break
                gene = genes[indices[place]]
                if gene >= 0:
                    value = min(np.float64(data[place]), state[batch, gene, 0])
                    state[batch, gene, 1] += value
                    state[batch, gene, 2] += value * value


class Measures:
    """Total counts, number of genes and counts of marked genes of each cell, and in how many cells
    each gene was seen, from blocks in any order.
    """

    def __init__(self, n_cells: int, marked: np.ndarray, n_threads: int = 1) -> None:
        self.splitter, self.marked = Splitter(n_threads), marked
        self.totals, self.n_genes, self.marked_counts = (
            np.zeros(n_cells),
            np.zeros(n_cells, dtype=np.int64),
            np.zeros(n_cells),
        )
        self.seen = np.zeros(len(marked), dtype=np.int64)

    def add(self, start: int, block) -> bool:
        """Take in the CSR block that begins at cell `start`; tell whether all its values are
        counts: integers, finite and not negative.
        """
        found = self.splitter.rows(_measure, block, start, self.marked, self.totals, self.n_genes, self.marked_counts)
        for _, seen in found:
            self.seen += seen
        return all(are_counts for are_counts, _ in found)


# Sums of integers are exact in any order, so that the compiler may add several at once.
@cached_njit(fastmath={"reassoc"})
def _measure(data, indices, indptr, first, last, start, marked, totals, n_genes, marked_counts):
    seen, n_wrong, any_marked = np.zeros(len(marked), dtype=np.int64), 0, marked.any()
    for row in range(first, last):
        total, n, of_marked = 0.0, 0, 0.0
        for place in range(indptr[row], indptr[row + 1]):
            value = np.float64(data[place])
            n_wrong += not ((value >= 0) & (value == np.floor(value)) & (value < np.inf))
            n += value != 0
            total += value
        if any_marked:
            for place in range(indptr[row], indptr[row + 1]):
                seen[indices[place]] += data[place] != 0
                of_marked += data[place] * marked[indices[place]]
        else:
            for place in range(indptr[row], indptr[row + 1]):
                seen[indices[place]] += data[place] != 0
        totals[start + row], n_genes[start + row], marked_counts[start + row] = total, n, of_marked
    return n_wrong == 0, seen
