"""Integration metrics that have a cheap exact form on all cells."""

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from refatlas.evaluate.estimates import UndefinedMetricError


def between_share(latent: np.ndarray, batches: np.ndarray) -> float:
    """Return the share of the variance between batches: principal component regression with all components.

    Büttner 2018.

    Args:
        latent: latent space, shape (n_cells, n_latent).
        batches: batch of each cell, an integer.
    """
    sizes = np.bincount(batches)
    centered = latent - latent.mean(axis=0)
    sums = np.stack([np.bincount(batches, column) for column in centered.T], axis=1)
    return float((np.square(sums) / sizes[:, None]).sum() / np.square(centered).sum())


def pcr_comparison(unintegrated: np.ndarray, latent: np.ndarray, batches: np.ndarray) -> float:
    """Return the share by which the variance between batches falls by integration, at least 0.

    Args:
        unintegrated: latent space before integration, shape (n_cells, n_components).
        latent: latent space, shape (n_cells, n_latent).
        batches: batch of each cell, an integer.

    Raises:
        UndefinedMetricError: there is a single batch.
    """
    if batches.max() == 0:
        raise UndefinedMetricError("there is a single batch")
    before = between_share(unintegrated, batches)
    return max(0.0, (before - between_share(latent, batches)) / before)


def kmeans_labels(latent: np.ndarray, n_clusters: int) -> np.ndarray:
    """Return the clusters of scib-metrics' k-means, shape (n_cells,).

    Its first centroids (its seed, k-means++), Lloyd's iterations, and its stopping rule.

    Args:
        latent: latent space, shape (n_cells, n_latent).
        n_clusters: number of clusters.
    """
    from scib_metrics.utils import KMeans

    x = latent.astype(np.float32)
    centroids = (KMeans(n_clusters, max_iter=0).fit(x).cluster_centroids_ - x.mean(axis=0)).astype(float)
    x -= x.mean(axis=0)
    tolerance, inertia, clusters = 1e-4 * x.var(axis=0).mean(), np.inf, np.full(len(x), -1)
    columns, squares = np.ascontiguousarray(x.T, dtype=float), float(np.square(x, dtype=float).sum())
    for turn in range(1, 10**6):
        scores = x @ (-2 * centroids.T).astype(np.float32) + np.square(centroids).sum(axis=1).astype(np.float32)
        before, clusters = clusters, scores.argmin(axis=1)
        last, inertia = inertia, squares + float(scores.min(axis=1).sum(dtype=float))
        if np.array_equal(before, clusters) or (turn > 300 and abs(last - inertia) <= tolerance):
            return clusters
        sizes = np.maximum(np.bincount(clusters, minlength=n_clusters), 1)
        centroids = (
            np.stack([np.bincount(clusters, column, minlength=n_clusters) for column in columns], axis=1)
            / sizes[:, None]
        )
    raise RuntimeError("k-means did not converge")


def graph_connectivity(neighbors: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean over labels of the share of cells in the label's largest connected component.

    Components are strongly connected in the directed graph of nearest cells of the same label.

    Args:
        neighbors: nearest cells of each cell, shape (n_cells, k).
        labels: label of each cell, an integer.
    """
    n_cells = len(neighbors)
    same = labels[neighbors] == labels[:, None]
    starts = np.append(0, np.cumsum(same.sum(axis=1)))
    graph = sparse.csr_matrix((np.ones(starts[-1], np.int8), neighbors[same], starts), shape=(n_cells, n_cells))
    components = connected_components(graph, connection="strong")[1]
    sizes = pd.DataFrame({"label": labels, "component": components}).value_counts().groupby("label").max()
    return float((sizes.sort_index() / np.bincount(labels)).mean())
