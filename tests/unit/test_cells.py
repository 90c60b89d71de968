"""Tables of cells are read as far as they are needed, and the map of a large reference is as good
as one of exact neighbours.
"""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.manifold import trustworthiness

from refatlas.io.cell_tables import read_cells, read_values
from refatlas.neighbors import exact_index as knn
from refatlas.report import umap

RULES = Path(__file__).parents[2] / "workflow/rules/common.smk"


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


def test_the_map_of_many_cells_is_as_true_as_that_of_few(scripts, monkeypatch):
    random, embed = np.random.default_rng(0), umap
    cells = (random.normal(size=(12, 10))[random.integers(0, 12, 1500)] * 3 + random.normal(size=(1500, 10))).astype(
        np.float32
    )
    found, settings = {}, {"n_neighbors": 15, "min_dist": 0.3, "n_epochs": 100}
    for limit in (2000, 1000):
        monkeypatch.setattr(knn, "EXACT_GRAPH", limit)
        found[embed.start(len(cells))] = trustworthiness(cells, embed.lay_out(cells, settings, 0), n_neighbors=15)
    assert set(found) == {"spectral", "pca"}
    assert found["pca"] > found["spectral"] - 0.02 > 0.85
    assert embed.start(50) == "random"


def test_a_rule_asks_for_time_by_the_size_of_an_input(tmp_path):
    text, known = RULES.read_text(), {"os": os}
    exec(text[text.index("def minutes(") : text.index("def scaled_mem_mb(")], known)
    for name, size in (("large", 3 * 2**20), ("small", 2**19)):
        (tmp_path / name).write_bytes(bytes(size))

    class Input(dict):
        def __iter__(self):
            return iter(self.values())

    files = Input(large=str(tmp_path / "large"), query=str(tmp_path / "small"))
    assert known["minutes"](60)(None, files, 2) == 120
    assert known["minutes"](60, per_input_mb=2)(None, files, 1) == 67
    assert known["minutes"](60, per_input_mb=4, of="query")(None, files, 2) == 124
