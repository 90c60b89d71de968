"""Tables of cells are read as far as they are needed."""

import numpy as np
import pandas as pd
import pytest

from refatlas.io.cell_tables import mark_training_cells, read_cells, read_values


@pytest.fixture
def tables(tmp_path):
    """Paths of two datasets' cells.parquet, of which the second has no labels."""
    first = pd.DataFrame(
        {
            "barcode": ["x", "y"],
            "batch": ["a:1", "a:2"],
            "label": ["T", None],
            "label_2": ["L", "M"],
            "keep": [True, False],
        },
        index=pd.Index(["a:x", "a:y"], name="cell"),
    )
    second = pd.DataFrame({"barcode": ["z"], "batch": ["b:1"], "keep": [True]}, index=pd.Index(["b:z"], name="cell"))
    for name, table in (("a", first), ("b", second)):
        table.to_parquet(tmp_path / f"{name}.parquet")
    return [str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet")], pd.concat([first, second]).drop(
        columns="barcode"
    )


def test_cells_are_read_without_barcodes(tables):
    paths, expected = tables
    pd.testing.assert_frame_equal(read_cells(paths), expected)


def test_cells_are_read_without_names_and_other_columns(tables):
    paths, expected = tables
    pd.testing.assert_frame_equal(read_cells(paths, named=False), expected.reset_index(drop=True))
    pd.testing.assert_frame_equal(read_cells(paths, ["batch", "label"]), expected[["batch", "label"]])
    assert list(read_cells(paths[1:], ["label"]).columns) == []
    assert list(read_cells(paths[1:], ["label"]).index) == ["b:z"]


def test_values_are_read_in_their_order(tmp_path):
    places = np.random.default_rng(0).normal(size=(7, 2)).astype(np.float32)
    pd.DataFrame(places, index=pd.Index(list("gfedcba"), name="cell"), columns=["umap_1", "umap_2"]).to_parquet(
        tmp_path / "umap.parquet"
    )
    assert np.array_equal(read_values(str(tmp_path / "umap.parquet")), places)


def test_only_cells_of_role_train_are_kept(tmp_path):
    table = pd.DataFrame({"keep": [True, True, False, True]}, index=["a", "b", "c", "d"])
    pd.DataFrame({"role": ["train", "held_out", "left_out"]}, index=["a", "b", "d"]).to_parquet(
        tmp_path / "fold.parquet"
    )
    assert mark_training_cells(table, str(tmp_path / "fold.parquet"))["keep"].tolist() == [True, False, False, False]
    assert mark_training_cells(table, None)["keep"].tolist() == [True, True, False, True]
