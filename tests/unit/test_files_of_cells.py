"""The h5ad files for people: of a query, of the reference, and of both together."""

from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from conftest import sheet_row, small_counts
from exported import unknown_parts
from refatlas.io.atomic import write_json, write_table
from refatlas.io.model_counts import counts_writer
from refatlas.io.raw_counts import open_row
from refatlas.report.atlas_file import atlas_obs, write_atlas
from refatlas.report.query_file import query_facts, query_obs, write_query_file
from refatlas.report.reference_file import cluster_names, reference_obs, write_reference_file

MODELS = ("scvi", "linear")
# Of 80 genes, every second is selected.
GENES = pd.DataFrame({"symbol": [f"S{i}" for i in range(80)], "selected": [i % 2 == 0 for i in range(80)]})
GENES.index = [f"G{i}" for i in range(80)]


def write_spaces(folder: Path, cells: list[str], value: float) -> dict:
    """Write latent spaces and UMAPs of two models in another order of cells; return what names them."""
    paths: dict = {"latents": {}, "umaps": {}, "shown": "linear"}
    for i, model in enumerate(MODELS):
        for kind, n in (("latent", 3 + i), ("umap", 2)):
            columns = [f"{kind}_{j}" for j in range(n)]
            table = pd.DataFrame(value + i, index=pd.Index(cells[::-1], name="cell"), columns=columns)
            table.iloc[:, 0] = np.arange(len(cells))[::-1]
            path = folder / f"{kind}_{model}.parquet"
            write_table(table.astype(np.float32), path)
            paths[f"{kind}s"][model] = str(path)
    return paths


def write_counts(path: Path, cells: ad.AnnData, obs: pd.DataFrame) -> str:
    """Write counts of the selected genes as the workflow does; return the path."""
    with counts_writer(path, obs, GENES) as out:
        out.append(sparse.csr_matrix(cells.X[:, GENES["selected"].to_numpy()]))
        out.add_proteins(pd.DataFrame(index=obs.index))
    return str(path)


def make_query(folder: Path, name: str, labelled: bool = True, genes: str = "selected") -> dict:
    """Make the files of a query of 60 cells, and its h5ad; return the paths."""
    folder.mkdir()
    cells = small_counts(seed=len(name))
    cells.obs["label"] = "mine"
    cells.obs["n"] = pd.array([1, None] * 30, dtype="Int64")
    cells.var["mean"] = 0.5
    cells.write_h5ad(folder / "own.h5ad")
    names = pd.Index([f"{name}:{cell}" for cell in cells.obs_names], name="cell")
    counts = write_counts(folder / "counts.h5ad", cells, pd.DataFrame({"batch": f"{name}:b"}, index=names))
    labels = pd.DataFrame(
        {
            "cell": cells.obs_names,
            "label": ["T", "NA"] * 30,
            "confidence": 0.9,
            "status": "assigned",
            "query_verdict": "pass",
            "batch_verdict": "warn",
            "label_2": "all",
            "confidence_2": 1.0,
            "set": "T | NA",
            "set_label": "",
            "novelty": np.nan,
            "scvi_label": "T",
            "scvi_confidence": 0.5,
        }
    )
    write_table(labels, folder / "labels.csv")
    write_json({"verdict": "pass", "reason": "90% of the labels are estimated to be right"}, folder / "verdict.json")
    file = open_row(sheet_row(folder / "own.h5ad"))
    obs, notes = query_obs(file.cells, str(folder / "labels.csv") if labelled else None)
    facts = query_facts(name, str(folder / "verdict.json") if labelled else None, notes)
    path, every = str(folder / f"{name}.h5ad"), file if genes == "all" else None
    write_query_file(path, obs, names, counts, every, write_spaces(folder, list(names), 1.0), facts)
    return {"file": path, "counts": counts, "own": str(folder / "own.h5ad")}


def make_reference(folder: Path, labelled: bool = True, keep="all") -> tuple[str, pd.DataFrame]:
    """Make the files of a reference of 2 × 60 cells, of which one is left out, and its h5ad."""
    folder.mkdir()
    rows, tables, parts = {}, {}, []
    for i, name in enumerate("ab"):
        cells = small_counts(seed=i)
        cells.obs["age"] = 30 if name == "a" else "old"
        cells.write_h5ad(folder / f"{name}.h5ad")
        rows[name], tables[name] = sheet_row(folder / f"{name}.h5ad"), str(folder / f"{name}.parquet")
        names = pd.Index(f"{name}:" + cells.obs_names, name="cell")
        write_table(pd.DataFrame({"keep": np.arange(60) > 0}, index=names), tables[name])
        cells.obs_names = names
        parts.append(cells[1:])
    both = ad.concat(parts)
    obs = pd.DataFrame({"dataset": both.obs_names.str[0], "batch": both.obs_names.str[0]}, index=both.obs_names)
    if labelled:
        obs = obs.assign(label=["T", None] * 59, label_2="all")
    counts, clusters = write_counts(folder / "counts.h5ad", both, obs), {}
    for model in MODELS:
        numbers = pd.DataFrame({"0.5": 0, "1": np.arange(118) % 11}, index=pd.Index(obs.index[::-1], name="cell"))
        write_table(numbers, folder / f"{model}.parquet")
        write_table(pd.DataFrame({"resolution": [0.5, 1], "suggested": [False, True]}), folder / f"{model}.csv")
        clusters[model] = {"clusters": str(folder / f"{model}.parquet"), "stability": str(folder / f"{model}.csv")}
    table, notes = reference_obs(counts, clusters, rows, tables, keep)
    path = str(folder / "reference.h5ad")
    write_reference_file(path, table, counts, write_spaces(folder, list(obs.index), 0.0), notes)
    return path, table


def test_a_query_has_its_own_columns_its_labels_and_all_spaces(tmp_path):
    files = make_query(tmp_path / "q", "q")
    found, own = ad.read_h5ad(files["file"]), ad.read_h5ad(files["own"])
    assert unknown_parts(files["file"]) == []
    assert found.obs_names.tolist() == own.obs_names.tolist()
    assert list(found.obs)[:7] == ["batch", "cell_type", "original_label", "n", "label", "confidence", "status"]
    assert found.obs["cell_type"].tolist() == own.obs["cell_type"].tolist()
    assert found.obs["n"].tolist()[0] == 1
    assert found.obs["n"].isna().sum() == 30
    assert found.obs["label"].tolist() == ["T", "NA"] * 30
    assert found.obs["set_label"].isna().all()
    assert set(found.obsm) == {"X_scvi", "X_linear", "X_umap_scvi", "X_umap_linear", "X_umap"}
    assert found.obsm["X_scvi"][:, 0].tolist() == list(range(60))
    assert np.array_equal(found.obsm["X_umap"], found.obsm["X_umap_linear"])
    assert found.obsm["X_umap"][0, 1] == 2.0
    assert found.X.dtype == np.float32
    assert np.array_equal(found.X.toarray(), own.X[:, ::2].toarray())
    assert found.var["symbol"].tolist() == [f"S{i}" for i in range(0, 80, 2)]
    facts = found.uns["refatlas"]
    assert facts["verdict_reason"] == "90% of the labels are estimated to be right"
    assert facts["notes"] == "column 'label' is kept as 'original_label'"


def test_a_query_has_all_genes_on_request(tmp_path):
    files = make_query(tmp_path / "q", "q", genes="all")
    found, own = ad.read_h5ad(files["file"]), ad.read_h5ad(files["own"])
    assert unknown_parts(files["file"]) == []
    assert np.array_equal(found.X.toarray(), own.X.toarray())
    assert found.var_names.tolist() == own.var_names.tolist()
    assert set(found.var["mean"]) == {0.5}


def test_genes_that_occur_twice_are_numbered(tmp_path, capsys):
    from refatlas.report.query_file import gene_table_of

    cells = small_counts(n_genes=3)
    cells.write_h5ad(tmp_path / "a.h5ad")
    file = open_row(sheet_row(tmp_path / "a.h5ad"))
    file.genes.index = ["A", "A", "B"]
    assert gene_table_of(file).index.tolist() == ["A", "A-1", "B"]
    assert "number at their end" in capsys.readouterr().out


def test_cells_that_no_model_saw_have_no_place(tmp_path):
    from refatlas.io.anndata_file import read_space

    paths = write_spaces(tmp_path, ["q:1", "q:2"], 1.0)
    found = read_space(paths["latents"]["scvi"], pd.Index(["q:2", "q:3"]))
    assert found[0].tolist() == [1.0, 1.0, 1.0]
    assert np.isnan(found[1]).all()


def test_the_reference_has_labels_clusters_and_the_datasets_columns(tmp_path):
    path, _ = make_reference(tmp_path / "r")
    found = ad.read_h5ad(path)
    assert unknown_parts(path) == []
    columns = ["dataset", "batch", "label", "label_2", "cluster_scvi", "cluster_linear"]
    assert list(found.obs) == [*columns, "original_batch", "cell_type", "age"]
    assert found.obs["age"].astype(str).tolist() == ["30"] * 59 + ["old"] * 59
    assert found.obs["label"].isna().tolist() == [False, True] * 59
    assert found.obs["cluster_scvi"].cat.categories.tolist() == [str(i) for i in range(11)]
    assert found.obs["cluster_scvi"].tolist() == [str(i % 11) for i in range(118)][::-1]
    assert found.obs["original_batch"].tolist() == (["b1"] * 29 + ["b2"] * 30) * 2
    assert found.obsm["X_linear"].shape == (118, 4)
    expected = np.vstack([small_counts(seed=i).X[1:, ::2].toarray() for i in range(2)])
    assert np.array_equal(found.X.toarray(), expected)
    notes = found.uns["refatlas"]["notes"]
    assert notes == "column 'batch' is kept as 'original_batch'; column 'age' is kept as text: numbers in a; text in b"


def test_columns_of_datasets_are_left_out_on_request(tmp_path):
    _, none = make_reference(tmp_path / "none", keep="none")
    assert list(none) == ["dataset", "batch", "label", "label_2", "cluster_scvi", "cluster_linear"]
    _, some = make_reference(tmp_path / "some", keep=["age"])
    assert list(some)[6:] == ["age"]


def test_clusters_are_in_the_order_of_their_numbers():
    found = cluster_names(pd.Series([10, 2, 10], index=["a", "b", "c"]), pd.Index(["c", "b", "new"]))
    assert found.categories.tolist() == ["2", "10"]
    assert found.codes.tolist() == [1, 0, -1]


def test_counts_of_the_reference_are_never_loaded(tmp_path, monkeypatch):
    from refatlas.io import anndata_file

    sizes = []
    original = h5py.Dataset.__getitem__

    def watched(self, key, **kwargs):
        values = original(self, key, **kwargs)
        if self.name in ("/X/data", "/X/indices") and Path(self.file.filename).name in (
            "counts.h5ad",
            "reference.h5ad",
        ):
            sizes.append(len(values))
        return values

    monkeypatch.setattr(anndata_file, "COPIED", 500)
    monkeypatch.setattr(h5py.Dataset, "__getitem__", watched)
    path, _ = make_reference(tmp_path / "r")
    query = make_query(tmp_path / "q", "q")
    write_atlas(str(tmp_path / "atlas.h5ad"), path, {"q": query}, atlas_obs(path, {"q": query}, 2, list(MODELS)))
    assert sizes
    assert max(sizes) <= 500


def test_the_atlas_joins_reference_and_queries(tmp_path):
    path, _ = make_reference(tmp_path / "r")
    queries = {
        name: make_query(tmp_path / name, name, genes=genes) for name, genes in (("q2", "all"), ("q1", "selected"))
    }
    atlas = str(tmp_path / "atlas.h5ad")
    write_atlas(atlas, path, queries, atlas_obs(path, queries, 2, list(MODELS)))
    found, reference = ad.read_h5ad(atlas), ad.read_h5ad(path)
    assert unknown_parts(atlas) == []
    columns = ["origin", "dataset", "batch", "label", "label_2", "confidence", "status", "batch_verdict"]
    assert list(found.obs) == [*columns, "cluster_scvi", "cluster_linear"]
    assert found.obs["dataset"].tolist() == ["a"] * 59 + ["b"] * 59 + ["q2"] * 60 + ["q1"] * 60
    assert found.obs_names.is_unique
    assert found.obs_names[-1] == "q1:cell59"
    assert found.obs["batch"].tolist()[-1] == "q1:b"
    query = found.obs["origin"] == "query"
    assert found.obs.loc[query, "label"].tolist() == ["T", "NA"] * 60
    assert found.obs.loc[query, "cluster_scvi"].isna().all()
    assert found.obs["cluster_scvi"].cat.categories.tolist() == [str(i) for i in range(11)]
    assert set(found.obs.loc[query, "confidence"]) == {0.9}
    assert set(found.obs.loc[~query, "status"]) == {"reference"}
    assert found.obs.loc[~query, "confidence"].isna().all()
    counts = [reference.X, *(ad.read_h5ad(files["own"]).X[:, ::2] for files in queries.values())]
    assert np.array_equal(found.X.toarray(), sparse.vstack(counts).toarray())
    assert set(found.obsm) == set(reference.obsm)
    assert np.array_equal(found.obsm["X_scvi"][:118], reference.obsm["X_scvi"])
    assert found.obsm["X_scvi"][118:178, 0].tolist() == list(range(60))


def test_without_labels_there_are_files_all_the_same(tmp_path):
    path, _ = make_reference(tmp_path / "r", labelled=False)
    query = make_query(tmp_path / "q", "q", labelled=False)
    assert list(ad.read_h5ad(query["file"]).obs) == ["batch", "cell_type", "label", "n"]
    assert ad.read_h5ad(query["file"]).uns["refatlas"]["verdict"] == "not labelled"
    found = atlas_obs(path, {"q": query}, 0, [])
    assert list(found) == ["origin", "dataset", "batch", "status"]
    assert set(found["status"]) == {"reference", "not labelled"}


def test_the_file_of_a_query_is_about_as_large_as_its_counts_and_spaces(tmp_path):
    cells = small_counts(2000, 400)
    obs = pd.DataFrame({"batch": "b"}, index=pd.Index(cells.obs_names, name="cell"))
    genes = pd.DataFrame({"symbol": cells.var_names, "selected": True}, index=cells.var_names)
    with counts_writer(tmp_path / "counts.h5ad", obs, genes) as out:
        out.append(cells.X)
    spaces = write_spaces(tmp_path, list(obs.index), 1.0)
    own, _ = query_obs(cells.obs, None)
    write_query_file(
        str(tmp_path / "q.h5ad"), own, obs.index, str(tmp_path / "counts.h5ad"), None, spaces, {"version": "1"}
    )
    assert (tmp_path / "q.h5ad").stat().st_size < 1.3 * (tmp_path / "counts.h5ad").stat().st_size


@pytest.mark.parametrize("reader", ["read_h5ad", "backed"])
def test_files_open_in_scanpy(tmp_path, reader):
    import scanpy as sc

    path = make_query(tmp_path / "q", "q")["file"]
    cells = sc.read_h5ad(path, backed="r" if reader == "backed" else None)
    assert cells[:, "G2"].X.sum() > 0
