"""Counts that models are trained on and mapped with."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from conftest import sheet_row, small_counts
from refatlas.errors import InputError
from refatlas.io.fingerprints import fingerprints
from refatlas.io.model_counts import protein_names, read_counts
from refatlas.io.raw_counts import open_counts
from refatlas.prepare.cell_quality import scan_file
from refatlas.prepare.folds import plan_fold
from refatlas.prepare.gene_selection import select_genes
from refatlas.prepare.model_input import reference_obs, write_held_out, write_query, write_reference


@pytest.fixture
def counts():
    """Counts of RNA with three proteins in an obsm."""
    counts = small_counts()
    values = np.random.default_rng(1).poisson(20, (counts.n_obs, 3)).astype(np.float64)
    counts.obsm["adt"] = pd.DataFrame(values, index=counts.obs_names, columns=["CD3", "CD4", "CD8"])
    return counts


@pytest.mark.parametrize("proteins", [True, False])
def test_a_fold_has_the_proteins_of_its_cells_if_they_are_kept(tmp_path, config, counts, proteins):
    """Dataset a measured CD3, CD4 and CD8, dataset b the last two under other names and CD19; a's
    batch b1 is held out.
    """
    other = small_counts(seed=3)
    other.obsm["adt"] = pd.DataFrame(
        np.full((60, 3), 7.0), index=other.obs_names, columns=["cd4_TotalSeqB", "CD8", "CD19"]
    )
    rows, found = {}, {}
    for name, data in (("a", counts), ("b", other)):
        data.write_h5ad(tmp_path / f"{name}.h5ad")
        rows[name] = sheet_row(tmp_path / f"{name}.h5ad", protein_key="adt")
        found[name] = scan_file(open_counts(rows[name]["path"]), name, rows[name], config["qc"], config["unlabeled"])
        found[name].genes.to_parquet(tmp_path / f"{name}_genes.parquet")
    genes = select_genes(
        list(rows.values()),
        [f.cells.copy() for f in found.values()],
        [f.genes for f in found.values()],
        config["genes"],
    )
    cells = {name: f.cells for name, f in found.items()}
    tables = {name: str(tmp_path / f"{name}_genes.parquet") for name in rows}
    roles, _ = plan_fold(
        pd.concat([table[table["keep"]] for table in cells.values()]), {"batches": ["a:b1"]}, "auto", 0
    )
    training = {
        name: table.assign(keep=table["keep"] & table.index.isin(roles.index[roles == "train"]))
        for name, table in cells.items()
    }
    write_reference(str(tmp_path / "counts.h5ad"), rows, training, tables, genes, {}, unchanged={})
    held_out = write_held_out(
        str(tmp_path / "held.h5ad"),
        rows,
        cells,
        tables,
        roles.index[roles == "held_out"],
        genes,
        protein_names(tmp_path / "counts.h5ad"),
        keep_proteins=proteins,
        simulate=None,
        fold="fold_1",
        unchanged={},
    )
    assert set(held_out["batch"]) == {"a:b1"}
    assert held_out["label"].notna().all()
    reference, held = read_counts(tmp_path / "counts.h5ad"), read_counts(tmp_path / "held.h5ad")
    assert list(reference.uns["protein_names"]) == list(held.uns["protein_names"]) == ["CD3", "CD4", "CD8", "CD19"]
    assert np.unique(reference[reference.obs["dataset"] == "b"].obsm["proteins"], axis=0).tolist() == [[0, 7, 7, 7]]
    if not proteins:
        assert not held.obsm["proteins"].any()
        return
    barcodes = held.obs_names.str.removeprefix("a:")
    assert np.array_equal(held.obsm["proteins"][:, :3], counts.obsm["adt"].loc[barcodes].to_numpy())
    assert not held.obsm["proteins"][:, 3].any()


class OneDataset:
    """A scanned dataset of two batches, and all its genes selected."""

    def __init__(self, folder, config, counts) -> None:
        counts.write_h5ad(folder / "a.h5ad")
        self.row = sheet_row(folder / "a.h5ad")
        self.found = scan_file(open_counts(self.row["path"]), "a", self.row, config["qc"], config["unlabeled"])
        self.genes = self.found.genes.set_index("name", drop=False).rename_axis("gene").assign(selected=True)
        self.found.genes.to_parquet(folder / "genes.parquet")
        self.parts = {"a": self.row}, {"a": self.found.cells}, {"a": str(folder / "genes.parquet")}


@pytest.fixture
def dataset(tmp_path, config):
    return OneDataset(tmp_path, config, small_counts(n_cells=120))


def test_a_query_has_its_batch_and_no_label(tmp_path, dataset):
    genes = pd.concat([dataset.genes.iloc[[5, 3]], dataset.genes.iloc[[0]].set_axis(["ELSEWHERE"]).assign(symbol="E")])
    write_query(
        str(tmp_path / "q.h5ad"), open_counts(dataset.row["path"]), dataset.row, dataset.found, genes, [], unchanged={}
    )
    counts = read_counts(tmp_path / "q.h5ad")
    assert list(counts.obs.columns) == ["batch"]
    assert counts.var["measured"].tolist() == [True, True, False]
    expected = open_counts(dataset.row["path"]).to_anndata().X[:, [5, 3]]
    assert (counts.X[:, :2] != expected).nnz == 0
    assert counts.X[:, 2].nnz == 0


def test_held_out_cells_of_a_single_batch_are_thinned_into_batches(tmp_path, dataset):
    held = dataset.found.cells.index[:60]
    held_out = write_held_out(
        str(tmp_path / "h.h5ad"), *dataset.parts, held, dataset.genes, [], True, [0, 1], "fold_1", unchanged={}
    )
    counts = read_counts(tmp_path / "h.h5ad")
    assert set(held_out["batch"]) == {"a:b1:fold_1_1", "a:b1:fold_1_2"}
    assert list(counts.obs["batch"]) == list(held_out["batch"])
    before = sparse.csr_matrix(open_counts(dataset.row["path"]).to_anndata().X[:60])
    assert 0.3 < counts.X.sum() / before.sum() < 0.8


@pytest.mark.parametrize(
    ("held", "expected"),
    [("ab", [True, False, False]), ("a", [True, False, True]), ("b", [True, True, False])],
)
def test_held_out_cells_have_the_genes_that_all_their_datasets_measured(tmp_path, config, held, expected):
    """Of the genes 0, 1 and 2, dataset a lacks 1, and b lacks 2."""
    rows, cells, tables, genes = {}, {}, {}, []
    for name, lacking in (("a", 1), ("b", 2)):
        data = small_counts(seed=lacking)
        data = data[:, np.arange(data.n_vars) != lacking].copy()
        data.write_h5ad(tmp_path / f"{name}.h5ad")
        rows[name] = sheet_row(tmp_path / f"{name}.h5ad")
        found = scan_file(open_counts(rows[name]["path"]), name, rows[name], config["qc"], config["unlabeled"])
        cells[name], tables[name] = found.cells, str(tmp_path / f"{name}_genes.parquet")
        found.genes.to_parquet(tables[name])
        genes.append(found.genes)
    names = ["G0", "G1", "G2"]
    union = pd.concat(genes).drop_duplicates("name").set_index("name", drop=False).rename_axis("gene").loc[names]
    taken = pd.Index([cell for name in held for cell in cells[name].index[:30]])
    path = str(tmp_path / "held.h5ad")
    write_held_out(
        path, rows, cells, tables, taken, union.assign(selected=True), [], False, None, "fold_1", unchanged={}
    )
    counts = read_counts(path)
    assert counts.var["measured"].tolist() == expected
    assert (counts.X[:, 1].nnz > 0, counts.X[:, 2].nnz > 0) == ("b" in held, "a" in held)


def test_a_file_that_changed_since_its_scan_leaves_no_counts(tmp_path, dataset):
    before = fingerprints([dataset.row["path"]])
    before[dataset.row["path"]][0] += 1
    with pytest.raises(InputError, match="changed during this run"):
        write_reference(str(tmp_path / "r.h5ad"), *dataset.parts, dataset.genes, {}, unchanged=before)
    assert not (tmp_path / "r.h5ad").exists()


def test_selected_genes_without_counts_are_refused(tmp_path, dataset):
    absent = dataset.genes.iloc[:2].set_axis(["X1", "X2"]).assign(symbol=["X1", "X2"])
    with pytest.raises(InputError, match="the selected genes have no counts in any kept cell"):
        write_reference(str(tmp_path / "r.h5ad"), *dataset.parts, absent, {}, unchanged={})


def test_cells_of_datasets_without_labels_have_missing_labels():
    first = pd.DataFrame({"batch": "a:1", "label": ["T", "B"], "label_2": "L", "keep": [True, False]}, index=["x", "y"])
    second = pd.DataFrame({"batch": "b:1", "keep": [True]}, index=["z"])
    obs = reference_obs({"a": first, "b": second})
    assert list(obs.columns) == ["dataset", "batch", "label", "label_2"]
    assert obs["label"].tolist() == ["T", None]
