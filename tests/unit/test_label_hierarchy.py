"""Coarser labels: parents, and confidences that agree between levels."""

import numpy as np
import pandas as pd
import pytest

from refatlas.transfer.hierarchy import coarser, hierarchy


def test_hierarchy_takes_the_parent_of_most_cells(capsys):
    cells = pd.DataFrame({"label": ["a", "a", "a", "b", None], "label_2": ["X", "X", "Y", "Y", "Y"]})
    parents = hierarchy(cells)
    assert parents["label_2"].to_dict() == {"a": "X", "b": "Y"}
    assert "'a' has several parents" in capsys.readouterr().out
    shares = pd.DataFrame({"a": [0.6], "b": [0.4]})
    assert coarser(shares, pd.Series(["a"]), parents["label_2"]).iloc[0].tolist() == ["X", 0.6]


def test_a_label_without_a_parent_has_no_coarser_confidence():
    shares = pd.DataFrame({"a": [0.6, 0.1], "b": [0.4, 0.9]})
    found = coarser(shares, pd.Series(["a", "b"]), pd.Series({"a": "X", "b": None}))
    assert found["confidence"].tolist() == pytest.approx([0.6, np.nan], nan_ok=True)
    assert coarser(shares, pd.Series(["a", "b"]), pd.Series({"a": None, "b": None}))["confidence"].isna().all()
