"""Intervals over batches, and means over all folds."""

import numpy as np
import pandas as pd
import pytest

from refatlas.evaluate.transfer_scores import COLUMNS
from refatlas.evaluate.transfer_summary import interval, with_intervals


def test_an_interval_by_hand():
    # Student's t of 2 degrees of freedom: 4.3027; standard deviation 0.1.
    assert interval(pd.Series([0.4, 0.5, 0.6])) == pytest.approx((0.5 - 4.3027 * 0.1 / 3**0.5, 0.5 + 0.2484), abs=1e-4)
    assert interval(pd.Series([0.9, 1.0])) == pytest.approx((0.315, 1.0), abs=1e-3)
    assert np.isnan(interval(pd.Series([0.9, np.nan]))).all()


def test_rows_over_all_folds_come_first():
    key = {"model": "m", "source": "knn", "level": 1}
    rows = [
        {"split": "atlas", "query": "q", "batch": "all", "accuracy": 0.7, "n_cells": 5},
        {"split": "atlas", "query": "q", "batch": "q1", "accuracy": 0.7, "n_cells": 5},
        {"split": "fold_1", "query": "heldout", "batch": "all", "accuracy": 0.85, "n_cells": 30},
        {"split": "fold_1", "query": "heldout", "batch": "b1", "accuracy": 0.8, "n_cells": 10},
        {"split": "fold_1", "query": "heldout", "batch": "b2", "accuracy": 0.9, "n_cells": 20},
    ]
    found = with_intervals(pd.DataFrame([{**key, **row} for row in rows], columns=COLUMNS["scores"]))
    assert found[["split", "query", "n_batches", "n_cells"]].values.tolist() == [
        ["folds", "all held-out batches", 2, 30],
        ["atlas", "q", 1, 5],
        ["fold_1", "heldout", 2, 30],
    ]
    assert found["accuracy"].tolist() == pytest.approx([0.85, 0.7, 0.85])
    assert found["accuracy_high"].tolist() == pytest.approx([1.0, np.nan, 1.0], nan_ok=True)


def test_a_table_without_rows_keeps_its_columns():
    found = with_intervals(pd.DataFrame(columns=COLUMNS["scores"]))
    assert found.empty
    assert list(found.columns[-4:]) == ["accuracy_low", "accuracy_high", "macro_f1_low", "macro_f1_high"]
