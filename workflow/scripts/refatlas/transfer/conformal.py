"""Prediction sets by label-conditional conformal prediction (Vovk 2012).

For each label, a cell of that label has it in its set with a probability of at least 1 - alpha, if
the cell is exchangeable with the held-out cells. Cells of a new batch are not: their coverage can
only be guaranteed from 1 / alpha - 1 held-out batches on (9 for alpha 0.1; Dunn 2023, Lee 2023), and
is otherwise what the folds measure.
"""

import numpy as np

# Labels with fewer held-out cells share one limit, which holds for them together.
RARE = 20


def fit_sets(p: np.ndarray, truth: np.ndarray, alpha: float) -> np.ndarray:
    """Return the least probability with which each label enters a prediction set, shape (n_labels,).

    Args:
        p: probabilities, shape (n_cells, n_labels).
        truth: column of each cell's true label.
        alpha: share of a label's cells whose set may miss it.
    """
    given, sizes = p[np.arange(len(truth)), truth], np.bincount(truth, minlength=p.shape[1])
    rare = _limit(given[np.isin(truth, np.flatnonzero(sizes < RARE))], alpha)
    return np.array([_limit(given[truth == k], alpha) if n >= RARE else rare for k, n in enumerate(sizes)])


def _limit(given: np.ndarray, alpha: float) -> float:
    """Return the largest limit that at most a share alpha of cells falls below, a further cell included."""
    rank = int(np.floor(alpha * (len(given) + 1) + 1e-9))
    return float(np.sort(given)[rank - 1]) if rank >= 1 else 0.0


def prediction_sets(p: np.ndarray, limits: np.ndarray, alpha: float, given: np.ndarray | None = None) -> np.ndarray:
    """Return which labels are in each cell's prediction set, shape (n_cells, n_labels).

    A label is in the set if it reaches its limit. Where the most probable one does not, the cell is unlike the
    held-out cells of that label: the set then also has the most probable labels that reach 1 - alpha together.

    Args:
        p: probabilities, shape (n_cells, n_labels).
        limits: from `fit_sets`, for the same alpha.
        alpha: share of a label's cells whose set may miss it.
        given: column of the label that each cell is given, which always is in its set (default: the most probable).
    """
    rows, best = np.arange(len(p)), p.argmax(axis=1)
    inside = p >= limits
    unlike = ~inside[rows, best]
    inside[unlike] |= _most_probable(p[unlike], 1 - alpha)
    inside[rows, best if given is None else given] = True
    return inside


def _most_probable(p: np.ndarray, share: float) -> np.ndarray:
    """Return the fewest labels that reach a share of the probability together, shape (n_cells, n_labels)."""
    order = np.argsort(-p, axis=1, kind="stable")
    sums = np.cumsum(np.take_along_axis(p, order, axis=1), axis=1)
    # A label is needed unless those before it reach the share.
    needed = np.column_stack([np.ones(len(p), dtype=bool), sums[:, :-1] < share - 1e-9])
    found = np.zeros(p.shape, dtype=bool)
    np.put_along_axis(found, order, needed, axis=1)
    return found
