"""The way from counts to a named atlas on real cells: without labels and queries; then with named clusters; then a
changed annotation, which trains scvi no further; then a cluster taken out.
"""

import json
import shutil

import anndata as ad
import pandas as pd
import pytest
import yaml
from sklearn.metrics import normalized_mutual_info_score

from annotation import expert_annotation, known_labels, right_suggestions, suggested_resolution, told_apart
from conftest import planned, snakemake

RESOLUTION = "0.25"
SETTINGS = {
    "reference": "reference.tsv",
    "label_key": "-",
    "models": {
        "scvi": {"type": "scvi", "train": {"max_epochs": 20}, "surgery": {"max_epochs": 3}},
        "scanvi": {
            "type": "scanvi",
            "init_from": "scvi",
            "train": {"max_epochs": 3},
            "surgery": {"max_epochs": 3},
        },
    },
    "clusters": {"resolutions": [0.25, 1], "repeats": 3},
    "suggestions": {"tissues": ["blood"]},
    # What is checked of the fold is that it is planned and run, not how well its models learn.
    "evaluation": {"folds": 1, "max_epochs": 3},
    "integration": {"metrics": ["ilisi"]},
    "umap": {"n_epochs": 50},
}


def write_config(folder, **settings):
    (folder / "config.yaml").write_text(yaml.safe_dump(SETTINGS | settings))


@pytest.fixture(scope="module")
def first(tmp_path_factory, real):
    """The first round on every second cell of six donors, and two hundred cells of a seventh as a later query."""
    folder = tmp_path_factory.mktemp("scratch")
    counts = ad.read_h5ad(real("kang_ctrl_8donors_1287g.h5ad"))
    donors = counts.obs["batch"].astype(str)
    counts[~donors.isin(["1039", "107"]).to_numpy()][::2].copy().write_h5ad(folder / "reference.h5ad")
    counts[(donors == "1039").to_numpy()][:200].copy().write_h5ad(folder / "query.h5ad")
    (folder / "reference.tsv").write_text("dataset\tpath\nkang\treference.h5ad\n")
    (folder / "queries.tsv").write_text("query\tpath\tlabel_key\nd1039\tquery.h5ad\tcell_type\n")
    write_config(folder)
    run = snakemake(folder)
    return folder, run.stdout + run.stderr


@pytest.fixture(scope="module")
def second(first):
    """The second round: an expert has named the clusters."""
    folder, _ = first
    annotation = expert_annotation(folder, "scvi", RESOLUTION, known_labels(folder))
    annotation.to_csv(folder / "annotation.tsv", sep="\t", index=False)
    write_config(folder, annotation="annotation.tsv", queries="queries.tsv")
    plan = snakemake(folder, "--dry-run")
    snakemake(folder)
    return folder, annotation, plan


def test_what_needs_labels_is_left_out_in_one_line_each(first):
    folder, said = first
    assert said.count("left out, because the reference has no labels: model scanvi") == 1
    assert "set label_key for a dataset, or annotate the clusters" in said
    page = (folder / "results/report/index.html").read_text() if (folder / "results/report/index.html").exists() else ""
    assert "Left out, because the reference has no labels: model scanvi" in page or "annotation" in page


def test_clusters_are_cell_types(first):
    folder, _ = first
    clusters = pd.read_parquet(folder / "results/reference/models/scvi/clusters.parquet")
    labels = known_labels(folder).loc[clusters.index]
    assert normalized_mutual_info_score(labels, clusters[RESOLUTION]) > 0.6
    assert suggested_resolution(folder, "scvi") in clusters


def test_markers_are_those_of_textbooks(first):
    folder, _ = first
    clusters = pd.read_parquet(folder / "results/reference/models/scvi/clusters.parquet")[RESOLUTION]
    labels = known_labels(folder).loc[clusters.index]
    top = pd.read_csv(folder / "results/reference/models/scvi/markers.csv")
    top = top[top["grouping"] == float(RESOLUTION)]
    for label, genes in {"CD14+ Monocytes": ["S100A8", "CD14"], "NK cells": ["GNLY", "NKG7"]}.items():
        home = clusters[labels == label].value_counts().index[0]
        assert set(genes) <= set(top.loc[top["group"] == home, "symbol"])


def test_suggested_names_are_mostly_right(second):
    found = right_suggestions(second[1])
    assert found["right"].sum() >= len(found) - 1
    assert len(found) >= 4


def test_named_clusters_are_the_labels_of_the_atlas(second):
    folder, annotation, plan = second
    jobs = planned(plan)
    # scanvi and the baseline of the atlas, and all three of the fold: scvi of the atlas stays.
    assert (jobs["annotate_cells"], jobs["train_reference"]) == (1, 5)
    summary = json.loads((folder / "results/reference/annotation.json").read_text())
    assert set(summary["labels"]) == set(annotation["label"])
    assert summary["rounds"][0]["by"] == {"expert": len(annotation)}
    cells = ad.read_h5ad(folder / "results/reference/reference.h5ad", backed="r").obs
    assert set(cells["label"].dropna()) == set(annotation["label"])


def test_queries_get_the_names(second):
    folder, _, _ = second
    clusters = pd.read_parquet(folder / "results/reference/models/scvi/clusters.parquet")[RESOLUTION]
    types = told_apart(clusters, known_labels(folder))
    labels = pd.read_csv(folder / "results/queries/d1039/labels.csv").set_index("cell")["label"]
    truth = ad.read_h5ad(folder / "query.h5ad", backed="r").obs["cell_type"].astype(str)
    assert (labels[truth.index].map(types) == truth.map(types)).mean() > 0.8


def test_another_name_trains_scvi_no_further(second):
    folder, annotation, _ = second
    renamed = annotation.assign(label=annotation["label"].replace(annotation["label"].iloc[0], "renamed"))
    renamed.to_csv(folder / "annotation.tsv", sep="\t", index=False)
    plan = snakemake(folder, "--dry-run")
    annotation.to_csv(folder / "annotation.tsv", sep="\t", index=False)
    jobs = planned(plan)
    # scanvi and the baseline, of the atlas and of the fold: trained, and the query and the held-out cells mapped.
    assert (jobs["annotate_cells"], jobs["train_reference"], jobs["map_query"]) == (1, 4, 4)
    assert not {"scan_dataset", "select_genes", "build_reference", "plan_fold", "hold_out", "prepare_query"} & set(jobs)


def test_changed_clusters_are_refused_before_training(second):
    folder, annotation, _ = second
    held = annotation["held"].to_numpy().copy()
    held[0], held[1] = held[1], held[0]
    annotation.assign(held=held).to_csv(folder / "annotation.tsv", sep="\t", index=False)
    run = snakemake(folder, check=False)
    annotation.to_csv(folder / "annotation.tsv", sep="\t", index=False)
    assert run.returncode != 0
    assert "2 named clusters no longer contain the same cells" in run.stdout + run.stderr
    assert "rule train_reference" not in run.stdout + run.stderr


def test_a_cluster_that_is_taken_out_makes_the_next_round(second):
    folder, annotation, _ = second
    smallest = annotation["cluster"].iloc[-1]
    taken = annotation.assign(exclude=["yes" if cluster == smallest else "" for cluster in annotation["cluster"]])
    taken.to_csv(folder / "annotation.tsv", sep="\t", index=False)
    snakemake(folder, "--", "results/reference/excluded_cells.tsv")
    shutil.copy(folder / "results/reference/excluded_cells.tsv", folder / "excluded.tsv")
    write_config(folder, exclude="excluded.tsv")
    snakemake(folder, "--", "results/reference/datasets/kang/cells.parquet")
    cells = pd.read_parquet(folder / "results/reference/datasets/kang/cells.parquet")
    assert (cells["reason"] == "excluded").sum() == int(annotation["cells"].iloc[-1])
    assert planned(snakemake(folder, "--dry-run"))["train_reference"] == 2
