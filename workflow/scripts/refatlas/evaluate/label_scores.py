"""How good labels are: scores of one source against known labels."""

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
    """Return for bins of equal width of confidence: from, n_cells, mean confidence, accuracy; empty
    bins left out.
    """
    bins = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    table = pd.DataFrame({"from": bins / n_bins, "confidence": confidence, "accuracy": correct})
    return (
        table.groupby("from")
        .agg(n_cells=("accuracy", "size"), confidence=("confidence", "mean"), accuracy=("accuracy", "mean"))
        .reset_index()
    )


def expected_calibration_error(correct: np.ndarray, confidence: np.ndarray, n_bins: int = N_BINS) -> float:
    """Return the mean gap of accuracy and confidence over bins of equal width, weighted by their
    cells (Guo 2017).
    """
    bins = reliability(correct, confidence, n_bins)
    return float(np.average((bins["accuracy"] - bins["confidence"]).abs(), weights=bins["n_cells"]))


def risk_coverage_area(correct: np.ndarray, confidence: np.ndarray) -> float:
    """Return the area under the risk-coverage curve: the mean error rate of the surest cells, over
    all shares of cells (Geifman 2017).
    """
    errors = 1 - correct[np.argsort(-confidence, kind="stable")]
    return float((np.cumsum(errors) / np.arange(1, len(errors) + 1)).mean())


def score_unseen(unseen: np.ndarray, doubt: np.ndarray) -> dict:
    """Return how well doubt tells cells of unseen labels: AUROC, and the share of other cells
    flagged when 95 % of the unseen are; NaN without either kind. Cells without a value (NaN)
    take no part.
    """
    has_value = ~np.isnan(doubt)
    unseen, doubt = unseen[has_value], doubt[has_value]
    if not unseen.any() or unseen.all():
        return {"auroc_unseen": np.nan, "fpr95_unseen": np.nan}
    false, true, _ = roc_curve(unseen, doubt)
    return {"auroc_unseen": float(roc_auc_score(unseen, doubt)), "fpr95_unseen": float(false[np.argmax(true >= 0.95)])}


def score_labels(truth: pd.Series, label: pd.Series, confidence: pd.Series, known: set[str]) -> dict:
    """Return the scores of a source's labels.

    Accuracy, macro-F1 (over the labels that occur in the truth), calibration error and risk are
    those of cells whose true label the reference has.

    Args:
        truth: true labels, none missing. label, confidence: of the same cells. known: the
            reference's labels.
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
    """Return precision, recall, F1 and cells of each true label."""
    names = sorted(set(truth))
    values = precision_recall_fscore_support(truth, label, labels=names, zero_division=0)
    return pd.DataFrame(dict(zip(("precision", "recall", "f1", "n_cells"), values, strict=True)) | {"label": names})[
        ["label", "precision", "recall", "f1", "n_cells"]
    ]


def confusion(truth: pd.Series, label: pd.Series) -> pd.DataFrame:
    """Return the number of cells of each true label (rows) and given label (columns), long: truth,
    label, n_cells; zeros left out.
    """
    names = sorted(set(truth) | set(label))
    table = pd.DataFrame(
        confusion_matrix(truth, label, labels=names),
        index=pd.Index(names, name="truth"),
        columns=pd.Index(names, name="label"),
    )
    long = table.stack().rename("n_cells").reset_index()
    return long[long["n_cells"] > 0]
