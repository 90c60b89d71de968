"""Multinomial logistic regression as plain arrays, so that it is stored and applied without
pickling.
"""

import numpy as np


def fit_logistic(x, labels, strength: float, max_cells: int = 50_000, seed: int = 0) -> dict[str, np.ndarray]:
    """Return coef (n_labels, n_features), intercept (n_labels,) and labels of a regression with
    balanced classes.

    Cells without a label take no part; at most `max_cells` are drawn. With a single label the
    regression is constant.

    Args:
        x: features, shape (n_cells, n_features), dense or CSR. labels: a Series. strength: inverse
            strength of the penalty.
    """
    from sklearn.linear_model import LogisticRegression

    known = np.flatnonzero(labels.notna().to_numpy())
    known = np.sort(np.random.default_rng(seed).permutation(known)[:max_cells])
    names = labels.iloc[known].to_numpy(dtype=str)
    found = np.unique(names)
    if len(found) < 2:
        return {"coef": np.zeros((len(found), x.shape[1])), "intercept": np.zeros(len(found)), "labels": found}
    fit = LogisticRegression(C=strength, class_weight="balanced", max_iter=200).fit(x[known], names)
    coef, intercept = fit.coef_, fit.intercept_
    if len(fit.classes_) == 2:
        coef, intercept = np.vstack([np.zeros_like(coef), coef]), np.concatenate([[0.0], intercept])
    return {"coef": coef, "intercept": intercept, "labels": fit.classes_.astype(str)}


def apply_logistic(arrays: dict[str, np.ndarray], x) -> np.ndarray:
    """Return the probability of each label, shape (n_cells, n_labels)."""
    from scipy.special import softmax

    return softmax(x @ arrays["coef"].T + arrays["intercept"], axis=1)


def fit_scaled(reference: np.ndarray, labels, strength: float) -> dict[str, np.ndarray]:
    """Return what `fit_logistic` returns, with the mean and spread that each dimension was scaled
    by.
    """
    mean, spread = reference.mean(axis=0), reference.std(axis=0)
    spread[spread == 0] = 1
    return fit_logistic((reference - mean) / spread, labels, strength) | {"mean": mean, "spread": spread}


def apply_scaled(arrays: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """Return the probability of each label by what `fit_scaled` returned, shape (n_cells,
    n_labels).
    """
    return apply_logistic(arrays, (x - arrays["mean"]) / arrays["spread"])
