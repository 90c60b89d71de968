"""Whether counts that the workflow stored are the same, bit by bit."""

import anndata as ad
import numpy as np


def same_bytes(one: np.ndarray, other: np.ndarray) -> bool:
    """Return whether two arrays have the same type, shape and bytes."""
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def same_counts(one: ad.AnnData, other: ad.AnnData) -> bool:
    """Return whether stored counts are equal bit by bit: matrix, cells and genes."""
    parts = ("data", "indices", "indptr")
    same_matrix = all(same_bytes(getattr(one.X, part), getattr(other.X, part)) for part in parts)
    return same_matrix and one.obs.equals(other.obs) and one.var.equals(other.var)
