"""Scores of the labels of one source against known labels."""

import numpy as np
import pandas as pd
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
    roc_auc_score,
    roc_curve,
)

N_BINS = 10


def reliability(correct: np.ndarray, confidence: np.ndarray, n_bins: int = N_BINS) -> pd.DataFrame:
    """Return the reliability of confidences in bins of equal width, without empty bins.

    Args:
        correct: whether each label is correct, shape (n_cells,).
        confidence: of each label, shape (n_cells,).
        n_bins: number of bins between 0 and 1.

    Returns:
        One row per bin: from (its lower end), n_cells, confidence (mean), accuracy.
    """
    bins = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    table = pd.DataFrame({"from": bins / n_bins, "confidence": confidence, "accuracy": correct})
    return (
        table.groupby("from")
        .agg(n_cells=("accuracy", "size"), confidence=("confidence", "mean"), accuracy=("accuracy", "mean"))
        .reset_index()
    )


def expected_calibration_error(correct: np.ndarray, confidence: np.ndarray, n_bins: int = N_BINS) -> float:
    """Return the mean gap between accuracy and confidence over bins, weighted by their cells (Guo 2017).

    Arguments as of `reliability`.
    """
    bins = reliability(correct, confidence, n_bins)
    return float(np.average((bins["accuracy"] - bins["confidence"]).abs(), weights=bins["n_cells"]))


def risk_coverage_area(correct: np.ndarray, confidence: np.ndarray) -> float:
    """Return the area under the risk-coverage curve (Geifman 2017).

    It is the mean error rate of the most confident cells, over all shares of cells.

    Args:
        correct: whether each label is correct, shape (n_cells,).
        confidence: of each label, shape (n_cells,).
    """
    errors = 1 - correct[np.argsort(-confidence, kind="stable")]
    return float((np.cumsum(errors) / np.arange(1, len(errors) + 1)).mean())


def score_unseen(unseen: np.ndarray, score: np.ndarray) -> dict:
    """Return how well a score detects cells of unseen labels; NaN if all cells or none are such.

    Args:
        unseen: whether the label of each cell is unseen, shape (n_cells,).
        score: higher for cells that are more likely to be unseen; cells without a value are left
            out.

    Returns:
        "auroc_unseen", and "fpr95_unseen": the share of other cells above the threshold at which 95 %
        of the unseen cells are detected.
    """
    has_value = ~np.isnan(score)
    unseen, score = unseen[has_value], score[has_value]
    if not unseen.any() or unseen.all():
        return {"auroc_unseen": np.nan, "fpr95_unseen": np.nan}
    false, true, _ = roc_curve(unseen, score)
    return {"auroc_unseen": float(roc_auc_score(unseen, score)), "fpr95_unseen": float(false[np.argmax(true >= 0.95)])}


def score_labels(truth: pd.Series, label: pd.Series, confidence: pd.Series, known: set[str]) -> dict:
    """Return the scores of a source's labels.

    Accuracy, macro-F1 (over the true labels), calibration error and risk are those of cells whose
    true label the reference has.

    Args:
        truth: true labels, none missing.
        label: predicted labels of the same cells.
        confidence: of the predicted labels.
        known: labels of the reference.
    """
    seen = truth.isin(known).to_numpy()
    scores = {
        "n_cells": len(truth),
        "n_seen": int(seen.sum()),
        "accuracy": np.nan,
        "macro_f1": np.nan,
        "ece": np.nan,
        "aurc": np.nan,
    }
    if seen.any():
        t, p, c = truth[seen].to_numpy(), label[seen].to_numpy(), confidence[seen].to_numpy()
        right = (t == p).astype(float)
        scores["accuracy"] = float(accuracy_score(t, p))
        scores["macro_f1"] = float(f1_score(t, p, labels=sorted(set(t)), average="macro", zero_division=0))
        scores["ece"] = expected_calibration_error(right, c)
        scores["aurc"] = risk_coverage_area(right, c)
    return scores | score_unseen(~seen, 1 - confidence.to_numpy())


def score_each_label(truth: pd.Series, label: pd.Series) -> pd.DataFrame:
    """Return precision, recall, F1 and number of cells of each true label."""
    names = sorted(set(truth))
    values = precision_recall_fscore_support(truth, label, labels=names, zero_division=0)
    return pd.DataFrame(dict(zip(("precision", "recall", "f1", "n_cells"), values, strict=True)) | {"label": names})[
        ["label", "precision", "recall", "f1", "n_cells"]
    ]


def confusion(truth: pd.Series, label: pd.Series) -> pd.DataFrame:
    """Return the confusion matrix in long form: truth, label, n_cells; zeros are left out."""
    names = sorted(set(truth) | set(label))
    table = pd.DataFrame(
        confusion_matrix(truth, label, labels=names),
        index=pd.Index(names, name="truth"),
        columns=pd.Index(names, name="label"),
    )
    long = table.stack().rename("n_cells").reset_index()
    return long[long["n_cells"] > 0]
