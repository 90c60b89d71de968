"""The datasets' own columns stand together in one table of the reference's cells."""

import numpy as np
import pandas as pd
import pytest

from refatlas.errors import InputError
from refatlas.report.own_columns import own_columns

A = pd.DataFrame(
    {"age": [30, 31], "sex": ["f", "m"], "mixed": [1, 2], "flag": [True, False], "both": [True, True], "label": "x"},
    index=["a:1", "a:2"],
)
B = pd.DataFrame(
    {"age": [0.5], "mixed": ["old"], "only": pd.Categorical([4]), "both": [False], "empty": [None]}, index=["b:1"]
)


def test_columns_of_datasets_are_joined_and_conflicts_are_named():
    found, notes = own_columns({"a": A, "b": B}, "all", ["label"])
    assert found.index.tolist() == ["a:1", "a:2", "b:1"]
    assert found["age"].tolist() == [30, 31, 0.5]
    assert found["both"].tolist() == [True, True, False]
    assert found["both"].dtype == bool
    texts = found[["sex", "mixed", "flag", "only", "original_label"]].astype(object)
    assert texts.where(texts.notna(), "-").to_numpy().T.tolist() == [
        ["f", "m", "-"],
        ["1", "2", "old"],
        ["True", "False", "-"],
        ["-", "-", "4"],
        ["x", "x", "-"],
    ]
    assert found["empty"].isna().all()
    assert notes == [
        "column 'mixed' is kept as text: numbers in a; text in b",
        "column 'label' is kept as 'original_label'",
    ]


def test_named_columns_alone_are_kept_and_unknown_ones_refused():
    found, notes = own_columns({"a": A, "b": B}, ["only", "sex"], [])
    assert (list(found), notes) == (["sex", "only"], [])
    with pytest.raises(InputError, match=r"config: export: keep_columns: no dataset has a cell column 'sexx'; they"):
        own_columns({"a": A, "b": B}, ["sexx"], [])


def test_missing_numbers_stay_numbers():
    parts = {"a": pd.DataFrame({"n": [1, 2]}, index=["a:1", "a:2"]), "b": pd.DataFrame(index=["b:1"])}
    found, _ = own_columns(parts, "all", [])
    assert np.array_equal(found["n"], [1, 2, np.nan], equal_nan=True)


def test_a_dataset_without_kept_cells_adds_nothing():
    found, notes = own_columns({"a": A, "b": B.iloc[:0]}, "all", ["label"])
    assert found.index.tolist() == ["a:1", "a:2"]
    assert found["mixed"].tolist() == [1, 2]
    assert found["flag"].dtype == bool
    assert notes == ["column 'label' is kept as 'original_label'"]
