"""Probabilities that mean what they say: calibration of one source, pooling of several, and
prediction sets. Everything learned is plain JSON.

Probabilities P have shape (n_cells, n_labels), rows summing to 1; `truth` holds each cell's column,
`batches` its batch.
"""

import numpy as np

# Below these, a curve of 2 parameters is all that the cells can tell.
MIN_ISOTONIC_CELLS = 500
MIN_ISOTONIC_ERRORS = 50
LEAST = 1e-6


def log_loss(p: np.ndarray, truth: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return the mean negative log-probability of the true labels."""
    return float(np.average(-np.log(np.maximum(p[np.arange(len(truth)), truth], LEAST)), weights=weights))


def temper(p: np.ndarray, temperature: float, floor: float) -> np.ndarray:
    """Return probabilities with a share `floor` of doubt spread over all labels, raised to 1 /
    temperature (Guo 2017) and normalised.

    The floor is for sources that say exactly 0, such as a vote; a temperature alone cannot mend
    that.
    """
    logs = np.log(np.maximum((1 - floor) * p + floor / p.shape[1], 1e-30)) / temperature
    raised = np.exp(logs - logs.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def fit_temperature(p: np.ndarray, truth: np.ndarray) -> dict:
    """Return the temperature and floor of least log-loss."""
    from scipy.optimize import minimize

    def loss(x):
        return log_loss(temper(p, np.exp(x[0]), 1 / (1 + np.exp(-x[1]))), truth) + 1e-3 * x[0] ** 2

    best = minimize(loss, [0.0, -4.0], method="L-BFGS-B", bounds=[(-2, 2), (-12, 0)])
    return {
        "method": "temperature",
        "temperature": float(np.exp(best.x[0])),
        "floor": float(1 / (1 + np.exp(-best.x[1]))),
    }


def fit_isotonic(p: np.ndarray, truth: np.ndarray) -> dict:
    """Return a monotone curve from the likeliest label's probability to how often it is right
    (Zadrozny & Elkan 2002).
    """
    from sklearn.isotonic import IsotonicRegression

    right = p.argmax(axis=1) == truth
    n = len(truth)
    fit = IsotonicRegression(y_min=1 / (n + 2), y_max=1 - 1 / (n + 2), out_of_bounds="clip").fit(
        p.max(axis=1), right.astype(float)
    )
    return {"method": "isotonic", "x": fit.X_thresholds_.tolist(), "y": fit.y_thresholds_.tolist()}


def calibrated(p: np.ndarray, how: dict) -> np.ndarray:
    """Return calibrated probabilities: `how` is of `fit_temperature` or `fit_isotonic`. The
    likeliest label stays the likeliest.
    """
    if how["method"] == "temperature":
        return temper(p, how["temperature"], how["floor"])
    best, rows = p.argmax(axis=1), np.arange(len(p))
    top = np.interp(p.max(axis=1), how["x"], how["y"])
    rest = p.copy()
    rest[rows, best] = 0
    others = rest.sum(axis=1, keepdims=True)
    rest = np.divide(rest, others, out=np.full_like(rest, 1 / max(p.shape[1] - 1, 1)), where=others > 0)
    # Where the curve leaves less than any other label would get, the others are cut to it.
    found = np.minimum(rest * (1 - top[:, None]), top[:, None] * (1 - 1e-6))
    found[rows, best] = top
    return found / found.sum(axis=1, keepdims=True)


def fit_calibrator(p: np.ndarray, truth: np.ndarray, batches: np.ndarray) -> dict:
    """Return temperature or isotonic calibration, whichever has less log-loss on batches that it
    was not fitted to; with few cells or errors, temperature.
    """
    errors = int((p.argmax(axis=1) != truth).sum())
    if len(truth) < MIN_ISOTONIC_CELLS or errors < MIN_ISOTONIC_ERRORS:
        return fit_temperature(p, truth)
    losses = {}
    for fit in (fit_temperature, fit_isotonic):
        parts = [
            (log_loss(calibrated(p[test], fit(p[~test], truth[~test])), truth[test]), test.sum())
            for test in left_out(batches)
        ]
        losses[fit] = np.average([loss for loss, _ in parts], weights=[n for _, n in parts])
    return min(losses, key=losses.get)(p, truth)


def left_out(batches: np.ndarray, n_parts: int = 3, most: int = 6) -> list[np.ndarray]:
    """Return a mask of test cells for each part: batch by batch, in at most `most` groups of whole
    batches; with a single batch, thirds of its cells.
    """
    names, codes, sizes = np.unique(batches, return_inverse=True, return_counts=True)
    if len(names) > 1:
        groups = np.argsort(np.argsort(-sizes, kind="stable"), kind="stable") % most
        return [groups[codes] == group for group in range(min(most, len(names)))]
    parts = np.random.default_rng(0).permutation(len(batches)) % n_parts
    return [parts == i for i in range(n_parts)]


def pool(sources: list[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """Return the normalised product of the sources' probabilities, each raised to its weight (a
    logarithmic opinion pool).
    """
    logs = sum(w * np.log(np.maximum(p, LEAST)) for w, p in zip(weights, sources, strict=True))
    raised = np.exp(logs - logs.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def half_balanced(truth: np.ndarray) -> np.ndarray:
    """Return weights that let every label count by the square root of its cells: between all cells
    alike (accuracy) and all labels alike (macro-F1).
    """
    _, codes, counts = np.unique(truth, return_inverse=True, return_counts=True)
    return 1.0 / np.sqrt(counts[codes])


def fit_pool(sources: list[np.ndarray], truth: np.ndarray, penalty: float = 0.05) -> np.ndarray:
    """Return the weights, none negative, of least half-balanced log-loss; drawn towards equal ones
    as far as cells are few.
    """
    from scipy.optimize import minimize

    n, equal, weights = len(sources), 1 / len(sources), half_balanced(truth)

    def loss(w):
        return log_loss(pool(sources, w), truth, weights) + penalty * n * np.square(w - equal).mean()

    return minimize(loss, np.full(n, equal), method="L-BFGS-B", bounds=[(0, 2)] * n).x


def fit_sets(p: np.ndarray, truth: np.ndarray, alpha: float, prior: float = 100) -> np.ndarray:
    """Return for each label the least probability with which it enters a prediction set, shape
    (n_labels,).

    Class-conditional split conformal prediction (Vovk 2012): of the cells of each label, at least 1
    - alpha have it in their set. Each label's cells are joined by
    all cells with a weight of `prior` cells together, so that a rare label goes halfway to what
    holds over all cells (between classwise and marginal, as in Ding 2025):
    otherwise three odd cells of thirty would put their label into every set.
    """
    given = p[np.arange(len(truth)), truth]
    order = np.argsort(given, kind="stable")

    def limit(label):
        mass = np.cumsum((truth[order] == label) + prior / len(truth))
        below = np.flatnonzero(mass <= alpha * (mass[-1] + 1) + 1e-9)
        return float(given[order[below[-1]]]) if len(below) else 0.0

    return np.array([limit(label) for label in range(p.shape[1])])


def prediction_sets(p: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Return which labels are in each cell's set, shape (n_cells, n_labels); the likeliest label
    always is.
    """
    inside = p >= limits
    inside[np.arange(len(p)), p.argmax(axis=1)] = True
    return inside
