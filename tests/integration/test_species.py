"""A mouse query on a human atlas: refused without a table of orthologs; with it labelled, and no verdict passes."""

import json

import anndata as ad
import pandas as pd
import pytest

from conftest import planned, snakemake, write_sheets

CONFIG = {
    "models": {"linear": {"type": "linear"}},
    "evaluation": {"folds": 0},
    "clusters": {"resolutions": []},
    "umap": {"n_epochs": 20},
}
ORTHOLOGS = {"species": "human", "orthologs": "bundled"}
PAGE = "results/report/queries/mouse.html"


@pytest.fixture(scope="module")
def project(real, tmp_path_factory):
    """Every other cell of human and mouse pancreas; the mouse file has its own symbols alone."""
    folder = tmp_path_factory.mktemp("species")
    ad.read_h5ad(real("baron_human_1021c_20125g.h5ad"))[::2].copy().write_h5ad(folder / "human.h5ad")
    mouse = ad.read_h5ad(real("baron_mouse_988c_14877g.h5ad"))[::2].copy()
    mouse.var = mouse.var[[]]
    mouse.write_h5ad(folder / "mouse.h5ad")
    return folder


def write(folder, **row):
    config = CONFIG | (ORTHOLOGS if row else {})
    query = {"query": "mouse", "path": "mouse.h5ad", "label_key": "cell_type", **row}
    write_sheets(folder, [{"dataset": "human", "path": "human.h5ad"}], [query], **config)


def test_without_a_table_the_refusal_names_it(project):
    write(project)
    run = snakemake(project, "--cores", "2", "--", "results/queries/mouse/counts.h5ad", check=False)
    text = run.stdout + run.stderr
    assert run.returncode != 0
    assert "The genes of the query are named as those of mouse" in text
    assert "set species and orthologs in the config" in text


def test_a_table_plans_no_further_job(project):
    write(project)
    without = planned(snakemake(project, "--dry-run", "--", PAGE))
    write(project, species="mouse")
    assert planned(snakemake(project, "--dry-run", "--", PAGE)) == without


def test_labels_fit_and_verdict_and_page_know_the_species(project):
    write(project, species="mouse")
    snakemake(project, "--cores", "2", "--", PAGE)
    folder = project / "results/queries/mouse"
    check, verdict = (json.loads((folder / f"{name}.json").read_text()) for name in ("check", "verdict"))
    assert check["orthologs"]["of"] == "mouse"
    assert check["orthologs"]["one_to_one"] > 12_000
    assert check["gene_overlap"] > 0.75
    assert verdict["verdict"] != "pass"
    assert verdict["species"] == {"of": "mouse", "to": "human"}
    assert verdict["reasons"][0]["check"] == "species"
    page = (project / PAGE).read_text()
    assert "another species" in page
    assert "one-to-one ortholog in human" in page
    labels = pd.read_csv(folder / "labels.csv", index_col=0)
    truth = ad.read_h5ad(project / "mouse.h5ad", backed="r").obs["cell_type"].astype(str)
    seen = truth.isin(ad.read_h5ad(project / "human.h5ad", backed="r").obs["cell_type"].astype(str)).to_numpy()
    assert (labels["label"].to_numpy() == truth.to_numpy())[seen].mean() > 0.85
