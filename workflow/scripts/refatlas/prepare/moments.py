"""Statistics of cells and genes, accumulated over blocks of counts by several threads."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import sparse

from refatlas.numba_cache import cached_njit

# One in so many values is looked at to split the columns of a block.
SAMPLED = 64


class BlockSplitter:
    """Runs compiled functions on parts of a block, one part for each thread."""

    def __init__(self, n_threads: int) -> None:
        self.n_threads, self.pool = n_threads, ThreadPoolExecutor(n_threads)

    def columns(self, kernel: Callable, block: sparse.csr_matrix, *arguments: Any) -> None:
        """Call `kernel(data, indices, indptr, first column, last column, ...)` for each part.

        The columns are split so that all parts have about as many values, by a sample of them. The
        values of each column are used in the order of the cells, whatever the number of threads.
        """
        values = np.cumsum(np.bincount(block.indices[::SAMPLED], minlength=max(block.shape[1], 1)))
        inner = np.searchsorted(values, values[-1] * np.arange(1, self.n_threads) / self.n_threads)
        self._all(kernel, block, arguments, [0, *map(int, inner), block.shape[1]])

    def rows(self, kernel: Callable, block: sparse.csr_matrix, *arguments: Any) -> list:
        """Return the results of `kernel(data, indices, indptr, first row, last row, ...)`, by part.

        The rows are split so that all parts have about as many values.
        """
        inner = np.searchsorted(block.indptr, block.indptr[-1] * np.arange(1, self.n_threads) / self.n_threads)
        return self._all(kernel, block, arguments, [0, *map(int, inner), block.shape[0]])

    def _all(self, kernel: Callable, block: sparse.csr_matrix, arguments: tuple, edges: list[int]) -> list:
        parts = [
            self.pool.submit(kernel, block.data, block.indices, block.indptr, first, last, *arguments)
            for first, last in pairwise(edges)
        ]
        return [part.result() for part in parts]


class Moments:
    """Mean and variance by batch and gene.

    By Welford's algorithm over the stored values, merged with the zeros at the end. The order of
    operations is that of scanpy 1.12: the loess fit that follows would turn a difference in the
    last digit into another selection of genes.
    """

    def __init__(self, n_batches: int, n_genes: int, n_threads: int = 1) -> None:
        self.splitter = BlockSplitter(n_threads)
        # Number of stored values, their mean, and the sum of their squared deviations from it: side by
        # side in memory, because they are used together.
        self.state = np.zeros((n_batches, n_genes, 3))

    def add(self, block: sparse.csr_matrix, codes: np.ndarray, genes: np.ndarray) -> None:
        """Add a CSR block whose columns ascend in each row.

        Args:
            codes: batch of each cell, -1 for one that is left out.
            genes: gene of each column, -1 for one that is left out; no gene twice.
        """
        self.splitter.columns(_add_moments, block, codes, genes, self.state)

    def finish(self, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and variance (n - 1 in the denominator), each of shape (n_batches, n_genes).

        Args:
            sizes: number of cells of each batch.
        """
        stored, means, squares = np.moveaxis(self.state, 2, 0)
        n = sizes[:, None]
        zeros = n - stored
        merged = squares + np.where(zeros > 0, means * means * stored * zeros / n, 0.0)
        mean = np.where(zeros > 0, means * stored / n, means)
        return mean, merged / n * (n / np.maximum(n - 1, 1))


class ClippedSums:
    """Sums and sums of squares of clipped values, by batch and gene.

    `limits`, the largest values, have shape (n_batches, n_genes).
    """

    def __init__(self, limits: np.ndarray, n_threads: int = 1) -> None:
        self.splitter = BlockSplitter(n_threads)
        self.state = np.stack([limits, np.zeros_like(limits), np.zeros_like(limits)], axis=2)

    def add(self, block: sparse.csr_matrix, codes: np.ndarray, genes: np.ndarray) -> None:
        """Add a CSR block; arguments as of `Moments.add`."""
        self.splitter.columns(_add_clipped, block, codes, genes, self.state)

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        """Return sums and sums of squares, each of shape (n_batches, n_genes)."""
        return self.state[:, :, 1], self.state[:, :, 2]


@cached_njit()
def columns_ascend(indices, indptr):
    """Return whether the columns of each row ascend, none twice."""
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
    """Return the first index between `start` and `stop` whose column is at least `column`."""
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


class CellMeasures:
    """Quality measures of cells, from blocks in any order.

    Attributes:
        totals: counts of each cell.
        n_genes: number of genes detected in each cell.
        marked_counts: counts of the marked genes in each cell.
        n_cells: number of cells in which each gene was detected.
    """

    def __init__(self, n_cells: int, marked: np.ndarray, n_threads: int = 1) -> None:
        self.splitter, self.marked = BlockSplitter(n_threads), marked
        self.totals, self.marked_counts = np.zeros(n_cells), np.zeros(n_cells)
        self.n_genes, self.n_cells = np.zeros(n_cells, dtype=np.int64), np.zeros(len(marked), dtype=np.int64)

    def add(self, start: int, block: sparse.csr_matrix) -> bool:
        """Add the CSR block whose first cell is `start`.

        Returns:
            Whether all its values are counts: integers, finite and not negative.
        """
        found = self.splitter.rows(_measure, block, start, self.marked, self.totals, self.n_genes, self.marked_counts)
        for _, seen in found:
            self.n_cells += seen
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
