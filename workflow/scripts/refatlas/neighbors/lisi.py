"""LISI, the effective number of groups around a cell (Korsunsky 2019).

As scib-metrics computes it, without its import of 20 s.
"""

import numpy as np


def lisi(distances: np.ndarray, groups: np.ndarray, perplexity: float | None = None) -> np.ndarray:
    """Return each cell's inverse Simpson index of the groups of its neighbours.

    Neighbours are weighted by a Gaussian kernel whose width gives each cell the same perplexity.

    Args:
        distances: to the neighbours, without the cell itself, shape (n_cells, k).
        groups: codes of the neighbours, same shape.
        perplexity: of the weights; None for a third of k.

    Returns:
        Shape (n_cells,), between 1 and the number of groups.
    """
    weights = kernel_weights(distances, perplexity or max(distances.shape[1] // 3, 1))
    shares = np.stack([(weights * (groups == g)).sum(axis=1) for g in np.unique(groups)], axis=1)
    return 1.0 / np.square(shares).sum(axis=1)


def kernel_weights(distances: np.ndarray, perplexity: float, n_steps: int = 60) -> np.ndarray:
    """Return Gaussian weights of neighbours, rows summing to 1, by bisection on the precision.

    Args:
        distances: shape (n_cells, k).
        perplexity: exponential of the weights' entropy.
    """
    low, high = np.zeros(len(distances)), np.full(len(distances), np.inf)
    beta, target = np.ones(len(distances)), np.log(perplexity)
    shifted = distances - distances.min(axis=1, keepdims=True)
    for _ in range(n_steps):
        raised = np.exp(-shifted * beta[:, None])
        weights = raised / raised.sum(axis=1, keepdims=True)
        entropy = -(weights * np.log(np.maximum(weights, 1e-300))).sum(axis=1)
        wide = entropy > target
        low, high = np.where(wide, beta, low), np.where(wide, high, beta)
        beta = np.where(np.isinf(high), beta * 2, (low + high) / 2)
    return weights
