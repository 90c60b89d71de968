"""The shift that all labels of a query share, estimated and taken off gene by gene.

Another laboratory, technology or species, ambient RNA, or a state of all cells changes the
expression of a gene in all labels alike. The median over labels of the differences between query
and reference finds that change, and leaves alone what departs from it in a few labels, such as a
type that the reference lacks.
"""

import numpy as np
from scipy import sparse

# Cells whose confidence is below this quantile of their batch do not count.
LEAST_CONFIDENT = 0.3
# Labels with fewer cells do not count; with fewer than two labels, no shift can be told from a difference of labels.
MIN_QUERY_CELLS = 5
MIN_REFERENCE_CELLS = 10
# A batch stands for itself if it has so many cells, and so many labels with this share of them.
MIN_BATCH_CELLS = 50
MIN_LABELS, MIN_SHARE = 3, 0.05


def batch_groups(
    batches: np.ndarray, codes: np.ndarray, kept: np.ndarray | None = None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return for each batch the mask of its cells, and that of the cells that stand for it.

    A small batch, or one with few labels, such as a sample of sorted cells, is represented by the
    whole query: what its cells have in common is their type.

    Args:
        batches: batch of each cell.
        codes: label that each cell is given.
        kept: mask of the cells of good quality, which alone stand for others (default: all).
    """
    everything = np.ones(len(batches), dtype=bool) if kept is None else kept

    def representative(mask: np.ndarray) -> np.ndarray:
        good = mask & everything
        shares = np.unique(codes[good], return_counts=True)[1] / max(good.sum(), 1)
        enough = good.sum() >= MIN_BATCH_CELLS and (shares >= MIN_SHARE).sum() >= MIN_LABELS
        return good if enough else everything

    masks = [batches == name for name in np.unique(batches)]
    return [(mask, representative(mask)) for mask in masks]


def label_means(expression: sparse.csr_matrix, codes: np.ndarray, n_labels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean expression of each label, shape (n_labels, n_genes), and its number of cells.

    Args:
        expression: shape (n_cells, n_genes).
        codes: label of each cell; cells with a negative one do not count.
        n_labels: number of labels.
    """
    rows = np.flatnonzero(codes >= 0)
    sizes = np.bincount(codes[rows], minlength=n_labels)
    weights = 1 / np.maximum(sizes[codes[rows]], 1)
    averaging = sparse.csr_matrix((weights, (codes[rows], rows)), shape=(n_labels, len(codes)))
    return (averaging @ expression).toarray(), sizes


def shared_shift(
    expression: sparse.csr_matrix,
    codes: np.ndarray,
    confidence: np.ndarray,
    reference_means: np.ndarray,
    reference_sizes: np.ndarray,
) -> np.ndarray:
    """Return the shift that the labels of some query cells share, shape (n_genes,).

    Args:
        expression: log-normalised expression of the cells, shape (n_cells, n_genes).
        codes: label that each cell is given.
        confidence: of these labels.
        reference_means: mean expression of each label, shape (n_labels, n_genes).
        reference_sizes: reference cells of each label.
    """
    confident = confidence >= np.quantile(confidence, LEAST_CONFIDENT)
    means, sizes = label_means(expression, np.where(confident, codes, -1), len(reference_sizes))
    common = (sizes >= MIN_QUERY_CELLS) & (reference_sizes >= MIN_REFERENCE_CELLS)
    if common.sum() < 2:
        return np.zeros(expression.shape[1])
    found: np.ndarray = np.median(means[common] - reference_means[common], axis=0)
    return found
