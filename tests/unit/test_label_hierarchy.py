"""Coarser labels: parents, and confidences that agree between levels."""

import numpy as np
import pandas as pd
import pytest

from refatlas.transfer.hierarchy import coarser, hierarchy, parent_groups, parent_sums


def test_hierarchy_takes_the_parent_of_most_cells(capsys):
    cells = pd.DataFrame({"label": ["a", "a", "a", "b", None], "label_2": ["X", "X", "Y", "Y", "Y"]})
    parents = hierarchy(cells)
    assert parents["label_2"].to_dict() == {"a": "X", "b": "Y"}
    assert "'a' has several parents" in capsys.readouterr().out
    shares = pd.DataFrame({"a": [0.6], "b": [0.4]})
    assert coarser(shares, parents["label_2"]).iloc[0].tolist() == ["X", 0.6]


def test_the_likeliest_parent_need_not_be_that_of_the_likeliest_label():
    shares = pd.DataFrame({"A1": [0.40], "B1": [0.35], "B2": [0.25]})
    found = coarser(shares, pd.Series({"A1": "A", "B1": "B", "B2": "B"})).iloc[0]
    assert found.tolist() == ["B", pytest.approx(0.6)]


def test_a_label_without_a_parent_has_no_coarser_confidence():
    shares = pd.DataFrame({"a": [0.6, 0.1], "b": [0.4, 0.9]})
    found = coarser(shares, pd.Series({"a": "X", "b": None}))
    assert found["label"].tolist() == ["X", None]
    assert found["confidence"].tolist() == pytest.approx([0.6, np.nan], nan_ok=True)
    assert coarser(shares, pd.Series({"a": None, "b": None}))["confidence"].isna().all()


def test_labels_without_a_parent_are_groups_of_their_own():
    names, codes = parent_groups(["a", "b", "c", "d"], pd.Series({"a": "Y", "b": None, "c": "X", "d": "Y"}))
    assert names == ["X", "Y", None]
    assert codes.tolist() == [1, 2, 0, 1]
    assert parent_sums(np.array([[0.1, 0.2, 0.3, 0.4]]), codes, 3) == pytest.approx(np.array([[0.3, 0.5, 0.2]]))
