"""Labels of query cells by a weighted vote of their nearest reference cells (weighted kNN), and how
far cells are from the reference.
"""

import numpy as np
import pandas as pd

from refatlas.neighbors.exact_index import ExactIndex
from refatlas.transfer.label_table import label_table
from refatlas.transfer.logistic import apply_scaled
from refatlas.transfer.reference_index import ReferenceIndex

NEIGHBORS = 15
# Query cells that vote at a time: what bounds the memory.
BLOCK = 50_000


def neighbor_weights(distances: np.ndarray) -> np.ndarray:
    """Return the weight of each neighbour, shape (n_query, k), rows summing to 1.

    The kernel of scArches (Lotfollahi 2022): exp(-d / (2 / s)^2), with s the standard deviation of
    the cell's k distances. Where all are
    equal, so are the weights.
    """
    spread = distances.std(axis=1, keepdims=True)
    weights = np.exp(-distances * (spread / 2.0) ** 2)
    total = weights.sum(axis=1, keepdims=True)
    uniform = np.full_like(weights, 1.0 / weights.shape[1])
    return np.divide(weights, total, out=uniform, where=total > 0)


def weighted_shares(codes: np.ndarray, neighbors: np.ndarray, weights: np.ndarray, n_labels: int) -> np.ndarray:
    """Return each query cell's share of the vote for every label, shape (n_query, n_labels), rows
    summing to 1.

    Args:
        codes: label of each reference cell, 0 … n_labels - 1. neighbors, weights: shape (n_query,
            k).
    """
    n_query = len(neighbors)
    flat = codes[neighbors] + n_labels * np.arange(n_query)[:, None]
    shares = np.bincount(flat.ravel(), weights=weights.ravel(), minlength=n_query * n_labels).reshape(n_query, n_labels)
    # Weights that sum to 1 may pass it in the last digit.
    return np.minimum(shares, 1.0)


def weighted_knn_table(
    labels: pd.Series, neighbors: np.ndarray, distances: np.ndarray, cells: pd.Index
) -> pd.DataFrame:
    """Return the vote of each cell's neighbours.

    Args:
        labels: of the reference's labelled cells. neighbors, distances: of each query cell among
            them, shape (n_query, k). cells: of the query.
    """
    labels = pd.Categorical(labels)
    names = list(labels.categories)
    return label_table(
        cells,
        "knn",
        names,
        weighted_shares(labels.codes.astype(np.int64), neighbors, neighbor_weights(distances), len(names)),
    )


def weighted_knn_labels(
    reference: ReferenceIndex, query: np.ndarray, cells: pd.Index, k: int, threads: int, block: int = BLOCK
) -> pd.DataFrame:
    """Return the vote of the k nearest reference cells of each query cell, a block of cells at a
    time.
    """
    labels = reference.labels()
    starts = range(0, len(query), block)
    return pd.concat(
        [
            weighted_knn_table(
                labels, *reference.index.search(query[start : start + block], k, threads), cells[start : start + block]
            )
            for start in starts
        ],
        ignore_index=True,
    )


def logistic_table(arrays: dict[str, np.ndarray], query: np.ndarray, cells: pd.Index) -> pd.DataFrame:
    """Return the labels of a logistic regression on the latent space; `arrays` is what `fit_scaled`
    returned.
    """
    return label_table(cells, "logistic", list(arrays["labels"]), apply_scaled(arrays, query))


def outlier_factors(sample: np.ndarray, query: np.ndarray, threads: int = 1) -> np.ndarray:
    """Return how much sparser each query cell's surroundings are than those of its neighbours,
    about 1 for an inlier (local outlier factor, Breunig 2000).

    A ratio, so that latent spaces of different models can be compared. `sample` is of the
    reference. On the index, where scikit-learn, with the same
    answer, would take longer to import than this to compute.
    """
    k = min(NEIGHBORS, len(sample) - 1)
    index = ExactIndex.build(sample)
    found, distances = index.search(sample, k + 1, threads)
    others = found != np.arange(len(sample))[:, None]
    # Of many equal cells one is not among its own nearest.
    others[others.all(axis=1), 0] = False
    found, distances = found[others].reshape(-1, k), distances[others].reshape(-1, k)
    reach = distances[:, -1]

    def density(found: np.ndarray, distances: np.ndarray) -> np.ndarray:
        return 1 / (np.maximum(distances, reach[found]).mean(axis=1) + 1e-10)

    own, (found_of_query, distances_of_query) = density(found, distances), index.search(query, k, threads)
    return own[found_of_query].mean(axis=1) / density(found_of_query, distances_of_query)
