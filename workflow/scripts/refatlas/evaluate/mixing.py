"""Measures of neighbourhoods: mixing of query and reference, mixing of batches, groups of novel cells."""

import numpy as np

from refatlas.neighbors.exact_index import nearest_neighbors
from refatlas.neighbors.lisi import lisi

# With fewer cells, nothing is measured.
MIN_BATCH_CELLS = 30
NEIGHBORS = 90
# A cell is inside a group of novel cells if this share of itself and its nearest cells is novel.
GROUP = 20
GROUP_SHARE = 0.8


def mixing(
    reference: np.ndarray, reference_labels: np.ndarray, query: np.ndarray, query_labels: np.ndarray, seed: int
) -> float | None:
    """Return how well query cells mix with reference cells of the same label: 0 not at all, 1 fully.

    The mapping LISI (Zappia 2025): LISI over reference and query, of query cells only, scaled to
    0 … 1. As many reference cells as query cells are drawn of each label, so that neither sizes nor
    compositions count.

    Args:
        reference: latent space, shape (n_reference, n_latent).
        reference_labels: their labels.
        query: latent space, shape (n_cells, n_latent).
        query_labels: their delivered labels.
        seed: seed of the draws.

    Returns:
        The mean, or None for fewer than MIN_BATCH_CELLS cells.
    """
    random = np.random.default_rng(seed)
    reference_rows, query_rows = [], []
    for label in np.unique(query_labels):
        in_query, in_reference = np.flatnonzero(query_labels == label), np.flatnonzero(reference_labels == label)
        n = min(len(in_query), len(in_reference))
        reference_rows.append(random.choice(in_reference, n, replace=False))
        query_rows.append(random.choice(in_query, n, replace=False))
    x, others = query[np.concatenate(query_rows)], reference[np.concatenate(reference_rows)]
    if len(x) < MIN_BATCH_CELLS:
        return None
    groups = np.repeat([0, 1], [len(x), len(others)])
    neighbors, distances = nearest_neighbors(np.vstack([x, others]), x, min(NEIGHBORS, len(groups) - 1) + 1)
    return float(lisi(distances[:, 1:], groups[neighbors[:, 1:]]).mean() - 1)


def batch_mixing(query: np.ndarray, batches: np.ndarray) -> float | None:
    """Return how well the query's own batches mix: the query LISI (Zappia 2025), scaled to 0 … 1.

    None for a single batch, or fewer than MIN_BATCH_CELLS cells.
    """
    names, codes = np.unique(batches, return_inverse=True)
    if len(names) < 2 or len(query) < MIN_BATCH_CELLS:
        return None
    neighbors, distances = nearest_neighbors(query, query, min(NEIGHBORS, len(query) - 1) + 1)
    return float((lisi(distances[:, 1:], codes[neighbors[:, 1:]]).mean() - 1) / (len(names) - 1))


def novel_groups(novel: np.ndarray, positions: np.ndarray) -> float | None:
    """Return the share of cells that are surrounded by novel cells.

    Cells of a type that the reference lacks lie together, whereas usual novel cells are scattered.

    Args:
        novel: whether each cell is novel, shape (n_cells,).
        positions: the cells in the baseline's latent space, shape (n_cells, n_latent).

    Returns:
        The share, or None for fewer than MIN_BATCH_CELLS cells.
    """
    if len(novel) < MIN_BATCH_CELLS:
        return None
    neighbors, _ = nearest_neighbors(positions, positions, GROUP)
    return float((novel[neighbors].mean(axis=1) >= GROUP_SHARE).mean())
