"""Calibration of one source of labels, pooling of several, and prediction sets.

Everywhere, probabilities `p` have shape (n_cells, n_labels) and rows that sum to 1, `truth` is the
column of each cell's true label, and `batches` is the batch of each cell. Everything that is
learned can be written as JSON.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

# With fewer cells or errors, only the two parameters of temperature scaling can be estimated.
MIN_ISOTONIC_CELLS = 500
MIN_ISOTONIC_ERRORS = 50
# Probabilities are raised to this before their logarithm is taken.
LEAST = 1e-6


def log_loss(p: np.ndarray, truth: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return the mean negative log-probability of the true labels."""
    return float(np.average(-np.log(np.maximum(p[np.arange(len(truth)), truth], LEAST)), weights=weights))


def temper(p: np.ndarray, temperature: float, floor: float) -> np.ndarray:
    """Return probabilities after temperature scaling (Guo 2017) with a floor.

    A share `floor` is spread evenly over all labels; then probabilities are raised to 1 /
    temperature and normalised. The floor is needed for sources that give exactly 0, such as
    weighted kNN, which a temperature alone does not change.
    """
    logs = np.log(np.maximum((1 - floor) * p + floor / p.shape[1], 1e-30)) / temperature
    raised = np.exp(logs - logs.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def fit_temperature(p: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """Return the temperature and floor with the lowest log-loss, as a calibrator."""
    from scipy.optimize import minimize

    def loss(x: np.ndarray) -> float:
        return log_loss(temper(p, np.exp(x[0]), 1 / (1 + np.exp(-x[1]))), truth) + 1e-3 * x[0] ** 2

    best = minimize(loss, [0.0, -4.0], method="L-BFGS-B", bounds=[(-2, 2), (-12, 0)])
    return {
        "method": "temperature",
        "temperature": float(np.exp(best.x[0])),
        "floor": float(1 / (1 + np.exp(-best.x[1]))),
    }


def fit_isotonic(p: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """Return an isotonic calibrator: a monotone curve from the highest probability to accuracy.

    Zadrozny & Elkan 2002.
    """
    from sklearn.isotonic import IsotonicRegression

    correct, n = p.argmax(axis=1) == truth, len(truth)
    regression = IsotonicRegression(y_min=1 / (n + 2), y_max=1 - 1 / (n + 2), out_of_bounds="clip")
    fit = regression.fit(p.max(axis=1), correct.astype(float))
    return {"method": "isotonic", "x": fit.X_thresholds_.tolist(), "y": fit.y_thresholds_.tolist()}


def calibrated(p: np.ndarray, calibrator: dict[str, Any]) -> np.ndarray:
    """Return calibrated probabilities; the most probable label stays the same.

    Args:
        p: probabilities, shape (n_cells, n_labels).
        calibrator: from `fit_temperature` or `fit_isotonic`.
    """
    if calibrator["method"] == "temperature":
        return temper(p, calibrator["temperature"], calibrator["floor"])
    best, rows = p.argmax(axis=1), np.arange(len(p))
    top = np.interp(p.max(axis=1), calibrator["x"], calibrator["y"])
    rest = p.copy()
    rest[rows, best] = 0
    others = rest.sum(axis=1, keepdims=True)
    rest = np.divide(rest, others, out=np.full_like(rest, 1 / max(p.shape[1] - 1, 1)), where=others > 0)
    # No other label may become more probable than the first.
    found = np.minimum(rest * (1 - top[:, None]), top[:, None] * (1 - 1e-6))
    found[rows, best] = top
    return found / found.sum(axis=1, keepdims=True)


def fit_calibrator(p: np.ndarray, truth: np.ndarray, batches: np.ndarray) -> dict[str, Any]:
    """Return the calibrator, by temperature or isotonic, with the lower log-loss on left-out batches.

    With few cells or errors, it is temperature.
    """
    errors = int((p.argmax(axis=1) != truth).sum())
    if len(truth) < MIN_ISOTONIC_CELLS or errors < MIN_ISOTONIC_ERRORS:
        return fit_temperature(p, truth)

    def loss(fit: Callable[[np.ndarray, np.ndarray], dict[str, Any]]) -> float:
        parts = [
            (log_loss(calibrated(p[test], fit(p[~test], truth[~test])), truth[test]), test.sum())
            for test in left_out(batches)
        ]
        return float(np.average([loss for loss, _ in parts], weights=[n for _, n in parts]))

    return min((fit_temperature, fit_isotonic), key=loss)(p, truth)


def left_out(batches: np.ndarray, n_parts: int = 3, most: int = 6) -> list[np.ndarray]:
    """Return masks of the cells of each part, shape (n_cells,), for cross-fitting.

    Parts are batches, grouped into at most `most` parts; with a single batch, they are `n_parts`
    random parts of its cells.
    """
    names, codes, sizes = np.unique(batches, return_inverse=True, return_counts=True)
    if len(names) > 1:
        groups = np.argsort(np.argsort(-sizes, kind="stable"), kind="stable") % most
        return [groups[codes] == group for group in range(min(most, len(names)))]
    parts = np.random.default_rng(0).permutation(len(batches)) % n_parts
    return [parts == i for i in range(n_parts)]


def pool(sources: list[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """Return the logarithmic opinion pool: the normalised product of probabilities raised to their weights.

    Args:
        sources: probabilities of each source, shape (n_cells, n_labels).
        weights: of the sources.
    """
    logs: np.ndarray = sum(w * np.log(np.maximum(p, LEAST)) for w, p in zip(weights, sources, strict=True))
    raised = np.exp(logs - logs.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def half_balanced(truth: np.ndarray) -> np.ndarray:
    """Return weights of cells by which each label counts by the square root of its number of cells.

    This is halfway between equal weights of cells (accuracy) and of labels (macro-F1).
    """
    _, codes, counts = np.unique(truth, return_inverse=True, return_counts=True)
    return 1.0 / np.sqrt(counts[codes])


def fit_pool(sources: list[np.ndarray], truth: np.ndarray, penalty: float = 0.05) -> np.ndarray:
    """Return the non-negative weights of the sources with the lowest half-balanced log-loss.

    A penalty draws them towards equal weights.
    """
    from scipy.optimize import minimize

    n, equal, weights = len(sources), 1 / len(sources), half_balanced(truth)

    def loss(w: np.ndarray) -> float:
        return log_loss(pool(sources, w), truth, weights) + penalty * n * np.square(w - equal).mean()

    return minimize(loss, np.full(n, equal), method="L-BFGS-B", bounds=[(0, 2)] * n).x


def fit_sets(p: np.ndarray, truth: np.ndarray, alpha: float, prior: float = 100) -> np.ndarray:
    """Return the least probability with which each label enters a prediction set, shape (n_labels,).

    Class-conditional split conformal prediction (Vovk 2012): for each label, at least 1 - alpha of
    its cells have it in their set. All cells are added to each label's own with a total weight of
    `prior` cells. A rare label is thus halfway between classwise and marginal limits (as in Ding
    2025); otherwise three outliers among thirty cells would put their label into every set.
    """
    given = p[np.arange(len(truth)), truth]
    order = np.argsort(given, kind="stable")

    def limit(label: int) -> float:
        mass = np.cumsum((truth[order] == label) + prior / len(truth))
        below = np.flatnonzero(mass <= alpha * (mass[-1] + 1) + 1e-9)
        return float(given[order[below[-1]]]) if len(below) else 0.0

    return np.array([limit(label) for label in range(p.shape[1])])


def prediction_sets(p: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Return which labels are in each cell's prediction set, shape (n_cells, n_labels).

    The most probable label always is.

    Args:
        p: probabilities, shape (n_cells, n_labels).
        limits: from `fit_sets`.
    """
    inside = p >= limits
    inside[np.arange(len(p)), p.argmax(axis=1)] = True
    return inside
