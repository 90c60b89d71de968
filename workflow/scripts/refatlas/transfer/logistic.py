"""Multinomial logistic regression as plain arrays, stored and applied without pickling."""

from typing import Any

import numpy as np
import pandas as pd

# Coefficients, intercept and labels; with scaling, also mean and spread.
Arrays = dict[str, np.ndarray]


def fit_logistic(
    x: Any, labels: pd.Series, strength: float, max_cells: int = 50_000, seed: int = 0, tolerance: float = 1e-4
) -> Arrays:
    """Return a logistic regression with balanced classes, fitted to the cells that have a label.

    Args:
        x: features, shape (n_cells, n_features), dense or CSR.
        labels: label of each cell, missing for unlabelled cells.
        strength: inverse strength of the penalty.
        max_cells: most cells to fit to; they are drawn at random.
        seed: seed of the draw.
        tolerance: of the fit.

    Returns:
        "coef", shape (n_labels, n_features); "intercept", shape (n_labels,); and "labels". With a
        single label, the regression is constant.
    """
    from sklearn.linear_model import LogisticRegression

    known = np.flatnonzero(labels.notna().to_numpy())
    known = np.sort(np.random.default_rng(seed).permutation(known)[:max_cells])
    names = labels.iloc[known].to_numpy(dtype=str)
    found = np.unique(names)
    if len(found) < 2:
        return {"coef": np.zeros((len(found), x.shape[1])), "intercept": np.zeros(len(found)), "labels": found}
    model = LogisticRegression(C=strength, class_weight="balanced", max_iter=200, tol=tolerance)
    fit = model.fit(x[known], names)
    coef, intercept = fit.coef_, fit.intercept_
    if len(fit.classes_) == 2:
        coef, intercept = np.vstack([np.zeros_like(coef), coef]), np.concatenate([[0.0], intercept])
    return {"coef": coef, "intercept": intercept, "labels": fit.classes_.astype(str)}


def apply_logistic(arrays: Arrays, x: Any) -> np.ndarray:
    """Return the probability of each label by `fit_logistic`, shape (n_cells, n_labels)."""
    from scipy.special import softmax

    return softmax(x @ arrays["coef"].T + arrays["intercept"], axis=1)


def fit_scaled(reference: np.ndarray, labels: pd.Series, strength: float) -> Arrays:
    """Return a logistic regression on standardised features.

    Args:
        reference: features, shape (n_cells, n_features).
        labels: label of each cell, missing for unlabelled cells.
        strength: inverse strength of the penalty.

    Returns:
        As `fit_logistic`, with "mean" and "spread" of each feature, shape (n_features,).
    """
    mean, spread = reference.mean(axis=0), reference.std(axis=0)
    spread[spread == 0] = 1
    return fit_logistic((reference - mean) / spread, labels, strength) | {"mean": mean, "spread": spread}


def apply_scaled(arrays: Arrays, x: np.ndarray) -> np.ndarray:
    """Return the probability of each label by `fit_scaled`, shape (n_cells, n_labels)."""
    return apply_logistic(arrays, (x - arrays["mean"]) / arrays["spread"])
