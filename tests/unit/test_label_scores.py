"""Scores of labels, worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from refatlas.evaluate.label_scores import (
    confusion,
    expected_calibration_error,
    risk_coverage_area,
    score_labels,
    score_unseen,
)


def test_calibration_error_by_hand():
    # Two cells at 0.95, one right: gap 0.45. Two at 0.55, both right: gap 0.45.
    assert expected_calibration_error(np.array([1, 0, 1, 1]), np.array([0.95, 0.95, 0.55, 0.55])) == pytest.approx(0.45)


def test_risk_and_unseen_by_hand():
    # Errors by falling confidence: right, wrong, right: risks 0, 1/2, 1/3.
    assert risk_coverage_area(np.array([1, 1, 0]), np.array([0.9, 0.5, 0.7])) == pytest.approx((0 + 1 / 2 + 1 / 3) / 3)
    found = score_unseen(np.array([True, False, False, False]), np.array([0.8, 0.9, 0.1, 0.2]))
    assert found == pytest.approx({"auroc_unseen": 2 / 3, "fpr95_unseen": 1 / 3})
    assert np.isnan(score_unseen(np.array([False]), np.array([0.5]))["auroc_unseen"])


def test_scores_by_hand():
    truth = pd.Series(["a", "a", "b", "new"])
    scores = score_labels(truth, pd.Series(["a", "b", "b", "a"]), pd.Series([0.9, 0.6, 0.8, 0.5]), known={"a", "b"})
    assert scores["accuracy"] == pytest.approx(2 / 3)
    assert scores["macro_f1"] == pytest.approx(2 / 3)
    assert (scores["n_cells"], scores["n_seen"], scores["auroc_unseen"]) == (4, 3, 1.0)
    assert confusion(truth, pd.Series(["a", "b", "b", "a"])).values.tolist() == [
        ["a", "a", 1],
        ["a", "b", 1],
        ["b", "b", 1],
        ["new", "a", 1],
    ]
