"""Every value is checked, and quality limits do what they say."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from conftest import sheet_row, small_counts
from refatlas.errors import InputError
from refatlas.io.raw_counts import open_counts
from refatlas.prepare.cell_quality import quality_reasons, scan_file
from refatlas.prepare.droplets import unfiltered_batches
from refatlas.prepare.mitochondria import IDS, are_mitochondrial
from refatlas.prepare.ortholog_columns import BUNDLED
from refatlas.prepare.orthologs import read_orthologs

QC = {"min_counts": 10, "min_genes": 5, "max_mito_share": 0.3, "mads": 5, "min_batch_cells": 10, "doublets": False}


def scanned(tmp_path, counts, name="d", **keys):
    counts.write_h5ad(tmp_path / "a.h5ad")
    row = sheet_row(tmp_path / "a.h5ad", **keys)
    return scan_file(open_counts(row["path"], row["layer"]), name, row, QC, ["", "nan", "Unknown"])


def test_cells_and_batches_are_named_after_the_dataset(tmp_path):
    found = scanned(tmp_path, small_counts())
    assert found.cells.index[0] == "d:cell0"
    assert set(found.cells["batch"]) == {"d:b1", "d:b2"}


def test_controls_are_the_cells_that_the_sheet_names(tmp_path):
    found = scanned(tmp_path, small_counts(), control="cell_type=A")
    assert found.cells["control"].tolist() == [True, False] * 30
    with pytest.raises(
        InputError, match=r"cell column 'state' of control 'state=A' is not in the file; it has batch, cell_type"
    ):
        scanned(tmp_path, small_counts(), control="state=A")
    with pytest.raises(InputError, match=r"no cell has 'C' in column 'cell_type', which control names; it has A, B"):
        scanned(tmp_path, small_counts(), control="cell_type=C")


def test_measures_are_those_of_the_matrix(tmp_path):
    counts = small_counts()
    counts.var_names = ["MT-1", *counts.var_names[1:]]
    found = scanned(tmp_path, counts)
    x = counts.X.toarray()
    assert np.array_equal(found.cells["total_counts"], x.sum(1))
    assert np.array_equal(found.cells["n_genes"], (x > 0).sum(1))
    assert found.cells["mito_share"].to_numpy() == pytest.approx(x[:, 0] / x.sum(1))
    assert np.array_equal(found.genes["n_cells"], (x > 0).sum(0))


@pytest.mark.parametrize(
    ("value", "said", "remedy"),
    [
        (0.5, "not an integer", ""),
        (-1, "negative", "Integers below zero are no counts"),
        (np.nan, "not finite", "Values are missing or infinite"),
        (np.inf, "not finite", "Values are missing or infinite"),
    ],
)
def test_one_wrong_value_is_found_and_its_batch_named(tmp_path, value, said, remedy):
    counts = small_counts()
    x = counts.X.toarray()
    x[45, 7] = value
    counts.X = x
    with pytest.raises(
        InputError, match=rf"{said} \(cell 'cell45', gene 'G7'\); in batch d:b2 \(1 values\)\. {remedy}"
    ):
        scanned(tmp_path, counts, layer="X")


def test_log_normalised_and_scaled_values_are_called_so(tmp_path):
    counts = small_counts()
    counts.X = counts.X.log1p()
    with pytest.raises(InputError, match="normalised or log-transformed"):
        scanned(tmp_path, counts)
    counts.X = counts.X.toarray() - 1
    with pytest.raises(InputError, match="seem to be scaled"):
        scanned(tmp_path, counts)


@pytest.mark.parametrize(
    ("change", "keys", "said"),
    [
        (lambda o: o.drop(columns="batch"), {}, r"no cell column 'batch'; the file has cell_type"),
        (lambda o: o, {"label_keys": ["celltype"]}, r"no cell column 'celltype'; the file has batch, cell_type"),
        (lambda o: o, {"gene_key": "ensembl"}, r"gene column 'ensembl' is not in the file; it has index"),
        (lambda o: o.assign(batch=[None] * 3 + ["b"] * 57), {}, r"3 cells have no batch"),
        (lambda o: o.assign(cell_type="Unknown"), {}, r"no cell has a label in column 'cell_type' \(values: Unknown\)"),
        (lambda o: o.set_axis(["twin", "twin", *o.index[2:]]), {}, r"2 cells share a name \(twin\)"),
    ],
)
def test_missing_and_double_names_are_refused(tmp_path, change, keys, said):
    counts = small_counts()
    counts.obs = change(counts.obs)
    with pytest.raises(InputError, match=said):
        scanned(tmp_path, counts, **keys)


@pytest.mark.parametrize("kind", ["category", "int", "float", "str"])
def test_batches_of_every_type(tmp_path, kind):
    counts = small_counts()
    numbers = np.arange(60) % 2
    counts.obs["batch"] = pd.Series(
        {
            "category": pd.Categorical(numbers),
            "int": numbers,
            "float": numbers.astype(float),
            "str": numbers.astype(str),
        }[kind],
        index=counts.obs_names,
    )
    assert set(scanned(tmp_path, counts).cells["batch"]) == {"d:0", "d:1"}


def test_duplicate_genes_are_noted(tmp_path):
    counts = small_counts()
    counts.var_names = ["G1", "G1", *counts.var_names[2:]]
    assert any("summed" in note for note in scanned(tmp_path, counts).summary["notes"])


def test_unlabeled_cells_have_no_label(tmp_path):
    counts = small_counts()
    counts.obs.loc[counts.obs_names[:5], "cell_type"] = ["Unknown", None, "nan", "", "A"]
    assert scanned(tmp_path, counts).cells["label"].isna().sum() == 4


def test_outliers_are_relative_to_their_batch_and_tiny_batches_have_none():
    totals = np.concatenate([np.full(30, 1000) + np.arange(30), [20], np.full(3, 30), [5]])
    cells = pd.DataFrame({"total_counts": totals, "n_genes": 50, "mito_share": 0.0, "batch": ["a"] * 31 + ["b"] * 4})
    reasons = quality_reasons(cells, QC)
    assert list(reasons[reasons != ""].items()) == [(30, "outlier in total counts"), (34, "too few counts")]


def droplets(n_ambient=3000, n_cells=500, n_genes=40, per_cell=5000, ambient=35):
    """Return counts of droplets of ambient RNA, then of cells, with Poisson totals."""
    random = np.random.default_rng(0)
    means = np.repeat([ambient, per_cell], [n_ambient, n_cells])
    x = sparse.csr_matrix(random.poisson(means[:, None] / n_genes, (len(means), n_genes)).astype(np.float32))
    cells = pd.DataFrame({"batch": "b"}, index=[f"c{i}" for i in range(len(means))])
    return ad.AnnData(x, obs=cells, var=pd.DataFrame(index=[f"G{i}" for i in range(n_genes)]))


def test_all_droplets_are_refused_by_their_counts(tmp_path):
    droplets().write_h5ad(tmp_path / "a.h5ad")
    row = sheet_row(tmp_path / "a.h5ad", label_keys=[])
    with pytest.raises(
        InputError,
        match=r"all droplets, unfiltered.*d:b \(3,500 barcodes with 36 counts in the median, of which 500 have 96% of"
        r" all counts.*EmptyDrops.*min_counts to at least 200.*qc\.mads to null",
    ):
        scan_file(open_counts(row["path"]), "d", row, QC, [])


def test_a_limit_above_the_empty_droplets_or_none_of_outliers_takes_them(tmp_path):
    droplets().write_h5ad(tmp_path / "a.h5ad")
    row = sheet_row(tmp_path / "a.h5ad", label_keys=[])
    found = scan_file(open_counts(row["path"]), "d", row, QC | {"min_counts": 200}, [])
    assert found.cells["keep"].sum() == found.cells["keep"].iloc[3000:].sum() == 500
    found = scan_file(open_counts(row["path"]), "d", row, QC | {"mads": None}, [])
    assert any("these seem to be all droplets" in note for note in found.summary["notes"])
    assert found.cells["keep"].sum() > 3000


@pytest.mark.parametrize(("median", "spread", "large"), [(150, 1.0, 0), (600, 1.5, 0), (700, 0.3, 300), (100, 0.8, 0)])
def test_small_cells_with_a_long_tail_and_few_large_cells_are_no_droplets(median, spread, large):
    # Nuclei, neutrophils beside macrophages, beads of small tissues.
    totals = np.rint(np.random.default_rng(0).lognormal(np.log(median), spread, 3000))
    cells = pd.DataFrame({"batch": "b", "total_counts": np.concatenate([totals, np.full(large, 20000)])})
    assert unfiltered_batches(cells, 10) == {}


def test_droplets_are_told_in_each_batch():
    cells = pd.DataFrame(
        {"batch": ["a"] * 1500 + ["b"] * 1500, "total_counts": [5000] * 1500 + [30] * 1200 + [3000] * 300}
    )
    assert list(unfiltered_batches(cells, 10)) == ["b"]
    assert list(unfiltered_batches(cells, 0)) == ["b"]
    assert unfiltered_batches(cells, 31) == {}


def test_blanks_make_no_other_label_or_batch_and_merged_names_are_noted(tmp_path):
    counts = small_counts()
    counts.obs["cell_type"] = ["T cell", "T cell ", " T  cell", "Unknown ", "B", "b"] * 10
    counts.obs["batch"] = ["b1", "b1 ", "b2"] * 20
    found = scanned(tmp_path, counts)
    assert found.cells["label"].value_counts(dropna=False).to_dict() == {"T cell": 30, None: 10, "B": 10, "b": 10}
    assert found.cells["batch"].value_counts().to_dict() == {"d:b1": 40, "d:b2": 20}
    notes = "\n".join(found.summary["notes"])
    assert "labels: in column 'cell_type', 'T cell' and 'T cell ' and ' T  cell' are one name" in notes.replace(
        "' T  cell' and 'T cell' and 'T cell '", "'T cell' and 'T cell ' and ' T  cell'"
    )
    assert "batches: in column 'batch', 'b1' and 'b1 ' are one name" in notes
    assert "labels: in column 'cell_type', 'B' and 'b' differ in capitals alone" in notes
    assert "are one name" not in "".join(scanned(tmp_path, small_counts()).summary["notes"])


@pytest.mark.parametrize("name", ["MT.ND1", "MT_CO1", "mt.Nd4l", "mt_Cytb", "ENSG00000198888.2", "ENSMUSG00000064341"])
def test_mitochondrial_genes_are_known_by_any_separator_and_by_id(tmp_path, name):
    counts = small_counts()
    ids = name.startswith("ENS")
    others = [f"ENSG0000{i:07d}" if ids else f"G{i}" for i in range(1, counts.n_vars)]
    counts.var_names = [name, *others]
    found, x = scanned(tmp_path, counts), counts.X.toarray()
    assert found.cells["mito_share"].to_numpy() == pytest.approx(x[:, 0] / x.sum(1))
    assert not [note for note in found.summary["notes"] if note.startswith("quality:")]


def test_nuclear_genes_whose_names_begin_alike_are_not_mitochondrial():
    symbols = ["MT1X", "MTOR", "MT.1X", "MT_RNA", "MTRNR2L1", "MTND1P23", "MT-ND1", None]
    genes = pd.DataFrame({"gene_id": None, "symbol": symbols}, dtype=object)
    assert are_mitochondrial(genes).tolist() == [False] * 6 + [True, False]


def test_ids_are_those_of_the_table_of_orthologs():
    pairs = read_orthologs(BUNDLED, "mouse", "human").pairs
    own = pairs[pairs["own_symbol"].str.fullmatch("mt-.*") & pairs["symbol"].str.fullmatch("MT-.*")]
    assert set(own["own_id"]) | set(own["id"]) == IDS


def test_a_limit_of_mitochondrial_counts_without_such_genes_is_noted(tmp_path):
    assert any("qc.max_mito_share drops no cell" in note for note in scanned(tmp_path, small_counts()).summary["notes"])


def with_raw(counts, kept):
    """Return logarithms in X of some genes with their symbols in var, and counts in raw, whose var has names alone."""
    counts.var_names = [f"ENSG1000{i:07d}" for i in range(counts.n_vars)]
    bare = counts.copy()
    counts.var["feature_name"] = ["MT-ND1", *(f"G{i}" for i in range(1, counts.n_vars))]
    counts.var["feature_is_filtered"] = False
    counts.raw, counts.X = bare, counts.X.log1p()
    return counts[:, :kept].copy()


def test_symbols_that_only_var_has_are_those_of_raw(tmp_path):
    counts = small_counts()
    x = counts.X.toarray()
    for key in (None, "feature_name"):
        found = scanned(tmp_path, with_raw(counts.copy(), 80), gene_key=key)
        assert found.summary["counts"] == "raw/X"
        assert found.cells["mito_share"].to_numpy() == pytest.approx(x[:, 0] / x.sum(1))
        assert "genes: feature_name of the counts in raw taken from var, by the genes' names" in found.summary["notes"]


def test_symbols_of_var_that_lacks_genes_of_raw_are_not_taken_but_noted(tmp_path):
    found = scanned(tmp_path, with_raw(small_counts(), 50))
    assert found.genes["symbol"].isna().all()
    assert any("var lacks 30 of its 80 genes; write it into raw.var" in note for note in found.summary["notes"])
