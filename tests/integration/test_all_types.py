"""Every model type with tables or losses of its own, through every rule on CITE-seq cells: two batches make the
reference, with a fold and a label tree; the third is a query.
"""

import json
import shutil

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from bundle_runs import map_from_bundle

from conftest import planned, snakemake, write_sheets

FEW = {"max_epochs": 3}
LABEL = "CD4 T"
MODELS = {
    "cite": {"type": "totalvi", "train": FEW, "surgery": FEW, "outputs": {"n_samples": 2}},
    "programs": {"type": "expimap", "train": FEW, "surgery": FEW},
    "prototypes": {"type": "scpoli", "pretrain": FEW, "train": FEW, "surgery": FEW},
    "mmd": {"type": "trvae", "train": FEW, "surgery": FEW},
}
CONFIG = {
    "models": MODELS,
    "genes": {"n_top": 1500},
    "evaluation": {"folds": 1},
    # Seven models: clusters of two are tested with the demo.
    "clusters": {"resolutions": []},
    "tree": {"models": ["linear"], "by": "batch"},
    "integration": {"max_cells": 300, "metrics": ["ilisi"]},
    "umap": {"n_epochs": 20},
    "differential": {
        "gene_sets": None,
        "contrasts": {
            "halves": {
                "condition": "half",
                "groups": ["even", "odd"],
                "sample": "part",
                "labels": [LABEL],
                "features": ["cite", "programs"],
                "density": "cite",
            }
        },
    },
}


@pytest.fixture(scope="module")
def folder(real, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cite")
    data = ad.read_h5ad(real("citeseq_1400c_3batches_14p.h5ad"))
    batches = data.obs["batch"].astype(str)
    # Parts at random are samples of a contrast in which nothing differs.
    part = np.arange(data.n_obs) % 4
    data.obs["part"], data.obs["half"] = [f"p{i}" for i in part], np.where(part % 2, "odd", "even")
    data[(batches != "pbmc5k_v3").to_numpy()].copy().write_h5ad(folder / "reference.h5ad")
    data[(batches == "pbmc5k_v3").to_numpy()].copy().write_h5ad(folder / "query.h5ad")
    rows = (
        [{"dataset": "pbmc", "path": "reference.h5ad", "protein_key": "protein_expression"}],
        [{"query": "pbmc5k", "path": "query.h5ad", "label_key": "cell_type"}],
    )
    write_sheets(folder, *rows, **CONFIG)
    snakemake(folder)
    return folder


def test_every_type_gives_labels(folder):
    labels = pd.read_csv(folder / "results/queries/pbmc5k/labels.csv")
    for model in (*MODELS, "linear"):
        assert labels[f"{model}_confidence"].between(0, 1).all()
    assert {"prototypes_classifier_label", "linear_tree_label", "linear_tree_node"} <= set(labels.columns)
    scores = pd.read_csv(folder / "results/evaluation/transfer.csv")
    sources = {
        ("prototypes", "classifier"),
        ("linear", "tree"),
        ("cite", "knn"),
        ("programs", "logistic"),
        ("mmd", "knn"),
    }
    for split in ("atlas", "fold_1"):
        assert sources <= set(scores[scores["split"] == split].set_index(["model", "source"]).index)
    delivered = scores.query("split == 'atlas' and model == 'delivered'")
    assert delivered["accuracy"].iloc[0] > 0.6


def test_every_type_maps_from_a_bundle_as_in_the_run_that_made_it(folder, tmp_path):
    snakemake(folder, "--cores", "2", "--", "bundle")
    shutil.copy(folder / "query.h5ad", tmp_path)
    rows = [{"query": "pbmc5k", "path": "query.h5ad", "label_key": "cell_type"}]
    tables = "results/queries/pbmc5k/models/cite/tables"
    map_from_bundle(tmp_path, folder / "results/bundle/atlas.tar", rows, "labels", tables)
    for name in ("results/queries/pbmc5k/labels.csv", f"{tables}/protein_facts.csv"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_types_write_their_tables_for_the_atlas_and_not_for_folds(folder):
    query = folder / "results/queries/pbmc5k/models"
    tables = {str(path.relative_to(folder / "results")) for path in (folder / "results").rglob("tables/*")}
    assert {
        "reference/models/cite/tables/proteins.parquet",
        "queries/pbmc5k/models/cite/tables/protein_facts.csv",
        "queries/pbmc5k/models/programs/tables/enrichment.csv",
        "reference/models/programs/tables/enrichment.png",
        "queries/pbmc5k/models/prototypes/tables/sample_embeddings.csv",
        "reference/models/prototypes/tables/sample_embeddings.png",
    } <= tables
    assert not list((folder / "results/evaluation").rglob("tables"))
    facts = pd.read_csv(query / "cite/tables/protein_facts.csv")
    assert (facts["values"] == "imputed").all()
    embeddings = pd.read_csv(query / "prototypes/tables/sample_embeddings.csv", index_col="batch")
    assert embeddings["origin"].to_dict() == {
        "pbmc:pbmc10k_v3": "reference",
        "pbmc:malt10k_v3": "reference",
        "pbmc5k:pbmc5k_v3": "query",
    }


@pytest.mark.parametrize("model", ["cite", "programs"])
def test_programs_and_measured_proteins_are_compared_by_sample(folder, model):
    results = folder / "results"
    found = pd.read_csv(results / f"differential/halves/models/{model}/features.csv")
    table = "proteins" if model == "cite" else "scores"
    values = pd.read_parquet(results / f"reference/models/{model}/tables/{table}.parquet")
    cells = pd.read_parquet(results / "reference/datasets/pbmc/cells.parquet")
    labels = cells.loc[cells["keep"] & (cells["label"] == LABEL), ["label"]]
    if model == "cite":
        # The query has no proteins: those that the model imputes there have no say.
        values = np.log2(1 + values)
    else:
        query = results / "queries/pbmc5k"
        own = pd.read_csv(query / "labels.csv").set_axis(pd.read_parquet(query / "cells.parquet").index)
        labels = pd.concat([labels, own.loc[(own["status"] == "assigned") & (own["label"] == LABEL), ["label"]]])
        values = pd.concat([values, pd.read_parquet(query / f"models/{model}/tables/{table}.parquet")])
    planned_cells = pd.read_parquet(results / "differential/halves/cells.parquet")
    parts = planned_cells["part"].astype(str).loc[labels.index]
    means = values.loc[labels.index].groupby(parts.to_numpy()).mean()
    by_hand = means.loc[["p0", "p2"]].mean() - means.loc[["p1", "p3"]].mean()
    assert set(found["feature"]) == set(values)
    assert found["difference"].to_numpy() == pytest.approx(by_hand[found["feature"]].to_numpy(), abs=1e-5)
    assert (found["fdr"] > 0.05).all()
    assert f'id="features-{model}"' in (results / "report/contrasts/halves.html").read_text()


def test_densities_are_of_all_labels_of_reference_and_query_and_on_the_page(folder):
    home = folder / "results/differential/halves/models/cite"
    cells, labels = pd.read_parquet(home / "density.parquet"), pd.read_csv(home / "density.csv")
    assert {name.split(":")[0] for name in cells.index} == {"pbmc", "pbmc5k"}
    assert labels.set_index("label").loc[LABEL, "n_cells"] == (cells["label"] == LABEL).sum() > 100
    # Parts at random: where the labels are many cells, nothing differs much.
    assert labels.query("n_cells > 50")["median_log2_ratio"].abs().max() < 1
    assert (home / "density.png").stat().st_size > 10_000
    page = (folder / "results/report/contrasts/halves.html").read_text()
    assert 'id="density"' in page
    assert "no label can be significant" in page


def test_the_report_shows_losses_and_further_figures(folder):
    pages = folder / "results/report"
    reference, query = (pages / name for name in ("reference.html", "queries/pbmc5k.html"))
    for title in ("programs: enrichment", "prototypes: sample embeddings", "linear: tree of labels"):
        assert title in reference.read_text()
    assert "programs: enrichment" in query.read_text()


def test_surgery_is_described_for_every_type(folder):
    for model in MODELS:
        facts = json.loads((folder / f"results/queries/pbmc5k/models/{model}/mapping.json").read_text())
        assert facts["query_batches"] == ["pbmc5k:pbmc5k_v3"]
        assert facts["mean_shift"] > 0
        assert set(facts["reference_batches"]) == {"pbmc:pbmc10k_v3", "pbmc:malt10k_v3"}


def test_other_outputs_train_and_map_nothing(folder):
    changed = {**MODELS, "cite": {**MODELS["cite"], "outputs": {"n_samples": 3}}}
    (folder / "changed.yaml").write_text(json.dumps({"models": changed}))
    jobs = planned(snakemake(folder, "--dry-run", "--configfile", folder / "config.yaml", folder / "changed.yaml"))
    assert (jobs["describe_reference"], jobs["describe_query"]) == (1, 1)
    assert not {"train_reference", "map_query", "transfer_labels"} & set(jobs)
