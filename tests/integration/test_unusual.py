"""Unusual but legal input passes every step; illegal input is refused by the first step that reads it.

The steps are called as functions in one process, with one epoch of training, so that many cases take seconds.
"""

from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from conftest import sheet_row, small_counts, snakemake, write_sheets
from refatlas.errors import InputError
from refatlas.io.model_counts import counts_writer, read_counts
from refatlas.io.raw_counts import open_counts
from refatlas.models import training
from refatlas.models.interface import JobContext
from refatlas.models.registry import MODEL_TYPES
from refatlas.neighbors.exact_index import nearest_neighbors
from refatlas.prepare import gene_overlap, gene_selection, model_input
from refatlas.prepare.cell_quality import scan_file
from refatlas.prepare.model_input import selected_counts
from refatlas.transfer.label_table import pick
from refatlas.transfer.model_fit import deviance_ratio
from refatlas.transfer.reference_index import index_cells
from refatlas.transfer.weighted_knn import logistic_table, outlier_factors, weighted_knn_table
from stored_counts import same_counts


def one_epoch(kind: str, **sections) -> dict:
    """Return the settings of a type with one epoch for each training; further settings by section."""
    settings = {"type": kind}
    for section, schema in MODEL_TYPES[kind].settings_schema().items():
        settings[section] = {name: setting["default"] for name, setting in schema.items()} | sections.get(section, {})
        if "max_epochs" in settings[section]:
            settings[section]["max_epochs"] = 1
    return settings


class Pipeline:
    """A reference made of one file, and queries mapped onto it, of those with the same stored counts one."""

    def __init__(
        self, config, folder, counts, kinds=("scvi", "scanvi", "linear", "scpoli", "trvae", "expimap")
    ) -> None:
        self.config, self.folder = config, folder
        self.mapped: list[tuple[ad.AnnData, dict[str, pd.DataFrame]]] = []
        counts.write_h5ad(folder / "reference.h5ad")
        row = sheet_row(folder / "reference.h5ad")
        self.found = scan_file(open_counts(row["path"]), "ref", row, config["qc"], config["unlabeled"])
        genes = gene_selection.select_genes(
            [row], [self.found.cells.copy()], [self.found.genes], {**config["genes"], "n_top": 60}
        )
        self.genes = genes
        self.counts = self._store(
            row, self.found, model_input.reference_obs({"ref": self.found.cells}), "reference", self.found.cells["keep"]
        )
        gmt = folder / "programs.gmt"
        gmt.write_text(
            "".join(f"program{i}\tnone\t" + "\t".join(self.counts.var["symbol"].iloc[i::4]) + "\n" for i in range(3))
        )
        self.sections = {
            kind: {"model": {"gmt": str(gmt)}, "surgery": {"n_ext": 1}} if MODEL_TYPES[kind].files else {}
            for kind in kinds
        }
        self.models = {
            kind: MODEL_TYPES[kind]
            .load_class()
            .fit(self.counts.copy(), one_epoch(kind, **self.sections[kind]), JobContext())
            for kind in kinds
        }

    def _store(self, row, found, obs, name, keep):
        path = self.folder / f"{name}_counts.h5ad"
        with counts_writer(str(path), obs, self.genes) as out:
            for block in selected_counts(
                open_counts(row["path"], row["layer"]), np.asarray(keep), self.genes, found.genes
            ):
                out.append(block)
        return read_counts(path)

    def map(self, counts, **keys) -> dict[str, pd.DataFrame]:
        """Return the labels of a query by each model."""
        counts.write_h5ad(self.folder / "query.h5ad")
        row = sheet_row(self.folder / "query.h5ad", **{"label_keys": [], **keys})
        found = scan_file(
            open_counts(row["path"], row["layer"]), "query", row, self.config["qc"], self.config["unlabeled"]
        )
        gene_overlap.check_overlap("query 'query' (query.h5ad)", self.genes, found.genes, 0.75)
        query = self._store(row, found, found.cells[["batch"]], "query", np.ones(len(found.cells), dtype=bool))
        for stored, labels in self.mapped:
            if same_counts(stored, query):
                return labels
        # Models add columns to the cells that they are applied to.
        stored = query.copy()
        labels = {kind: self._labels(kind, query) for kind in self.models}
        self.mapped.append((stored, labels))
        return labels

    def _labels(self, kind, query):
        mapped = self.models[kind].map_query(query.copy(), one_epoch(kind, **self.sections[kind]), JobContext())
        assert set(query.obs["batch"].astype(str)) <= set(mapped.batches())
        latents = [m.latent(c.copy()) for m, c in ((self.models[kind], self.counts), (mapped, query))]
        assert np.isfinite(latents[1]).all()
        assert np.isfinite(deviance_ratio(mapped, query, 0)).all()
        if MODEL_TYPES[kind].has_tables:
            assert all(
                len(table) == query.n_obs
                for table in mapped.tables(query.copy(), self.counts.copy()).values()
                if table.index.name == "cell"
            )
        labels = self.counts.obs["label"].astype(object)
        index = index_cells(latents[0], labels, 0)
        assert np.isfinite(outlier_factors(index.sample, latents[1])).all()
        knn = weighted_knn_table(labels, *nearest_neighbors(*latents, 50), query.obs_names)
        logistic = logistic_table(index.logistic, latents[1], query.obs_names)
        return pick(knn, "knn").join(pick(logistic, "logistic"), rsuffix="_logistic")


@pytest.fixture(scope="module")
def reference(config, tmp_path_factory):
    counts = small_counts(n_cells=257, n_genes=90)
    counts.var_names = ["HLA-A/B", "naïve-β", *counts.var_names[2:]]
    counts.obs.loc[counts.obs_names[:1], "cell_type"] = "rare"
    counts.obs.loc[counts.obs_names[:1], "batch"] = "single"
    return Pipeline(config, tmp_path_factory.mktemp("unusual"), counts)


def query(n_cells=12, seed=5):
    counts = small_counts(n_cells=n_cells, n_genes=90, seed=0)
    counts.var_names = ["HLA-A/B", "naïve-β", *counts.var_names[2:]]
    return counts


def check(labels: dict[str, pd.DataFrame], n_cells: int) -> None:
    for kind, table in labels.items():
        assert len(table) == n_cells, kind
        assert table["label"].isin(["A", "B", "rare"]).all()
        assert table["confidence"].between(0, 1).all()


def change_matrix(kind):
    counts = query()
    counts.X = {
        "csc": lambda x: x.tocsc(),
        "dense": lambda x: x.toarray(),
        "integer": lambda x: x.astype(np.int64),
        "float64": lambda x: x.astype(np.float64),
    }[kind](counts.X)
    return counts


@pytest.mark.parametrize("kind", ["csc", "dense", "integer", "float64"])
def test_matrix_of_every_kind(reference, kind):
    check(reference.map(change_matrix(kind)), 12)


def test_query_of_one_cell(reference):
    check(reference.map(query(1)), 1)


def test_query_batch_of_one_cell_and_last_minibatch_of_one(reference):
    counts = query(129)
    counts.obs["batch"] = ["alone"] + ["b"] * 128
    check(reference.map(counts), 129)


@pytest.mark.parametrize("kind", ["category", "integer", "text"])
def test_batch_column_of_every_kind(reference, kind):
    counts = query()
    numbers = np.arange(12) % 2
    counts.obs["batch"] = {"category": pd.Categorical(numbers), "integer": numbers, "text": numbers.astype(str)}[kind]
    check(reference.map(counts), 12)


def test_a_batch_named_as_in_the_reference_is_still_a_new_one(reference):
    counts = query()
    counts.obs["batch"] = "b1"
    check(reference.map(counts), 12)


def test_cells_without_counts(reference):
    counts = query()
    x = counts.X.toarray()
    x[3] = 0
    counts.X = x
    check(reference.map(counts), 12)


def test_more_genes_in_another_order(reference):
    plain = reference.map(query())["linear"]
    counts = query()
    extra = small_counts(n_cells=12, n_genes=30, seed=9)
    extra.var_names = [f"extra{i}" for i in range(30)]
    counts = ad.concat([extra, counts[:, ::-1]], axis="var", merge="first")
    labels = reference.map(counts)
    check(labels, 12)
    assert labels["linear"]["confidence"].to_numpy() == pytest.approx(plain["confidence"].to_numpy(), abs=1e-5)


def test_missing_genes_are_padded_down_to_the_floor_and_refused_below(reference):
    names = list(reference.genes.index[reference.genes["selected"]])
    check(reference.map(query()[:, [n for n in query().var_names if n not in names[:10]]].copy()), 12)
    with pytest.raises(InputError, match=r"30 of 60 reference genes found \(50%\), need 75%"):
        reference.map(query()[:, [n for n in query().var_names if n not in names[:30]]].copy())


def test_a_reference_of_one_batch(config, tmp_path):
    counts = small_counts(n_cells=150, n_genes=90)
    counts.obs["batch"] = "only"
    pipeline = Pipeline(config, tmp_path, counts, kinds=("scvi",))
    check(pipeline.map(small_counts(n_cells=9, n_genes=90)), 9)


def test_ids_against_symbols_are_recognised(reference):
    counts = query()
    ids = [f"ENSG{i:011d}.2" for i in range(counts.n_vars)]
    symbols = list(counts.var_names)
    counts.var_names = ids
    with pytest.raises(
        InputError, match=r"0 of 60 reference genes found.*reference has symbols.*the query Ensembl ids.*Set gene_key"
    ):
        reference.map(counts)
    counts.var["feature_name"] = symbols
    check(reference.map(counts), 12)


def test_symbols_against_ids_are_reported():
    selected = pd.DataFrame({"gene_id": ["ENSG00000000001"], "symbol": [None]}, index=["ENSG00000000001"])
    table = pd.DataFrame({"gene_id": [None], "symbol": ["A"], "name": ["A"]})
    with pytest.raises(InputError, match="The reference has Ensembl ids"):
        gene_overlap.require_overlap("query 'q' (q.h5ad)", selected, table, ["ENSG00000000001"], 0.75)


def test_models_that_need_labels_refuse_a_reference_with_one():
    counts = SimpleNamespace(obs=pd.DataFrame({"label": ["A", None]}))
    with pytest.raises(InputError, match="type scanvi needs at least two labels in the reference, found A"):
        training.require_labels("scanvi", "scanvi", counts)


def test_fractional_counts_are_refused_by_the_workflow_before_training(real, tmp_path):
    """Batch Lawlor_C1 of this published file holds fractions: the error names the batch, and no file is left behind."""
    row = {"dataset": "pancreas", "path": real("cepo_pancreas_528c_1403g_NOT_ALL_INTEGER.h5ad")}
    queries = [{"query": "q", "path": real("kang_ctrl_stim_1975c_6998g.h5ad")}]
    write_sheets(tmp_path, [row], queries, models={"linear": {"type": "linear"}})
    run = snakemake(tmp_path, check=False)
    assert run.returncode != 0
    output = run.stdout + run.stderr
    assert "does not hold raw counts" in output
    assert "pancreas:Lawlor_C1" in output
    assert "Baron" not in output.split("in batch")[1].split("The values")[0]
    assert "Traceback" not in output
    assert not [path for path in (tmp_path / "results").rglob("*") if path.is_file()]


def test_a_query_that_cannot_be_mapped_is_refused_before_training(real, tmp_path):
    write_sheets(
        tmp_path,
        [{"dataset": "pbmc", "path": real("kang_ctrl_stim_1975c_6998g.h5ad")}],
        [{"query": "panel", "path": real("pbmc10k_6434c_698g_14p.h5ad")}],
        models={"linear": {"type": "linear"}},
    )
    run = snakemake(tmp_path, "--cores", "2", check=False)
    assert run.returncode != 0
    assert "need 75%" in run.stdout + run.stderr
    assert not list((tmp_path / "results").rglob("model.pt"))
