"""Grades of one pair: labels, calibration, sets, novelty, verdict (see PROTOCOL.md)."""

from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from refatlas.evaluate.label_scores import expected_calibration_error

MIN_LABEL_CELLS = 50
LEAST = 1e-6


def label_grades(truth: np.ndarray, given: np.ndarray) -> dict[str, float]:
    """Return accuracy and macro-F1 of seen cells; NaN if there is none."""
    if len(truth) == 0:
        return {"accuracy": np.nan, "macro_f1": np.nan}
    f1 = f1_score(truth, given, labels=sorted(set(truth)), average="macro", zero_division=0)
    return {"accuracy": accuracy_score(truth, given), "macro_f1": f1}


def probability_grades(p: np.ndarray, labels: list[str], truth: np.ndarray) -> dict[str, float]:
    """Return ECE, the largest ECE of a given label, log-loss and Brier score of seen cells."""
    if len(truth) == 0:
        return dict.fromkeys(("ece", "ece_worst_label", "log_loss", "brier"), np.nan)
    codes, best, top = pd.Index(labels).get_indexer(truth), p.argmax(axis=1), p.max(axis=1)
    right = (best == codes).astype(float)
    by_label = [
        expected_calibration_error(right[best == k], top[best == k])
        for k in range(len(labels))
        if (best == k).sum() >= MIN_LABEL_CELLS
    ]
    one_hot = np.eye(len(labels))[codes]
    return {
        "ece": expected_calibration_error(right, top),
        "ece_worst_label": max(by_label, default=np.nan),
        "log_loss": float(-np.log(np.maximum(p[np.arange(len(p)), codes], LEAST)).mean()),
        "brier": float(np.square(p - one_hot).sum(axis=1).mean()),
    }


def coverage_grades(covered: np.ndarray, truth: np.ndarray, batches: np.ndarray, sizes: np.ndarray) -> dict[str, float]:
    """Return coverage over all seen cells, the lowest of a label and of a batch, and the mean size of sets."""
    if len(truth) == 0:
        return dict.fromkeys(("coverage", "coverage_worst_label", "coverage_worst_batch", "set_size"), np.nan)
    return {
        "coverage": float(covered.mean()),
        "coverage_worst_label": _worst(covered, truth),
        "coverage_worst_batch": _worst(covered, batches),
        "set_size": float(sizes.mean()),
    }


def _worst(covered: np.ndarray, groups: np.ndarray) -> float:
    means = pd.Series(covered.astype(float)).groupby(groups).agg(["mean", "size"])
    return float(means.loc[means["size"] >= MIN_LABEL_CELLS, "mean"].min())


def novelty_grades(novelty: np.ndarray, novel: np.ndarray, unseen: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Return AUROC of novelty, share of unseen cells found, and false-novel rates of seen cells.

    Args:
        novelty: score of each cell with a known label.
        novel: whether it is called novel.
        unseen: whether the reference lacks its label.
        truth: its label.
    """
    seen = ~unseen
    rates = pd.Series(novel[seen].astype(float)).groupby(truth[seen]).agg(["mean", "size"])
    both = unseen.any() and seen.any() and not np.isnan(novelty).any()
    return {
        "auroc_novelty": roc_auc_score(unseen, novelty) if both else np.nan,
        "found": float(novel[unseen].mean()) if unseen.any() else np.nan,
        "false_novel": float(novel[seen].mean()) if seen.any() else np.nan,
        "false_novel_worst_label": float(rates.loc[rates["size"] >= MIN_LABEL_CELLS, "mean"].max()),
    }


def verdict_grades(verdict: str, estimate: float, low: float, high: float, accuracy: float) -> dict[str, Any]:
    """Return the verdict, the estimated accuracy with its interval, and their errors."""
    return {
        "verdict": verdict,
        "estimate": estimate,
        "estimate_low": low,
        "estimate_high": high,
        "graded_accuracy": accuracy,
        "false_fail": verdict == "fail" and accuracy >= 0.9,
        "false_pass": verdict == "pass" and accuracy < 0.75,
    }
