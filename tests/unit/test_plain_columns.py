"""Columns become types that every reader of h5ad files knows."""

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest

from exported import unknown_parts
from refatlas.io.anndata_file import anndata_file, read_frame, write_frame
from refatlas.io.plain_columns import plain_column, plain_names, plain_table

MISSING = "missing"


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        (pd.Series([1, 2, 3]), "int64", [1, 2, 3]),
        (pd.Series([1, 2], dtype=">i2"), "int16", [1, 2]),
        (pd.Series([1, None, 3], dtype="Int64"), "float64", [1.0, MISSING, 3.0]),
        (pd.Series([1, 3], dtype="Int64"), "int64", [1, 3]),
        (pd.Series([1, 2**40]), "float64", [1.0, 2.0**40]),
        (pd.Series([2**60 + 1, 5, 5]), "category", [str(2**60 + 1), "5", "5"]),
        (pd.Series([1.5, 2], dtype="float16"), "float32", [1.5, 2.0]),
        (pd.Series([0.25, None], dtype="Float32"), "float64", [0.25, MISSING]),
        (pd.Series([True, False]), "bool", [True, False]),
        (pd.Series([True, False], dtype="boolean"), "bool", [True, False]),
        (pd.Series([True, None, False]), "category", ["True", MISSING, "False"]),
        (pd.Series([True, None], dtype="boolean"), "category", ["True", MISSING]),
        (pd.Series(["b", "a", "b"]), "category", ["b", "a", "b"]),
        (pd.Series(["b", "a"], dtype="string"), "object", ["b", "a"]),
        (pd.Series(["b", None, "a"], dtype="string"), "category", ["b", MISSING, "a"]),
        (pd.Series([b"x", b"x"]), "category", ["x", "x"]),
        (pd.Series([None, None], dtype=object), "float64", [MISSING, MISSING]),
        (pd.Series([1, "a", 2.0], dtype=object), "object", ["1", "a", "2"]),
        (pd.Series([1, None, 2.5], dtype=object), "float64", [1.0, MISSING, 2.5]),
        (pd.Series([[1], [2], [1]]), "category", ["[1]", "[2]", "[1]"]),
        (pd.to_datetime(pd.Series(["2024-05-01", "2024-05-01"])), "category", ["2024-05-01 00:00:00"] * 2),
        (pd.Series(pd.Categorical([3, 1, 3])), "category", [3, 1, 3]),
        (pd.Series(pd.Categorical([True, None])), "category", ["True", MISSING]),
        (pd.Series(pd.Categorical([None, None])), "float64", [MISSING, MISSING]),
        (pd.Series(pd.arrays.SparseArray([0, 1])), "int64", [0, 1]),
        (pd.Series(["a\0b", "ab", "c"]), "category", ["ab", "ab", "c"]),
        (pd.Series(["\udc80", "x"]), "object", ["?", "x"]),
        (pd.Series(pd.interval_range(0, 2)), "object", ["(0, 1]", "(1, 2]"]),
    ],
)
def test_columns_have_plain_types_and_are_written(values, dtype, expected, tmp_path):
    found = plain_column(values)
    assert str(found.dtype) == dtype
    assert found.astype(object).where(found.notna(), MISSING).tolist() == expected
    with anndata_file(tmp_path / "a.h5ad") as file:
        write_frame(file, "obs", pd.DataFrame({"x": found.array}, index=[f"c{i}" for i in range(len(found))]))
    assert unknown_parts(tmp_path / "a.h5ad") == []
    again = read_frame(tmp_path / "a.h5ad", "obs")["x"]
    assert again.astype(object).where(again.notna(), MISSING).tolist() == expected


def test_the_order_of_categories_stays():
    found = plain_column(pd.Series(pd.Categorical(["low", "high"], ["low", "high"], ordered=True)))
    assert found.cat.categories.tolist() == ["low", "high"]
    assert found.cat.ordered


def test_names_are_our_own_or_the_users():
    names = ["label", "original_label", "a/b", "a_b", "", ".", "_index", 7]
    assert plain_names(names, ["label"]) == {
        "label": "original_label",
        "original_label": "original_original_label",
        "a/b": "a_b",
        "a_b": "original_a_b",
        "": "unnamed",
        ".": "original_unnamed",
        "_index": "original__index",
        7: "7",
    }


def test_a_table_says_which_columns_have_another_name():
    table = pd.DataFrame({"label": ["x", "y"], "n": [1, 2]}, index=[10, 11])
    found, notes = plain_table(table, ["label"])
    assert list(found) == ["original_label", "n"]
    assert found.index.tolist() == ["10", "11"]
    assert notes == ["column 'label' is kept as 'original_label'"]


def test_foreign_encodings_are_found(tmp_path):
    cells = ad.AnnData(np.zeros((2, 1)), obs=pd.DataFrame({"x": pd.array([1, None])}, index=["a", "b"]))
    cells.write_h5ad(tmp_path / "a.h5ad", compression="lzf")
    found = unknown_parts(tmp_path / "a.h5ad")
    assert any("nullable-integer" in part for part in found)
    assert any("lzf" in part for part in found)
    with h5py.File(tmp_path / "a.h5ad", "a") as file:
        file["elsewhere"] = h5py.ExternalLink("b.h5ad", "/X")
    with h5py.File(tmp_path / "b.h5ad", "w") as file:
        file["X"] = [1]
    assert "elsewhere: link" in unknown_parts(tmp_path / "a.h5ad")
