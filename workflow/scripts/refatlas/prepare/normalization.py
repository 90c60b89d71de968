"""Log-normalisation of counts."""

import numpy as np
from scipy import sparse


def log_normalized(matrix: sparse.csr_matrix, target: float = 1e4) -> sparse.csr_matrix:
    """Return log1p of counts scaled to `target` per cell, float32; a cell without counts stays empty."""
    totals = np.asarray(matrix.sum(axis=1)).ravel()
    scale = np.divide(target, totals, out=np.zeros(len(totals)), where=totals > 0)
    scaled = matrix.astype(np.float32, copy=True)
    scaled.data *= np.repeat(scale, np.diff(matrix.indptr)).astype(np.float32)
    return scaled.log1p()
