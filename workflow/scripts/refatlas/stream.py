"""Sums over cells, by gene and batch, accumulated from blocks without copies."""

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def add_moments(data, indices, indptr, codes, sums, squares):
    """Add a CSR block's values and their squares to `sums` and `squares`, shape (n_batches, n_genes); code -1 leaves a cell out."""
    for row in range(len(indptr) - 1):
        batch = codes[row]
        if batch >= 0:
            for place in range(indptr[row], indptr[row + 1]):
                value = np.float64(data[place])
                sums[batch, indices[place]] += value
                squares[batch, indices[place]] += value * value


@njit(cache=True, nogil=True)
def add_clipped_moments(data, indices, indptr, codes, limits, sums, squares):
    """As `add_moments`, with each value cut to its gene's limit in its batch; `limits` has shape (n_batches, n_genes)."""
    for row in range(len(indptr) - 1):
        batch = codes[row]
        if batch >= 0:
            for place in range(indptr[row], indptr[row + 1]):
                value = min(np.float64(data[place]), limits[batch, indices[place]])
                sums[batch, indices[place]] += value
                squares[batch, indices[place]] += value * value
