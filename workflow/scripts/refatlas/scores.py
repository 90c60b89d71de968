"""How good labels are: scores of one source against known labels."""

import numpy as np
import pandas as pd
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, precision_recall_fscore_support, roc_auc_score


def expected_calibration_error(correct: np.ndarray, confidence: np.ndarray, n_bins: int = 10) -> float:
    """Return the mean gap of accuracy and confidence over bins of equal width, weighted by their cells (Guo 2017)."""
    bins = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    sizes = np.bincount(bins, minlength=n_bins)
    gaps = np.bincount(bins, weights=correct - confidence, minlength=n_bins)
    return float(np.abs(gaps).sum() / sizes.sum())


def score_labels(truth: pd.Series, label: pd.Series, confidence: pd.Series, known: set[str]) -> dict:
    """Return the scores of a source's labels.

    Accuracy, macro-F1 (over the labels that occur in the truth) and calibration are those of cells whose true label the reference has;
    auroc_unseen tells how well low confidence finds the others.

    Args:
        truth: true labels, none missing. label, confidence: of the same cells. known: the reference's labels.
    """
    seen = truth.isin(known).to_numpy()
    scores = {"n_cells": len(truth), "n_seen": int(seen.sum()), "accuracy": np.nan, "macro_f1": np.nan, "ece": np.nan, "auroc_unseen": np.nan}
    if seen.any():
        t, p = truth[seen].to_numpy(), label[seen].to_numpy()
        scores["accuracy"] = float(accuracy_score(t, p))
        scores["macro_f1"] = float(f1_score(t, p, labels=sorted(set(t)), average="macro", zero_division=0))
        scores["ece"] = expected_calibration_error((t == p).astype(float), confidence[seen].to_numpy())
    if seen.any() and not seen.all():
        scores["auroc_unseen"] = float(roc_auc_score(~seen, 1 - confidence.to_numpy()))
    return scores


def score_each_label(truth: pd.Series, label: pd.Series) -> pd.DataFrame:
    """Return precision, recall, F1 and cells of each true label."""
    names = sorted(set(truth))
    values = precision_recall_fscore_support(truth, label, labels=names, zero_division=0)
    return pd.DataFrame(dict(zip(("precision", "recall", "f1", "n_cells"), values, strict=True)) | {"label": names})[["label", "precision", "recall", "f1", "n_cells"]]


def confusion(truth: pd.Series, label: pd.Series) -> pd.DataFrame:
    """Return the number of cells of each true label (rows) and given label (columns), long: truth, label, n_cells; zeros left out."""
    names = sorted(set(truth) | set(label))
    table = pd.DataFrame(confusion_matrix(truth, label, labels=names), index=pd.Index(names, name="truth"), columns=pd.Index(names, name="label"))
    long = table.stack().rename("n_cells").reset_index()
    return long[long["n_cells"] > 0]
