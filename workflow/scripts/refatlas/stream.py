"""Statistics over cells, by gene and batch, accumulated from blocks without copies."""

import numpy as np
from numba import njit


class Moments:
    """Mean and variance by batch and gene, by Welford's algorithm over the stored values, merged with the zeros at the end.

    The order of operations is that of scanpy 1.12, to the last bit: the loess fit that follows turns a difference in the last digit
    into another selection of genes.
    """

    def __init__(self, n_batches: int, n_genes: int) -> None:
        self.n_stored = np.zeros((n_batches, n_genes), dtype=np.int64)
        self.means, self.squares = np.zeros((n_batches, n_genes)), np.zeros((n_batches, n_genes))

    def add(self, block, codes: np.ndarray) -> None:
        """Take in a CSR block of cells × genes; `codes` is each cell's batch, -1 for one that takes no part."""
        _add_moments(block.data, block.indices, block.indptr, codes, self.n_stored, self.means, self.squares)

    def finish(self, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and variance (n - 1 in the denominator), shape (n_batches, n_genes), of batches with `sizes` cells."""
        n, stored = sizes[:, None], self.n_stored
        zeros = n - stored
        merged = self.squares + np.where(zeros > 0, self.means * self.means * stored * zeros / n, 0.0)
        mean = np.where(zeros > 0, self.means * stored / n, self.means)
        return mean, merged / n * (n / np.maximum(n - 1, 1))


@njit(cache=True, nogil=True)
def _add_moments(data, indices, indptr, codes, n_stored, means, squares):
    for row in range(len(indptr) - 1):
        batch = codes[row]
        if batch >= 0:
            for place in range(indptr[row], indptr[row + 1]):
                gene = indices[place]
                value = np.float64(data[place])
                n_stored[batch, gene] += 1
                before = means[batch, gene]
                delta = value - before
                mean = before + delta / n_stored[batch, gene]
                means[batch, gene] = mean
                squares[batch, gene] += delta * (value - mean)


@njit(cache=True, nogil=True)
def add_clipped(data, indices, indptr, codes, limits, sums, squares):
    """Add a CSR block's values, each cut to its gene's limit in its batch, and their squares; all of shape (n_batches, n_genes)."""
    for row in range(len(indptr) - 1):
        batch = codes[row]
        if batch >= 0:
            for place in range(indptr[row], indptr[row + 1]):
                value = min(np.float64(data[place]), limits[batch, indices[place]])
                sums[batch, indices[place]] += value
                squares[batch, indices[place]] += value * value
