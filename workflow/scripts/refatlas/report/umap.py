"""One UMAP of a model's reference, and the places of query cells in it."""

import warnings

import numpy as np

from refatlas.neighbors.exact_index import nearest
from refatlas.neighbors.graph import EXACT_GRAPH, neighbor_graph
from refatlas.numba_cache import cache_umap_functions
from refatlas.transfer.weighted_knn import neighbor_weights


def umap_layout(latent: np.ndarray, settings: dict, seed: int, threads: int = 1) -> np.ndarray:
    """Return the UMAP (McInnes 2018) of a latent space, shape (n_cells, 2), from neighbours of
    `neighbor_graph`; `settings` is the config's `umap`.
    """
    from umap import UMAP

    cache_umap_functions()
    # New cells are placed by embed_query.
    warnings.filterwarnings("ignore", message=r"precomputed_knn\[2\]")
    settings = {**settings, "n_neighbors": min(settings["n_neighbors"], len(latent))}
    neighbors = neighbor_graph(latent, settings["n_neighbors"], seed, threads)
    umap = UMAP(
        **settings,
        random_state=seed,
        n_jobs=1,
        init=start(len(latent)),
        precomputed_knn=(*neighbors, None),
        force_approximation_algorithm=True,
    )
    return umap.fit_transform(latent)


def start(n_cells: int) -> str:
    """Return how UMAP places cells at first: the spectral layout fails for very few, and keeps the
    square root of their number of vectors of all of them, 8 GB for a million.
    """
    if n_cells <= 50:
        return "random"
    return "spectral" if n_cells <= EXACT_GRAPH else "pca"


def place_cells(reference: np.ndarray, umap: np.ndarray, query: np.ndarray, k: int, threads: int = 1) -> np.ndarray:
    """Return the query's places, shape (n_query, 2): the mean of the k nearest reference cells'
    places.

    Only neighbours on the same island of the map count: the quarter of them that lies nearest to
    the nearest neighbour's place.
    A mean over several islands would lie in the void between them.
    """
    neighbors, distances = nearest(reference, query, k, threads)
    places = umap[neighbors]
    apart = np.linalg.norm(places - places[:, :1], axis=2)
    weights = neighbor_weights(distances) * (apart <= np.quantile(apart, 0.25, axis=1, keepdims=True))
    return (places * weights[:, :, None]).sum(axis=1) / weights.sum(axis=1)[:, None]
