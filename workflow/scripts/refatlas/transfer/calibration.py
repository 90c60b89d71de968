"""Calibration of one source of labels, and pooling of several.

Everywhere, probabilities `p` have shape (n_cells, n_labels) and rows that sum to 1, `truth` is the
column of each cell's true label, and `groups` is the group of each cell: what was learned on some
groups is judged on the others. Everything that is learned can be written as JSON.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

# Probabilities are raised to this before their logarithm is taken.
LEAST = 1e-4
# The prior of the biases of labels is worth so many cells.
BIAS_PRIOR = 25.0
# With fewer cells, biases of labels are not tried.
MIN_BIAS_CELLS = 200
# A label with fewer cells has no bias: its error would be a third and more, being about one over the square root of the
# cells. A label of a single dataset or batch has none at all, because its cells are held out together.
MIN_LABEL_CELLS = 10


def log_loss(p: np.ndarray, truth: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return the mean negative log-probability of the true labels."""
    return float(np.average(-np.log(np.maximum(p[np.arange(len(truth)), truth], LEAST)), weights=weights))


def normalized(logs: np.ndarray) -> np.ndarray:
    """Return probabilities in proportion to the exponentials of these logarithms."""
    raised = np.exp(logs - logs.max(axis=1, keepdims=True))
    found: np.ndarray = raised / raised.sum(axis=1, keepdims=True)
    return found


def temper(p: np.ndarray, temperature: float, floor: float) -> np.ndarray:
    """Return probabilities after temperature scaling (Guo 2017) with a floor.

    A share `floor` is spread evenly over all labels; then probabilities are raised to 1 /
    temperature and normalised. The floor is needed for sources that give exactly 0, such as
    weighted kNN, which a temperature alone does not change.
    """
    return normalized(np.log(np.maximum((1 - floor) * p + floor / p.shape[1], 1e-30)) / temperature)


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


def fit_biases(p: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """Return a temperature and a bias of each label (BCTS, Alexandari 2020), as a calibrator.

    A classifier that was fitted with balanced labels gives rare labels too often; a temperature
    alone cannot correct that. The biases are drawn towards 0, which matters for rare labels.

    Labels with fewer than MIN_LABEL_CELLS cells have the bias 0, the mean of the others, which are fitted as if there
    were no such labels. Otherwise all probability of a label without cells would count as wrong. With fewer than two
    others, the calibrator is a temperature.
    """
    fitted = np.flatnonzero(np.bincount(truth, minlength=p.shape[1]) >= MIN_LABEL_CELLS)
    if len(fitted) < 2:
        return fit_temperature(p, truth)
    rows = np.isin(truth, fitted)
    logs, biases = np.log(np.maximum(p[np.ix_(rows, fitted)], LEAST)), np.zeros(p.shape[1])
    temperature, biases[fitted] = _biases(logs, np.searchsorted(fitted, truth[rows]))
    return {"method": "biases", "temperature": temperature, "biases": biases.tolist()}


def _biases(logs: np.ndarray, truth: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the temperature and the bias of each label, shape (n_labels,), with the lowest penalised log-loss.

    Args:
        logs: logarithms of the probabilities, shape (n_cells, n_labels).
        truth: column of each cell's true label.
    """
    from scipy.optimize import minimize

    n, n_labels = logs.shape
    one_hot = np.eye(n_labels)[truth]

    def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
        scale, biases = np.exp(x[0]), x[1:]
        found = normalized(scale * logs + biases)
        away = found - one_hot
        value = -np.log(np.maximum(found[np.arange(n), truth], 1e-12)).sum()
        penalty = 0.5 * BIAS_PRIOR * (np.square(biases).sum() + x[0] ** 2)
        by_scale = (away * logs).sum() * scale + BIAS_PRIOR * x[0]
        gradient = np.concatenate([[by_scale], away.sum(axis=0) + BIAS_PRIOR * biases])
        return float(value + penalty) / n, gradient / n

    best = minimize(loss, np.zeros(1 + n_labels), jac=True, method="L-BFGS-B").x
    return float(np.exp(-best[0])), best[1:]


def calibrated(p: np.ndarray, calibrator: dict[str, Any]) -> np.ndarray:
    """Return calibrated probabilities.

    Args:
        p: probabilities, shape (n_cells, n_labels).
        calibrator: from `fit_temperature` or `fit_biases`.
    """
    if calibrator["method"] == "temperature":
        return temper(p, calibrator["temperature"], calibrator["floor"])
    logs = np.log(np.maximum(p, LEAST))
    return normalized(logs / calibrator["temperature"] + np.array(calibrator["biases"]))


def fit_calibrator(p: np.ndarray, truth: np.ndarray, groups: np.ndarray) -> dict[str, Any]:
    """Return the calibrator, with or without biases of labels, with the lower log-loss on left-out groups."""
    if len(truth) < MIN_BIAS_CELLS or len(np.unique(groups)) < 2:
        return fit_temperature(p, truth)

    def loss(fit: Callable[[np.ndarray, np.ndarray], dict[str, Any]]) -> float:
        parts = [
            (log_loss(calibrated(p[test], fit(p[~test], truth[~test])), truth[test]), test.sum())
            for test in left_out(groups)
        ]
        return float(np.average([loss for loss, _ in parts], weights=[n for _, n in parts]))

    return min((fit_temperature, fit_biases), key=loss)(p, truth)


def left_out(groups: np.ndarray, n_parts: int = 3, most: int = 6) -> list[np.ndarray]:
    """Return masks of the cells of each part, shape (n_cells,), for cross-fitting.

    Parts are groups, put together into at most `most` parts; with a single group, they are
    `n_parts` random parts of its cells.
    """
    names, codes, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(names) > 1:
        parts = np.argsort(np.argsort(-sizes, kind="stable"), kind="stable") % most
        return [parts[codes] == part for part in range(min(most, len(names)))]
    drawn = np.random.default_rng(0).permutation(len(groups)) % n_parts
    return [drawn == i for i in range(n_parts)]


def pool(sources: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """Return the logarithmic opinion pool: the normalised product of probabilities raised to their weights.

    Args:
        sources: probabilities of each source, shape (n_cells, n_labels).
        weights: of the sources.
    """
    logs: np.ndarray = sum(w * np.log(np.maximum(p, LEAST)) for w, p in zip(weights, sources, strict=True))
    return normalized(logs)


def half_balanced(truth: np.ndarray) -> np.ndarray:
    """Return weights of cells by which each label counts by the square root of its number of cells.

    This is halfway between equal weights of cells (accuracy) and of labels (macro-F1).
    """
    _, codes, counts = np.unique(truth, return_inverse=True, return_counts=True)
    return 1.0 / np.sqrt(counts[codes])


def temper_to(p: np.ndarray, confidence: float, lowest: float = 0.25, highest: float = 20.0) -> np.ndarray:
    """Return probabilities at the temperature at which their mean confidence is as given.

    The most probable label stays the same.

    Args:
        p: probabilities, shape (n_cells, n_labels).
        confidence: wanted mean of each cell's highest probability.
        lowest, highest: limits of the temperature.
    """
    from scipy.optimize import brentq

    logs = np.log(np.maximum(p, 1e-30))

    def excess(temperature: float) -> float:
        return float(normalized(logs / temperature).max(axis=1).mean()) - confidence

    if excess(lowest) <= 0:
        return normalized(logs / lowest)
    if excess(highest) >= 0:
        return normalized(logs / highest)
    return normalized(logs / brentq(excess, lowest, highest, xtol=1e-3))
