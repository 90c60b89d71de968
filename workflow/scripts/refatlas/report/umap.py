"""One UMAP of a model's latent space of the reference, and the places of query cells in it."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd

from refatlas.io.cell_tables import read_values
from refatlas.neighbors.exact_index import nearest_neighbors
from refatlas.neighbors.graph import EXACT_GRAPH, neighbor_graph
from refatlas.numba_cache import cache_umap_functions
from refatlas.transfer.reference_index import ReferenceIndex
from refatlas.transfer.weighted_knn import neighbor_weights

COLUMNS = ["umap_1", "umap_2"]
# UMAP's spectral initialization fails for very few cells.
MIN_SPECTRAL = 50
# Number of separate parts of UMAP's graph from which on its spectral initialization takes minutes to hours.
MANY_PARTS = 200
# Share of the nearest neighbours whose places count: those closest to the place of the very
# nearest.
PLACING_SHARE = 0.25


def reference_umap(latent: pd.DataFrame, settings: dict[str, Any], seed: int, threads: int = 1) -> pd.DataFrame:
    """Return the UMAP of the reference's latent space, one row per cell.

    Args:
        settings: the config's `umap`.
    """
    return pd.DataFrame(umap_layout(latent.to_numpy(), settings, seed, threads), index=latent.index, columns=COLUMNS)


def query_umap(query: pd.DataFrame, umap: np.ndarray, neighbors: np.ndarray, distances: np.ndarray) -> pd.DataFrame:
    """Return the places of query cells in the reference's UMAP, one row per cell.

    Args:
        query: latent space of the query.
        umap: UMAP of the reference, shape (n_reference, 2).
        neighbors: reference cells nearest to each query cell, nearest first, shape (n_query, k).
        distances: to these, same shape.
    """
    places = place_cells(umap, neighbors, distances)
    return pd.DataFrame(places.astype(np.float32), index=query.index, columns=COLUMNS)


def umap_layout(latent: np.ndarray, settings: dict[str, Any], seed: int, threads: int = 1) -> np.ndarray:
    """Return the UMAP (McInnes et al. 2018) of a latent space, shape (n_cells, 2).

    Args:
        settings: the config's `umap`.
    """
    from umap import UMAP

    cache_umap_functions()
    settings = {**settings, "n_neighbors": min(settings["n_neighbors"], len(latent))}
    neighbors = neighbor_graph(latent, settings["n_neighbors"], seed, threads)
    umap = UMAP(
        **settings,
        random_state=seed,
        n_jobs=1,
        init=initialization(len(latent)),
        precomputed_knn=(*neighbors, None),
        force_approximation_algorithm=True,
    )
    with parts_placed_by_pca(), warnings.catch_warnings():
        # New cells cannot be transformed. Those of queries are placed by `place_cells`.
        warnings.filterwarnings("ignore", message=r"precomputed_knn\[2\]")
        return umap.fit_transform(latent)


@contextmanager
def parts_placed_by_pca() -> Iterator[None]:
    """Let UMAP begin with principal components where its graph falls into many separate parts.

    Groups of cells that are stored several times are such parts. UMAP's spectral initialization takes each by itself,
    and then their centres by an eigendecomposition: 1,655 parts did not end within a quarter of an hour.
    """
    from scipy.sparse.csgraph import connected_components
    from sklearn.decomposition import PCA
    from umap import umap_

    own = umap_.spectral_layout

    def layout(data: np.ndarray, graph: Any, dim: int, random_state: Any, **named: Any) -> np.ndarray:
        if connected_components(graph, directed=False)[0] < MANY_PARTS:
            return own(data, graph, dim, random_state, **named)
        places: np.ndarray = PCA(dim, random_state=random_state).fit_transform(data)
        return places

    umap_.spectral_layout = layout
    try:
        yield
    finally:
        umap_.spectral_layout = own


def initialization(n_cells: int) -> str:
    """Return UMAP's method of initialization.

    The spectral one fails for very few cells. For a million, it needs 8 GB: as many vectors as the
    square root of the number of cells.
    """
    if n_cells <= MIN_SPECTRAL:
        return "random"
    return "spectral" if n_cells <= EXACT_GRAPH else "pca"


def nearest_cells(
    query: np.ndarray, latent: str, index: str | None, n_reference: int, k: int, threads: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Return the k nearest reference cells of each query cell, and their distances.

    By the index of label transfer, which is there already, if it has all cells: it has those with a label.

    Args:
        query: latent space of the query, shape (n_query, n_latent).
        latent: path of latent.parquet of the reference.
        index: path of the index that was made of it; None without labels.
        n_reference: number of reference cells.
    """
    found = ReferenceIndex.load(index, latent) if index else None
    if found is not None and len(found.codes) == n_reference:
        return found.index.search(query, k, threads)
    return nearest_neighbors(read_values(latent), query, k, threads)


def place_cells(umap: np.ndarray, neighbors: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """Return the places of query cells in a UMAP, shape (n_query, 2).

    A place is the weighted mean place of the nearest reference cells.

    Only the quarter of the neighbours counts that lies closest to the nearest neighbour in the
    UMAP. The mean over several separate clusters of the UMAP would lie in the empty space between
    them.
    """
    places = umap[neighbors]
    from_first = np.linalg.norm(places - places[:, :1], axis=2)
    weights = neighbor_weights(distances) * (
        from_first <= np.quantile(from_first, PLACING_SHARE, axis=1, keepdims=True)
    )
    return (places * weights[:, :, None]).sum(axis=1) / weights.sum(axis=1)[:, None]
