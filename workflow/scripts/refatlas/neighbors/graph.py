"""The nearest-neighbour graph of all cells: exact, or by NN-descent for a large reference."""

import numpy as np

from refatlas.neighbors.exact_index import checked_latent, nearest_neighbors

# Largest number of cells whose graph is exact: for a million cells in thirty dimensions that are
# mostly noise, it would take hours.
EXACT_GRAPH = 200_000


def neighbor_graph(latent: np.ndarray, k: int, seed: int, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return the k nearest cells of every cell, the cell itself among them.

    Exact up to EXACT_GRAPH cells; beyond, by NN-descent (Dong 2011), the default of umap-learn and
    scib-metrics.

    Args:
        latent: shape (n_cells, n_latent).
        seed: of NN-descent.

    Returns:
        Indices and distances, nearest first, each of shape (n_cells, min(k, n_cells)).

    Raises:
        ValueError: a value is not finite.
    """
    if len(latent) <= max(EXACT_GRAPH, k):
        return nearest_neighbors(latent, latent, k, threads)
    from pynndescent import NNDescent

    # One thread, because the result depends on their number; settings as in umap-learn.
    indices, distances = NNDescent(
        checked_latent(latent).astype(np.float32),
        n_neighbors=k,
        max_candidates=60,
        random_state=seed,
        n_jobs=1,
        low_memory=True,
    ).neighbor_graph
    incomplete = np.flatnonzero((indices < 0).any(axis=1))
    if len(incomplete):
        indices[incomplete], distances[incomplete] = nearest_neighbors(latent, latent[incomplete], k, threads)
    return indices.astype(np.int64), distances.astype(np.float64)
