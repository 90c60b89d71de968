"""Labels of query cells by weighted kNN and logistic regression, and how far cells are from the reference."""

import numpy as np
import pandas as pd

from refatlas.neighbors.exact_index import ExactIndex
from refatlas.transfer.label_table import label_table
from refatlas.transfer.local_density import NEIGHBORS, LocalDensity, local_density
from refatlas.transfer.logistic import Arrays, apply_scaled
from refatlas.transfer.reference_index import BLOCK, ReferenceIndex


def neighbor_weights(distances: np.ndarray) -> np.ndarray:
    """Return the weight of each neighbour, shape (n_query, k), rows summing to 1.

    The kernel of scArches (Lotfollahi 2022): exp(-d / (2 / s)^2), with s the standard deviation of
    the cell's k distances. If all weights are 0, they are set equal.

    Args:
        distances: to the neighbours of each query cell, shape (n_query, k).
    """
    spread = distances.std(axis=1, keepdims=True)
    weights = np.exp(-distances * (spread / 2.0) ** 2)
    total = weights.sum(axis=1, keepdims=True)
    uniform = np.full_like(weights, 1.0 / weights.shape[1])
    return np.divide(weights, total, out=uniform, where=total > 0)


def weighted_shares(codes: np.ndarray, neighbors: np.ndarray, weights: np.ndarray, n_labels: int) -> np.ndarray:
    """Return the sum of each query cell's weights by label, shape (n_query, n_labels), rows summing to 1.

    Args:
        codes: label of each reference cell, 0 … n_labels - 1.
        neighbors: reference cells nearest to each query cell, shape (n_query, k).
        weights: of the neighbours, shape (n_query, k).
        n_labels: number of labels.
    """
    n_query = len(neighbors)
    flat = codes[neighbors] + n_labels * np.arange(n_query)[:, None]
    shares = np.bincount(flat.ravel(), weights=weights.ravel(), minlength=n_query * n_labels).reshape(n_query, n_labels)
    # By rounding, weights that sum to 1 may exceed it.
    return np.minimum(shares, 1.0)


def weighted_knn_table(
    labels: pd.Series, neighbors: np.ndarray, distances: np.ndarray, cells: pd.Index
) -> pd.DataFrame:
    """Return the label table of weighted kNN, with the source "knn".

    Args:
        labels: of the reference's labelled cells.
        neighbors: labelled cells nearest to each query cell, shape (n_query, k).
        distances: to the neighbours, shape (n_query, k).
        cells: names of the query cells.
    """
    categories = pd.Categorical(labels)
    names, codes = list(categories.categories), categories.codes.astype(np.int64)
    return label_table(cells, "knn", names, weighted_shares(codes, neighbors, neighbor_weights(distances), len(names)))


def weighted_knn_labels(
    reference: ReferenceIndex, query: np.ndarray, cells: pd.Index, k: int, threads: int, block: int = BLOCK
) -> pd.DataFrame:
    """Return the label table of weighted kNN, with the source "knn".

    Args:
        reference: index of the reference's labelled cells.
        query: latent space of the query, shape (n_query, n_latent).
        cells: names of the query cells.
        k: number of neighbours.
        threads: number of threads.
        block: query cells at a time.
    """
    names = list(reference.names)
    shares = [
        weighted_shares(reference.codes, neighbors, neighbor_weights(distances), len(names))
        for neighbors, distances in reference.search_blocks(query, k, threads, block)
    ]
    return label_table(cells, "knn", names, np.concatenate(shares))


def logistic_table(arrays: Arrays, query: np.ndarray, cells: pd.Index) -> pd.DataFrame:
    """Return the label table of a logistic regression on the latent space, with the source "logistic".

    Args:
        arrays: from `fit_scaled`.
        query: latent space of the query, shape (n_query, n_latent).
        cells: names of the query cells.
    """
    return label_table(cells, "logistic", list(arrays["labels"]), apply_scaled(arrays, query))


def outlier_factors(
    sample: np.ndarray, query: np.ndarray, threads: int = 1, density: LocalDensity | None = None
) -> np.ndarray:
    """Return the local outlier factor (Breunig 2000) of each query cell, shape (n_query,).

    It is how much sparser the reference is around a cell than around its neighbours, about 1 for an
    inlier. As a ratio, it is comparable between latent spaces. It equals that of scikit-learn, whose
    import would take longer than this computation.

    Args:
        sample: latent space of reference cells, shape (n_sample, n_latent).
        query: latent space of the query, shape (n_query, n_latent).
        threads: number of threads.
        density: of the sample, if it was measured before.
    """
    density = density or LocalDensity.measure(sample, threads)
    found, distances = ExactIndex.build(sample).search(query, min(NEIGHBORS, len(sample) - 1), threads)
    return density.density[found].mean(axis=1) / local_density(density.reach, found, distances)
