"""Silhouettes of labels and of batches."""

import numpy as np

from refatlas.evaluate.estimates import UndefinedMetricError

# Numbers in a block of distances, which bounds the memory.
BLOCK = 2**22


def silhouettes(rows: np.ndarray, latent: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return the Euclidean silhouettes (Rousseeuw 1987) of some cells among all cells, scaled to 0 … 1.

    It is 0.5 for the only cell of its label.

    Args:
        rows: cells to score.
        latent: latent space of all cells, shape (n_cells, n_latent).
        codes: label of each cell, an integer.
    """
    centered = latent - latent.mean(axis=0)
    sizes = np.bincount(codes)
    means = np.stack(
        [summed_distances(centered[rows], centered[codes == group]) for group in range(len(sizes))], axis=1
    )
    own = (np.arange(len(rows)), codes[rows])
    within = means[own] / np.maximum(sizes[codes[rows]] - 1, 1)
    means /= sizes
    means[own] = np.inf
    between = means.min(axis=1)
    widest = np.maximum(within, between)
    width = np.divide(between - within, widest, out=np.zeros(len(rows)), where=(widest > 0) & (sizes[codes[rows]] > 1))
    return (width + 1) / 2


def summed_distances(points: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Return the sum of each point's Euclidean distances to all cells, shape (n_points,).

    Args:
        points: shape (n_points, n_latent).
        cells: shape (n_cells, n_latent).
    """
    squares, sums = np.square(cells).sum(axis=1), np.empty(len(points))
    step = max(BLOCK // max(len(cells), 1), 1)
    for start in range(0, len(points), step):
        block = points[start : start + step]
        distances = block @ (-2 * cells.T)
        distances += squares
        distances += np.square(block).sum(axis=1)[:, None]
        sums[start : start + step] = np.sqrt(np.maximum(distances, 0, out=distances), out=distances).sum(axis=1)
    return sums


def bras(latent: np.ndarray, labels: np.ndarray, batches: np.ndarray) -> float:
    """Return BRAS (Rautenstrauch 2025), exactly: the mean over labels of the mean of 1 - |silhouette|.

    Silhouettes are those of batches within a label, by cosine distances.

    Args:
        latent: latent space, shape (n_cells, n_latent).
        labels: label of each cell, an integer.
        batches: batch of each cell.

    Raises:
        UndefinedMetricError: no label has cells of two batches.
    """
    units = latent / np.linalg.norm(latent, axis=1, keepdims=True)
    scores = []
    for label in range(labels.max() + 1):
        inside = labels == label
        names, codes, sizes = np.unique(batches[inside], return_inverse=True, return_counts=True)
        if 1 < len(names) < inside.sum():
            scores.append(1 - np.abs(batch_silhouettes(units[inside], codes, sizes)).mean())
    if not scores:
        raise UndefinedMetricError("every label has cells of a single batch")
    return float(np.mean(scores))


def batch_silhouettes(units: np.ndarray, codes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return silhouettes by mean cosine distances to a cell's own batch and to all cells of others.

    It is 0 for the only cell of its batch.

    Args:
        units: latent space scaled to unit vectors, shape (n_cells, n_latent).
        codes: batch of each cell, an integer.
        sizes: number of cells of each batch.
    """
    totals = np.stack([units[codes == code].sum(axis=0) for code in range(len(sizes))])
    own = (units * totals[codes]).sum(axis=1)
    within = (sizes[codes] - own) / np.maximum(sizes[codes] - 1, 1)
    n_others = len(codes) - sizes[codes]
    between = (n_others - (units @ totals.sum(axis=0) - own)) / n_others
    widest = np.maximum(within, between)
    return np.divide(between - within, widest, out=np.zeros(len(codes)), where=(widest > 0) & (sizes[codes] > 1))
