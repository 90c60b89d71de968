"""Prediction sets as lists, and as text that stands for one set only."""

import numpy as np
import pandas as pd
import pytest

from refatlas.transfer.prediction_sets import common_labels, join_set, set_lists, split_set


def test_the_most_probable_label_comes_first():
    p = np.array([[0.1, 0.6, 0.3], [1.0, 0.0, 0.0]])
    inside = np.array([[False, True, True], [True, False, False]])
    assert set_lists(p, inside, ["A", "B", "C"]) == [["B", "C"], ["A"]]


def test_a_set_is_covered_by_the_finest_common_label():
    parents = pd.DataFrame({"label_2": ["AB", "AB", "C"], "label_3": ["all"] * 3}, index=["A", "B", "C"])
    sets = pd.Series([["A", "C"], ["B", "A"], ["C"], [], np.array(["A", "B"], dtype=object)])
    assert common_labels(sets, parents).tolist() == ["all", "AB", "C", "", "AB"]
    assert common_labels(sets, parents[["label_2"]])[0] == ""


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        ([], ""),
        (["CD14 Mono"], "CD14 Mono"),
        (["A", "B"], "A | B"),
        (["A | B"], '"A | B"'),
        (["A |", "| B", "C"], '"A |" | "| B" | C'),
        (['"A" | B', "C"], '"""A"" | B" | C'),
        (['"A"'], '"""A"""'),
        (['5" probe', "B|C"], '5" probe | B|C'),
        (["|", '"', '""'], '"|" | """" | """"""'),
    ],
)
def test_a_text_stands_for_one_set(labels, text):
    assert join_set(labels) == text
    assert split_set(text) == labels
