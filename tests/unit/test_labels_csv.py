"""Labels of a query in an AnnData."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from conftest import small_counts
from refatlas.errors import InputError
from refatlas.io.labels_csv import add_labels, read_labels


def write_labels(path, cells, **columns) -> str:
    """Write a labels.csv of these cells; return its path."""
    table = pd.DataFrame(
        {
            "cell": cells,
            "label": [f"type {i % 3}" for i in range(len(cells))],
            "confidence": 0.5,
            "status": "assigned",
            "label_2": "1",
            "confidence_2": 0.75,
            "set": "type 0 | type 1",
            "set_label": "",
            "novelty": np.nan,
            "scvi_label": "NA",
            "scvi_confidence": 1.0,
            **columns,
        }
    )
    table.to_csv(path, index=False)
    return str(path)


def test_labels_are_added_by_name_in_any_order(tmp_path):
    cells = small_counts()
    path = write_labels(tmp_path / "labels.csv", [*cells.obs_names[::-1], "another cell"])
    shuffled = cells[np.random.default_rng(0).permutation(60)[:50]].copy()
    found = add_labels(shuffled, path)
    assert found is shuffled
    expected = pd.read_csv(path, index_col="cell").loc[found.obs_names, "label"]
    assert found.obs["label"].tolist() == expected.tolist()
    assert list(found.obs.columns[:5]) == ["batch", "cell_type", "label", "confidence", "status"]
    found.write_h5ad(tmp_path / "labelled.h5ad")
    assert ad.read_h5ad(tmp_path / "labelled.h5ad").obs["label"].tolist() == expected.tolist()


def test_text_stays_text_and_numbers_are_numbers(tmp_path):
    table = read_labels(write_labels(tmp_path / "labels.csv", ["a", "1"]))
    assert table.index.tolist() == ["a", "1"]
    assert table.loc["1", ["label_2", "scvi_label", "set_label"]].tolist() == ["1", "NA", ""]
    numbers = ["confidence", "confidence_2", "novelty", "scvi_confidence"]
    assert all(table[column].dtype == float for column in numbers)
    assert table["novelty"].isna().all()


def test_columns_are_prefixed_and_existing_ones_are_not_replaced_unasked(tmp_path):
    cells = small_counts()
    path = write_labels(tmp_path / "labels.csv", cells.obs_names)
    add_labels(cells, path, prefix="refatlas_")
    assert "refatlas_label" in cells.obs
    assert "label" not in cells.obs
    with pytest.raises(InputError, match=r"obs has refatlas_label, .*already; set a prefix, .*or overwrite=True"):
        add_labels(cells, path, prefix="refatlas_")
    write_labels(tmp_path / "labels.csv", cells.obs_names, label="new")
    add_labels(cells, path, prefix="refatlas_", overwrite=True)
    assert set(cells.obs["refatlas_label"]) == {"new"}
    assert cells.obs.columns.is_unique


def test_cells_that_do_not_match_are_refused_and_obs_stays_as_it_was(tmp_path):
    cells = small_counts()
    path = write_labels(tmp_path / "labels.csv", cells.obs_names[:50])
    with pytest.raises(InputError, match=r"labels.csv: 10 of the 60 cells of adata are not in it \(cell50, cell51"):
        add_labels(cells, path)
    write_labels(tmp_path / "labels.csv", ["cell0", *cells.obs_names])
    with pytest.raises(InputError, match="cell 'cell0' occurs twice"):
        add_labels(cells, path)
    write_labels(tmp_path / "labels.csv", cells.obs_names)
    twice = ad.concat([cells, cells])
    with pytest.raises(InputError, match="adata: cell 'cell0' occurs twice in obs_names"):
        add_labels(twice, path)
    assert list(cells.obs.columns) == ["batch", "cell_type"]


def test_files_that_are_no_labels_are_refused(tmp_path):
    cells = small_counts()
    cells.obs.to_csv(tmp_path / "obs.csv")
    with pytest.raises(InputError, match=r"obs.csv: column 'cell' is missing; the file has Unnamed: 0, batch"):
        add_labels(cells, tmp_path / "obs.csv")
    with pytest.raises(InputError, match=r"absent.csv: cannot be read as csv"):
        add_labels(cells, tmp_path / "absent.csv")


def test_labels_are_added_to_real_cells(real, tmp_path):
    cells = ad.read_h5ad(real("kang_ctrl_stim_1975c_6998g.h5ad"))
    path = write_labels(tmp_path / "labels.csv", cells.obs_names)
    assert add_labels(cells, path, prefix="new_").obs["new_label"].notna().all()
