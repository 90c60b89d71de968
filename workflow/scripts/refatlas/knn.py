"""Nearest reference cells in a latent space, and the weights of their votes."""

import numpy as np


def nearest(reference: np.ndarray, query: np.ndarray, k: int, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return indices and Euclidean distances of the k nearest reference cells of each query cell, each (n_query, min(k, n_reference)), exact."""
    from sklearn.neighbors import NearestNeighbors
    from threadpoolctl import threadpool_limits

    with threadpool_limits(threads):
        finder = NearestNeighbors(n_neighbors=min(k, len(reference)), algorithm="brute").fit(reference)
        distances, indices = finder.kneighbors(query)
    return indices, distances


def vote_weights(distances: np.ndarray) -> np.ndarray:
    """Return the weight of each neighbour, shape (n_query, k), rows summing to 1.

    The kernel of scArches (Lotfollahi 2022): exp(-d / (2 / s)^2), with s the standard deviation of the cell's k distances. Where all are
    equal, so are the weights.
    """
    spread = distances.std(axis=1, keepdims=True)
    weights = np.exp(-distances * (spread / 2.0) ** 2)
    total = weights.sum(axis=1, keepdims=True)
    uniform = np.full_like(weights, 1.0 / weights.shape[1])
    return np.divide(weights, total, out=uniform, where=total > 0)


def vote(codes: np.ndarray, neighbors: np.ndarray, weights: np.ndarray, n_labels: int) -> np.ndarray:
    """Return each query cell's share of the vote for every label, shape (n_query, n_labels), rows summing to 1.

    Args:
        codes: label of each reference cell, 0 … n_labels - 1. neighbors, weights: shape (n_query, k).
    """
    n_query = len(neighbors)
    flat = codes[neighbors] + n_labels * np.arange(n_query)[:, None]
    shares = np.bincount(flat.ravel(), weights=weights.ravel(), minlength=n_query * n_labels).reshape(n_query, n_labels)
    # Weights that sum to 1 may pass it in the last digit.
    return np.minimum(shares, 1.0)
