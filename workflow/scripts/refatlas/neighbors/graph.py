"""The nearest-neighbour graph of all cells: exact, or by NN-descent for a large reference."""

import numpy as np

from refatlas.neighbors.exact_index import checked, nearest

# Beyond so many cells the neighbours of all of them are not found exactly: where most of thirty
# dimensions are noise, a million would take hours.
EXACT_GRAPH = 200_000


def neighbor_graph(latent: np.ndarray, k: int, seed: int, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return indices and distances of the k nearest cells of every cell, itself among them, each
    (n_cells, min(k, n_cells)).

    Exact up to EXACT_GRAPH cells; beyond, by NN-descent (Dong 2011), as umap-learn and scib-metrics
    do by default.

    Raises:
        ValueError: a value is not finite.
    """
    if len(latent) <= max(EXACT_GRAPH, k):
        return nearest(latent, latent, k, threads)
    from pynndescent import NNDescent

    # One thread, since the answer depends on their number; as thorough as in umap-learn.
    indices, distances = NNDescent(
        checked(latent).astype(np.float32),
        n_neighbors=k,
        max_candidates=60,
        random_state=seed,
        n_jobs=1,
        low_memory=True,
    ).neighbor_graph
    if len(lonely := np.flatnonzero((indices < 0).any(axis=1))):
        indices[lonely], distances[lonely] = nearest(latent, latent[lonely], k, threads)
    return indices.astype(np.int64), distances.astype(np.float64)
