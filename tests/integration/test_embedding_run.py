"""An embedding that was made elsewhere joins a run: judged on held-out batches, and nothing else is computed again."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc

from conftest import planned, snakemake, write_sheets

DONORS, QUERY = ("1015", "1256", "1488", "1244"), "107"
CONFIG = {
    "models": {"linear": {"type": "linear"}},
    "evaluation": {"folds": 2},
    "genes": {"n_top": 500},
    "clusters": {"resolutions": []},
    "integration": {"metrics": ["ilisi"]},
    "umap": {"n_epochs": 20},
}
MADE = {"models": {**CONFIG["models"], "made": {"type": "embedding", "model": {"key": "X_made"}}}}


@pytest.fixture(scope="module")
def run(real, tmp_path_factory):
    """The folder of a run by the baseline, and its sheets; the files have an embedding of all cells."""
    folder = tmp_path_factory.mktemp("embedded")
    data = ad.read_h5ad(real("kang_ctrl_8donors_1287g.h5ad"))
    data = data[data.obs["batch"].isin([*DONORS, QUERY])][::4].copy()
    normal = data.copy()
    sc.pp.normalize_total(normal)
    sc.pp.log1p(normal)
    data.obsm["X_made"] = sc.pp.pca(normal.X, n_comps=60)
    data.obsm["X_short"] = data.obsm["X_made"][:, :10]
    is_query = (data.obs["batch"] == QUERY).to_numpy()
    data[~is_query].write_h5ad(folder / "kang.h5ad")
    data[is_query].write_h5ad(folder / "q.h5ad")
    broken = data[is_query].copy()
    broken.obsm["X_made"] = broken.obsm.pop("X_short")
    broken.write_h5ad(folder / "broken.h5ad")
    sheets = [{"dataset": "kang", "path": "kang.h5ad"}], [{"query": "q", "path": "q.h5ad", "label_key": "cell_type"}]
    write_sheets(folder, *sheets, **CONFIG)
    snakemake(folder, "--cores", "2", "--", "labels")
    write_sheets(folder, *sheets, **CONFIG | MADE)
    return folder


def test_another_source_trains_nothing_again(run):
    jobs = planned(snakemake(run, "--dry-run", "--", "labels"))
    assert "build_reference" not in jobs
    assert not {"select_genes", "prepare_query", "hold_out", "scan_dataset", "sample_reference"} & set(jobs)


def test_it_is_pooled_and_scored_like_the_others(run):
    snakemake(run, "--cores", "2", "--", "labels", "results/evaluation/transfer.csv")
    latent = pd.read_parquet(run / "results/reference/models/made/latent.parquet")
    assert latent.shape[1] == 50
    scores = pd.read_csv(run / "results/evaluation/transfer.csv")
    knn = scores[(scores["source"] == "knn") & (scores["level"] == 1)]
    knn = knn.pivot_table(index="split", columns="model", values="accuracy")
    # Both are principal components of the same cells.
    assert (np.abs(knn["made"] - knn["linear"]) < 0.05).all()
    assert (knn["made"] > 0.85).all()
    labels = pd.read_csv(run / "results/queries/q/labels.csv")
    assert "made_label" in labels


def test_a_query_without_it_or_of_other_dimensions_is_refused_before_training(run, tmp_path):
    sheet = pd.read_csv(run / "queries.tsv", sep="\t")
    other = pd.DataFrame([{"query": "other", "path": "broken.h5ad"}])
    pd.concat([sheet, other]).to_csv(run / "more.tsv", sep="\t", index=False)
    found = snakemake(
        run, "--cores", "2", "--config", "queries=more.tsv", "--", "results/queries/other/embeddings/made.parquet",
        check=False,
    )  # fmt: skip
    assert "has 10 dimensions, and that of dataset 'kang' has 60" in found.stdout + found.stderr
