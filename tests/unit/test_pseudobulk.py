"""Sums over the cells of a sample, and what becomes of samples and labels with too few of them."""

import decoupler as dc
import numpy as np
import pandas as pd
import pytest

from conftest import sheet_row, small_counts
from refatlas.config.contrasts import complete_contrasts
from refatlas.differential.comparison import compare_labels, label_samples, query_labels
from refatlas.differential.pseudobulk import CountedFile, sum_counts
from refatlas.errors import InputError
from refatlas.io.raw_counts import open_row
from refatlas.prepare.cell_quality import scan_file

NO_LIMITS = {"min_counts": 0, "min_genes": 0, "max_mito_share": None, "mads": None, "min_batch_cells": 1}


def scanned(path, name: str, samples: np.ndarray) -> CountedFile:
    row = sheet_row(path)
    found = scan_file(open_row(row), name, row, NO_LIMITS, [])
    return CountedFile(row, found.cells, found.genes, samples)


def test_sums_are_those_of_decoupler(tmp_path):
    counts = small_counts(200)
    counts.write_h5ad(tmp_path / "a.h5ad")
    expected = dc.pp.pseudobulk(counts, sample_col="batch", groups_col="cell_type", mode="sum")
    names = counts.obs["batch"].astype(str) + "_" + counts.obs["cell_type"].astype(str)
    file = scanned(tmp_path / "a.h5ad", "a", expected.obs_names.get_indexer(names))
    found = sum_counts([file], len(expected))
    assert found.genes.index.tolist() == counts.var_names.tolist()
    assert np.array_equal(found.counts, expected[:, found.genes.index].X)
    assert found.counts.dtype == np.int64
    assert found.counts.sum() == counts.X.sum()


def test_genes_of_files_are_matched_and_those_not_measured_are_known(tmp_path):
    one, other = small_counts(40, seed=1), small_counts(40, seed=2)
    other = other[:, [f"G{i}" for i in range(70)][::-1]].copy()
    one.write_h5ad(tmp_path / "a.h5ad")
    other.write_h5ad(tmp_path / "b.h5ad")
    half = np.where(np.arange(40) < 20, 0, -1)
    found = sum_counts(
        [scanned(tmp_path / "a.h5ad", "a", half), scanned(tmp_path / "b.h5ad", "b", np.where(half == 0, 2, -1))], 3
    )
    expected = np.zeros((3, 80))
    expected[0] = one[:20].X.toarray().sum(axis=0)
    names = found.genes.index.get_indexer(other.var_names)
    expected[2, names] = other[:20].X.toarray().sum(axis=0)
    assert found.genes.index.tolist() == one.var_names.tolist()
    assert np.array_equal(found.counts[[0, 2]], expected[[0, 2]])
    assert found.measured[0].all()
    assert found.measured[2].sum() == 70


def contrast_of(**settings) -> dict:
    given = {"condition": "group", "groups": ["t", "c"], "sample": "donor", **settings}
    return complete_contrasts({"contrasts": {"c": given}, "gene_sets": None})["contrasts"]["c"]


def cells_and_samples(sizes: dict[tuple[str, str, str], int]) -> tuple[pd.DataFrame, pd.Series, pd.DataFrame]:
    """Return cells, their labels, and samples, from numbers of cells by label, donor and group."""
    rows = [key for key, n in sizes.items() for _ in range(n)]
    table = pd.DataFrame(rows, columns=["label", "donor", "group"], index=[f"a:c{i}" for i in range(len(rows))])
    samples = table.groupby(["donor", "group"]).size().rename("n_cells").reset_index()
    return table[["donor", "group"]].astype("category"), table["label"], samples.astype({"n_cells": str})


SIZES = {("A", d, g): 4 for d, g in ("1t", "2t", "3c", "4c")} | {
    ("B", d, g): n for d, g, n in [("1", "t", 4), ("3", "c", 1)]
}


def test_samples_of_few_cells_are_left_out_with_the_reason():
    cells, labels, samples = cells_and_samples(SIZES)
    table, numbers = label_samples(cells, labels, samples, contrast_of(min_cells=2))
    assert table[["label", "donor", "n_cells", "used"]].to_numpy().tolist() == [
        *(["A", donor, 4, True] for donor in "1234"),
        ["B", "1", 4, True],
        ["B", "3", 1, False],
    ]
    assert table["reason"].tolist() == [""] * 5 + ["fewer cells than min_cells"]
    assert np.bincount(numbers).tolist() == table["n_cells"].tolist()


def test_labels_may_be_chosen_and_unknown_ones_are_refused():
    cells, labels, samples = cells_and_samples(SIZES)
    table, numbers = label_samples(cells, labels, samples, contrast_of(labels=["B"]))
    assert set(table["label"]) == {"B"}
    assert len(numbers) == 5
    with pytest.raises(InputError, match="labels: 'C' is the label of no cell of the two groups; they have A, B"):
        label_samples(cells, labels, samples, contrast_of(labels=["C"]))
    with pytest.raises(InputError, match="no cell of the two groups has a label that takes part"):
        label_samples(cells, pd.Series(None, index=labels.index, dtype=object), samples, contrast_of())


def test_a_contrast_without_any_label_of_enough_samples_is_refused_before_counts_are_read():
    cells, labels, samples = cells_and_samples(SIZES)
    table, _ = label_samples(cells, labels, samples, contrast_of(min_cells=5))
    with pytest.raises(
        InputError, match=r"no label can be compared: A: 0 of t and 0 of c samples have 5 cells; need 2"
    ):
        compare_labels([], table, contrast_of(min_cells=5), None)


def test_query_cells_have_their_delivered_labels_if_they_are_assigned(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("cell,label,confidence,status\nc2,B,0.9,ambiguous\nc1,A,0.9,assigned\nc3,A,0.1,low_quality\n")
    cells = pd.DataFrame({"barcode": ["c1", "c2", "c3"]}, index=["q:c1", "q:c2", "q:c3"])
    found = query_labels(str(path), cells, "assigned")
    assert found.index.tolist() == cells.index.tolist()
    assert found.dropna().to_dict() == {"q:c1": "A"}
    assert query_labels(str(path), cells, "any").tolist() == ["A", "B", "A"]
