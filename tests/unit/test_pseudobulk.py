"""Sums over the cells of a sample, and what becomes of samples and labels with too few of them."""

import decoupler as dc
import numpy as np
import pandas as pd
import pytest

from conftest import sheet_row, small_counts
from refatlas.config.contrasts import complete_contrasts
from refatlas.differential import comparison
from refatlas.differential.comparison import NO_GENE, Comparison, compare_labels, label_samples, query_labels
from refatlas.differential.deseq import BY_RATIOS, BY_TOTALS, compare_samples, size_factor_facts, total_factors
from refatlas.differential.design import Design
from refatlas.differential.pseudobulk import CountedFile, Pseudobulk, sum_counts
from refatlas.errors import InputError
from refatlas.io.raw_counts import open_row
from refatlas.prepare.cell_quality import scan_file
from refatlas.report.contrast_page import label_notes

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


def test_a_column_may_be_called_order():
    sizes = {("A", d, g): 4 for d, g in ("1t", "2t", "3c", "4c")}
    cells, labels, samples = cells_and_samples(sizes)
    samples = samples[::-1].reset_index(drop=True).rename(columns={"donor": "order"}).assign(place="x")
    named = cells.rename(columns={"donor": "order"})
    table, _ = label_samples(named, labels, samples, contrast_of(sample="order", min_cells=2))
    assert table["order"].tolist() == ["4", "3", "2", "1"]
    covariate = samples.rename(columns={"order": "donor"}).assign(order=["a", "b", "a", "b"])
    table, _ = label_samples(cells, labels, covariate, contrast_of(covariates=["order"], min_cells=2))
    assert table["order"].tolist() == ["a", "b", "a", "b"]


def four_samples(values: np.ndarray, labels: list[str], files: str = "aaaa") -> Comparison:
    """Return the comparison of samples t, t, c, c by label, from summed counts of shape (label, sample, gene)."""
    sizes = {(label, d, g): 4 for label in labels for d, g in ("1t", "2t", "3c", "4c")}
    cells, of_cells, samples = cells_and_samples(sizes)
    samples = samples.assign(files=list(files), batches=[f"a:{i}" for i in range(4)])
    contrast = contrast_of(min_cells=2)
    table, _ = label_samples(cells, of_cells, samples, contrast)
    genes = pd.DataFrame({"symbol": None}, index=[f"g{i}" for i in range(values.shape[-1])])
    bulk = Pseudobulk(genes, values.reshape(-1, values.shape[-1]), np.ones((len(table), len(genes)), bool))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "sum_counts", lambda *_: bulk)
        return compare_labels([], table, contrast, None)


def test_a_label_without_a_gene_to_test_is_left_out_and_the_others_are_not():
    values = np.random.default_rng(0).poisson(50, (2, 4, 60))
    values[1] = 0
    found = four_samples(values, ["A", "B"])
    assert found.labels["left_out"].tolist() == ["", NO_GENE]
    assert found.labels["tested_genes"].tolist() == [60, 0]
    assert set(found.genes["label"]) == {"A"}
    with pytest.raises(InputError, match="no label can be compared: A: no gene that all its samples measured"):
        four_samples(values[1:], ["A"])


def test_a_label_whose_own_samples_confound_the_condition_says_so():
    values = np.random.default_rng(0).poisson(50, (1, 4, 60))
    apart, mixed = (four_samples(values, ["A"], files).labels for files in ("aabb", "abab"))
    assert "confounded with the files (a, b)" in apart.loc[0, "confounded"]
    assert mixed.loc[0, "confounded"] == ""


def test_size_factors_of_sparse_samples_are_those_of_total_counts():
    # One gene has counts in all samples, three times as many in the test group; depth is the same everywhere.
    random = np.random.default_rng(0)
    counts = random.poisson(1.0, (24, 352))
    counts[np.arange(352) % 24, np.arange(352)] = 0
    counts[:, 0] = random.poisson(np.where(np.arange(24) < 12, 90, 30))
    assert size_factor_facts(counts) == {"size_factors": BY_TOTALS, "size_factor_genes": 1}
    matrix = pd.DataFrame({"Intercept": 1.0, "group": (np.arange(24) < 12).astype(float)})
    found, factors = compare_samples(counts, Design(matrix, np.array([0.0, 1.0])))
    assert factors == pytest.approx(np.ones(24), abs=0.25)
    assert np.exp(np.log(factors).mean()) == pytest.approx(1)
    assert found["log2_fold_change"][0] == pytest.approx(np.log2(3), abs=0.3)
    assert abs(found["log2_fold_change"].median()) < 0.15
    assert (found["fdr"] < 0.05).sum() <= 5


def test_total_factors_leave_out_genes_that_have_most_counts():
    counts = np.array([[100, *[10] * 40], [400, *[20] * 40]])
    assert total_factors(counts) == pytest.approx([np.sqrt(0.5), np.sqrt(2)])
    # Where few genes have nearly all counts, these are the depth.
    assert total_factors(np.array([[100, 100, 1], [400, 400, 1]])) == pytest.approx([0.5, 2], rel=0.01)


@pytest.mark.parametrize(
    ("shape", "n_zero", "method"),
    [((4, 60), 0, BY_RATIOS), ((4, 60), 29, BY_RATIOS), ((4, 60), 31, BY_TOTALS), ((4, 200), 150, BY_RATIOS)],
)
def test_a_small_panel_keeps_its_ratios(shape, n_zero, method):
    counts = np.ones(shape, dtype=int)
    counts[0, :n_zero] = 0
    assert size_factor_facts(counts) == {"size_factors": method, "size_factor_genes": shape[1] - n_zero}


def test_the_page_notes_what_holds_for_single_labels():
    sentence = "condition 'g' is confounded with the files (a, b): none has both groups"
    rows = [
        {"label": "A", "size_factors": BY_TOTALS, "size_factor_genes": 3, "tested_genes": 90, "confounded": ""},
        {"label": "B", "size_factors": BY_RATIOS, "confounded": sentence},
        {"label": "of a run before"},
    ]
    found = label_notes({"labels": rows, "warnings": []})
    assert found[0].startswith("A: 3 of 90 genes have counts in all samples")
    assert found[1:] == [f"B: {sentence}"]
    assert len(label_notes({"labels": rows, "warnings": [sentence.replace("b)", "b, c)")]})) == 1


def test_query_cells_have_their_delivered_labels_if_they_are_assigned(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("cell,label,confidence,status\nc2,B,0.9,ambiguous\nc1,A,0.9,assigned\nc3,A,0.1,low_quality\n")
    cells = pd.DataFrame({"barcode": ["c1", "c2", "c3"]}, index=["q:c1", "q:c2", "q:c3"])
    found = query_labels(str(path), cells, "assigned")
    assert found.index.tolist() == cells.index.tolist()
    assert found.dropna().to_dict() == {"q:c1": "A"}
    assert query_labels(str(path), cells, "any").tolist() == ["A", "B", "A"]
