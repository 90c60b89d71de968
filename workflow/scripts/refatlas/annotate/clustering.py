"""Clusters of a latent space: Leiden (Traag, Waltman & van Eck 2019) at several resolutions of one neighbour graph.

Cells are joined to their nearest neighbours. The weight is the share of neighbours that both have (Jaccard index, as in
PhenoGraph, Levine 2015, and Seurat).
"""

import random
from collections.abc import Sequence

import numpy as np
import pandas as pd

from refatlas.neighbors.graph import neighbor_graph
from refatlas.numba_cache import cached_njit

# As scanpy's default for igraph. More iterations change few cells, and take as long again.
ITERATIONS = 2


def cluster_cells(
    latent: np.ndarray, resolutions: Sequence[float], k: int, seed: int, threads: int = 1
) -> dict[float, np.ndarray]:
    """Return the cluster of each cell at each resolution, numbered from 0 by size, int32.

    Args:
        latent: shape (n_cells, n_latent).
        resolutions: of the modularity.
        k: number of nearest neighbours, the cell itself among them.
        seed: of the neighbour search in a large reference, and of the order in which cells are moved.
    """
    # Kept by no name, the distances are freed at once: of a million cells, they take as much as the neighbours.
    neighbors = neighbor_graph(latent, min(k, len(latent)), seed, threads)[0].astype(np.int32)
    neighbors.sort(axis=1)
    edges, weights = shared_neighbor_edges(neighbors)
    del neighbors
    return cluster_graph(len(latent), edges, weights, resolutions, seed)


def cluster_graph(
    n_cells: int, edges: np.ndarray, weights: np.ndarray, resolutions: Sequence[float], seed: int
) -> dict[float, np.ndarray]:
    """Return the clusters of a weighted graph at each resolution, as `cluster_cells` does.

    Args:
        edges: pairs of cells, shape (n_edges, 2).
        weights: of the edges, shape (n_edges,).
    """
    import igraph

    graph = igraph.Graph(n=n_cells, edges=edges)
    found = {}
    try:
        for resolution in resolutions:
            igraph.set_random_number_generator(random.Random(seed))
            partition = graph.community_leiden(
                "modularity", weights=weights, resolution=resolution, n_iterations=ITERATIONS
            )
            found[resolution] = by_size(np.asarray(partition.membership))
    finally:
        # That of a new Python process: the generator is shared by all that use igraph.
        igraph.set_random_number_generator(random)
    return found


def by_size(codes: np.ndarray) -> np.ndarray:
    """Return codes numbered from 0 by the size of their group, int32; of equal ones, in the order of first cells."""
    _, first, codes, sizes = np.unique(codes, return_index=True, return_inverse=True, return_counts=True)
    order = np.lexsort((first, -sizes))
    rank = np.empty(len(order), dtype=np.int32)
    rank[order] = np.arange(len(order))
    return rank[codes]


@cached_njit()
def shared_neighbor_edges(neighbors):
    """Return the edges of a neighbour graph and their Jaccard weights.

    Args:
        neighbors: of each cell, ascending, the cell itself among them, shape (n_cells, k), int32.

    Returns:
        Pairs of cells, shape (n_edges, 2), int32; weights, shape (n_edges,), float64.
    """
    n_cells, k = neighbors.shape
    n_edges = 0
    edges, weights = np.empty((0, 2), dtype=np.int32), np.empty(0, dtype=np.float64)
    for count_first in (True, False):
        if not count_first:
            edges, weights = np.empty((n_edges, 2), dtype=np.int32), np.empty(n_edges, dtype=np.float64)
        n_edges = 0
        for cell in range(n_cells):
            for other in neighbors[cell]:
                if other == cell:
                    continue
                # An edge between mutual neighbours is taken from the first of them.
                if other < cell:
                    place = np.searchsorted(neighbors[other], cell)
                    if place < k and neighbors[other, place] == cell:
                        continue
                if not count_first:
                    shared = _n_shared(neighbors[cell], neighbors[other])
                    edges[n_edges, 0], edges[n_edges, 1] = cell, other
                    weights[n_edges] = shared / (2 * k - shared)
                n_edges += 1
    return edges, weights


@cached_njit()
def _n_shared(first, second):
    """Return how many values two ascending arrays have in common."""
    i = j = shared = 0
    while i < len(first) and j < len(second):
        if first[i] == second[j]:
            shared += 1
            i += 1
            j += 1
        elif first[i] < second[j]:
            i += 1
        else:
            j += 1
    return shared


def cluster_tree(clusters: pd.DataFrame) -> pd.DataFrame:
    """Return how clusters split from each resolution to the next finer one.

    Args:
        clusters: one column per resolution, from coarse to fine.

    Returns:
        One row per cluster and parent: resolution, cluster, parent_resolution, parent, n_cells, share (of the
        cluster's cells that are in the parent), the main parent first.
    """
    columns = ["resolution", "cluster", "parent_resolution", "parent", "n_cells", "share"]
    parts = []
    for coarse, fine in zip(clusters.columns, clusters.columns[1:], strict=False):
        n_cells = clusters.groupby([fine, coarse]).size().rename("n_cells").reset_index()
        n_cells.columns = pd.Index(["cluster", "parent", "n_cells"])
        n_cells["share"] = n_cells["n_cells"] / n_cells.groupby("cluster")["n_cells"].transform("sum")
        part = n_cells.sort_values(["cluster", "n_cells"], ascending=[True, False], kind="stable")
        parts.append(part.assign(resolution=fine, parent_resolution=coarse)[columns])
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
