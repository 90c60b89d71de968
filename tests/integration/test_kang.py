"""The workflow on eight donors of PBMC: six make the reference (half of their cells, to save time), two are queries,
mapped one after the other. Trains for minutes.
"""

import hashlib
import json
import re
import shutil
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from bundle_runs import map_from_bundle

from conftest import REPO, planned, snakemake, write_sheets
from refatlas.report.images import embed_png

QUERIES = ("1039", "107")
MODELS = {
    "scvi": {"type": "scvi", "train": {"max_epochs": 60}, "surgery": {"max_epochs": 40}},
    "scanvi": {"type": "scanvi", "init_from": "scvi", "train": {"max_epochs": 15}, "surgery": {"max_epochs": 40}},
}
CONFIG = {
    "models": MODELS,
    "evaluation": {"folds": 1, "max_epochs": 30},
    # No test here looks into clusters or places of a UMAP.
    "clusters": {"resolutions": [0.5, 1], "repeats": 2},
    "umap": {"n_epochs": 50},
    "criticism": {"models": ["scvi"], "max_cells": 300, "n_samples": 2},
    "integration": {
        "max_cells": 1500,
        "metrics": [
            "kmeans_nmi",
            "kmeans_ari",
            "silhouette_label",
            "clisi",
            "bras",
            "ilisi",
            "graph_connectivity",
            "pcr_comparison",
        ],
    },
}


def checksums(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def job_records(folder) -> dict[tuple, dict]:
    """Return the records of provenance.json by rule and wildcards."""
    return {
        (job["rule"], *job["wildcards"].values()): job
        for job in json.loads((folder / "results/provenance.json").read_text())["jobs"]
    }


@pytest.fixture(scope="module")
def runs(real, tmp_path_factory):
    """The folder of a finished run with all queries, and the checksums and job records of the run with the first query
    alone.
    """
    folder = tmp_path_factory.mktemp("kang")
    data = ad.read_h5ad(real("kang_ctrl_8donors_1287g.h5ad"))
    donors = data.obs["batch"].astype(str)
    data[~donors.isin(QUERIES).to_numpy()][::2].copy().write_h5ad(folder / "reference.h5ad")
    for donor in QUERIES:
        data[(donors == donor).to_numpy()].copy().write_h5ad(folder / f"donor{donor}.h5ad")
    rows = [{"query": f"donor{donor}", "path": f"donor{donor}.h5ad", "label_key": "cell_type"} for donor in QUERIES]
    write_sheets(folder, [{"dataset": "kang", "path": "reference.h5ad"}], rows[:1], **CONFIG)
    snakemake(folder)
    before, jobs = checksums(folder / "results"), job_records(folder)
    donor = ad.read_h5ad(folder / "donor107.h5ad")
    for name, query in {"thinned": thinned(donor), "shuffled": shuffled(donor)}.items():
        query.write_h5ad(folder / f"{name}.h5ad")
        rows.append({"query": name, "path": f"{name}.h5ad"})
    write_sheets(folder, [{"dataset": "kang", "path": "reference.h5ad"}], rows, **CONFIG)
    snakemake(folder)
    return folder, before, jobs


def thinned(counts: ad.AnnData) -> ad.AnnData:
    """Return a tenth of each cell's counts."""
    counts = counts.copy()
    counts.X = counts.X.tocsr()
    counts.X.data = np.random.default_rng(0).binomial(counts.X.data.astype(np.int64), 0.1).astype(np.float32)
    return counts


def shuffled(counts: ad.AnnData) -> ad.AnnData:
    """Return counts with shuffled gene names."""
    return ad.AnnData(
        counts.X, obs=counts.obs, var=counts.var.iloc[np.random.default_rng(0).permutation(counts.n_vars)]
    )


@pytest.fixture(scope="module")
def folder(runs):
    return runs[0]


@pytest.fixture(scope="module")
def scores(folder):
    return pd.read_csv(folder / "results/evaluation/transfer.csv").set_index(["split", "query", "model", "source"])


def test_labels_hold_the_floors(scores):
    both = (
        scores.loc["atlas"].groupby(["model", "source"]).apply(lambda s: np.average(s["accuracy"], weights=s["n_seen"]))
    )
    assert both["scanvi", "knn"] >= both["linear", "classifier"] - 0.02
    assert both["scvi", "knn"] >= 0.85


def test_delivered_labels_are_as_good_as_the_best_source(scores):
    both = (
        scores.loc["atlas"].groupby(["model", "source"]).apply(lambda s: np.average(s["macro_f1"], weights=s["n_seen"]))
    )
    assert both["delivered", "all sources"] >= both.drop("delivered").max() - 0.01


def test_confidence_is_calibrated_on_queries_that_took_no_part(scores):
    delivered = scores.xs(("delivered", "all sources"), level=("model", "source"))
    assert (delivered.loc["atlas", "ece"] <= 0.05).all()
    assert (delivered.loc["fold_1", "ece"] <= 0.05).all()
    assert (delivered.loc["atlas", "coverage"] >= 0.85).all()


def test_folds_and_baselines_are_scored(scores):
    held_out = scores.loc["fold_1"].droplevel("query")
    assert {
        ("majority", "majority"),
        ("linear", "knn"),
        ("linear", "classifier"),
        ("scvi", "logistic"),
        ("scanvi", "classifier"),
    } <= set(held_out.index)
    assert held_out.loc[("majority", "majority"), "accuracy"] < 0.6
    assert held_out["n_batches"].ge(2).all()


def test_labels_of_held_out_cells_cannot_reach_a_model(folder):
    """The counts that models map have no labels, and no cell of them is in the fold's reference."""
    from refatlas.io.cell_tables import UNLABELED
    from refatlas.io.model_counts import read_counts
    from refatlas.models.scanvi import ScANVI

    home = folder / "results/evaluation/fold_1"
    held, reference = read_counts(home / "heldout/counts.h5ad"), read_counts(home / "counts.h5ad")
    assert list(held.obs.columns) == ["batch"]
    assert not set(held.obs_names) & set(reference.obs_names)
    assert not set(held.obs["batch"]) & set(reference.obs["batch"])
    manager = ScANVI.load(home / "heldout/models/scanvi/model.pt", held).model.adata_manager
    names = manager.get_state_registry("labels").categorical_mapping
    assert set(names[manager.get_from_registry("labels").ravel()]) == {UNLABELED}


def verdict(folder, query) -> dict:
    return json.loads((folder / f"results/queries/{query}/verdict.json").read_text())


def accuracy(folder, query, donor) -> float:
    """Return the share of a donor's cells that have their true label in a query made of them."""
    labels = pd.read_csv(folder / f"results/queries/{query}/labels.csv").set_index("cell")["label"]
    truth = ad.read_h5ad(folder / f"donor{donor}.h5ad").obs["cell_type"].astype(str)
    return float((labels == truth.loc[labels.index]).mean())


@pytest.mark.parametrize("donor", QUERIES)
def test_good_queries_pass(folder, donor):
    found = verdict(folder, f"donor{donor}")
    assert found["verdict"] == "pass", found["reason"]
    assert found["estimated_accuracy"]["value"] == pytest.approx(accuracy(folder, f"donor{donor}", donor), abs=0.1)
    assert not {reason["check"] for reason in found["reasons"]} & {"gene_overlap", "depth", "profile", "doublets"}


def test_a_query_of_a_tenth_of_the_depth_is_judged_by_its_labels(folder):
    found = verdict(folder, "thinned")
    assert found["reasons"][0]["check"] == "depth"
    assert found["estimated_accuracy"]["value"] == pytest.approx(accuracy(folder, "thinned", "107"), abs=0.1)


def test_a_query_with_shuffled_gene_names_fails(folder):
    found = verdict(folder, "shuffled")
    assert (found["verdict"], found["reasons"][0]["check"]) == ("fail", "profile")
    labels = pd.read_csv(folder / "results/queries/shuffled/labels.csv")
    assert set(labels["query_verdict"]) == {"fail"}
    assert "\nshuffled: FAIL: " in (folder / "logs/deliver_labels/shuffled.log").read_text()


def test_another_query_changed_no_byte_of_earlier_results(runs):
    folder, before, _ = runs
    after = checksums(folder / "results")
    pages = ("report/index", "report/criticism", "report/log", "report/multiqc")
    summaries = {path for path in before if path.startswith((*pages, "evaluation/transfer", "provenance.json"))}
    changed = {path for path in before if after.get(path) != before[path]}
    assert changed <= summaries
    assert "report/index.html" in changed


def test_another_query_changed_no_record_of_an_earlier_job(runs):
    folder, _, before = runs
    after = job_records(folder)
    changed = {rule for rule, *wildcards in before if after.get((rule, *wildcards)) != before[rule, *wildcards]}
    assert changed == {"collect_transfer", "write_criticism_page", "write_project_log"}
    assert len(after) > len(before)


def test_a_bundle_gives_the_same_labels_byte_for_byte(folder, tmp_path):
    """Mapped in an empty folder, without the reference's files. Its model is checked on the queries as well."""
    snakemake(folder, "--cores", "2", "--", "bundle")
    for donor in QUERIES:
        shutil.copy(folder / f"donor{donor}.h5ad", tmp_path)
    rows = [{"query": f"donor{donor}", "path": f"donor{donor}.h5ad", "label_key": "cell_type"} for donor in QUERIES]
    map_from_bundle(tmp_path, folder / "results/bundle/atlas.tar", rows, "labels")
    for donor in QUERIES:
        for name in ("labels.csv", "verdict.json", "models/scvi/criticism.csv"):
            found, made = (place / f"results/queries/donor{donor}/{name}" for place in (tmp_path, folder))
            assert found.read_bytes() == made.read_bytes()
        notes = [check for check in verdict(tmp_path, f"donor{donor}")["checks"] if check["check"] == "criticism_scvi"]
        assert len(notes) == 1


def test_a_finished_run_plans_nothing(folder):
    assert planned(snakemake(folder, "--dry-run")) == {}


def test_every_cell_of_a_query_has_a_row_in_its_order(folder):
    for donor in QUERIES:
        labels = pd.read_csv(folder / f"results/queries/donor{donor}/labels.csv")
        assert list(labels["cell"]) == list(ad.read_h5ad(folder / f"donor{donor}.h5ad").obs_names)
        columns = ["cell", "label", "confidence", "status", "query_verdict", "batch_verdict"]
        assert list(labels.columns[:6]) == columns
        assert {
            "scvi_label",
            "scanvi_confidence",
            "scanvi_classifier_label",
            "linear_classifier_label",
            "scvi_logistic_label",
        } <= set(labels.columns)
        assert set(labels["status"]) <= {"assigned", "ambiguous", "novel", "low_quality"}
        assert (labels["status"] == "assigned").mean() > 0.5
        assert labels["confidence"].between(0, 1).all()


@pytest.mark.parametrize("model", list(MODELS))
def test_surgery_moves_the_query_and_not_the_reference(folder, model):
    """Also, the mapped model has the query's batches and the reference's genes, and saw no label."""
    from refatlas.io.model_counts import read_counts
    from refatlas.models.registry import MODEL_TYPES

    reference, query = folder / "results/reference", folder / "results/queries/donor107"
    kind = MODEL_TYPES[model].load_class()
    reference_counts, query_counts = read_counts(reference / "counts.h5ad"), read_counts(query / "counts.h5ad")
    assert list(query_counts.obs.columns) == ["batch"]
    mapped = kind.load(query / f"models/{model}/model.pt", query_counts.copy())
    assert "donor107:107" in mapped.batches()
    assert {"kang:101", "kang:1015"} <= set(mapped.batches())
    assert list(query_counts.var_names) == list(reference_counts.var_names)
    some = reference_counts[::20].copy()
    saved = pd.read_parquet(reference / f"models/{model}/latent.parquet").loc[some.obs_names].to_numpy()
    assert np.abs(mapped.latent(some) - saved).max() < 1e-4
    facts = pd.read_json(query / f"models/{model}/mapping.json", typ="series")
    assert facts["mean_shift"] > 0.01
    again = pd.read_parquet(query / f"models/{model}/latent.parquet").to_numpy()
    assert mapped.latent(query_counts.copy()) == pytest.approx(again, abs=1e-5)


def test_labels_of_a_query_cannot_reach_a_model(folder):
    """The only labels in a mapped model's registry are the reference's and the unlabelled one."""
    from refatlas.io.cell_tables import UNLABELED
    from refatlas.io.model_counts import read_counts
    from refatlas.models.scanvi import ScANVI

    counts = read_counts(folder / "results/queries/donor1039/counts.h5ad")
    mapped = ScANVI.load(folder / "results/queries/donor1039/models/scanvi/model.pt", counts)
    assert set(mapped.model.adata_manager.get_state_registry("labels").categorical_mapping) - {UNLABELED} == set(
        pd.read_parquet(folder / "results/reference/datasets/kang/cells.parquet")["label"]
    )
    manager = mapped.model.adata_manager
    names = manager.get_state_registry("labels").categorical_mapping
    assert set(names[manager.get_from_registry("labels").ravel()]) == {UNLABELED}


def test_training_is_recorded(folder):
    home = folder / "results/reference/models/scanvi"
    history = pd.read_csv(home / "training.csv")
    assert {"stage", "epoch", "seconds", "cells_per_second", "elbo_train", "elbo_validation"} <= set(history.columns)
    assert history["elbo_validation"].iloc[-1] <= history["elbo_validation"].iloc[0] * 1.01
    text = (home / "training.md").read_text()
    for fact in ("type | scanvi", "kang:1015", "final loss", "converged", "device", "scvi-tools 1.5.1", "model.pt"):
        assert fact in text
    log = (folder / "logs/train_reference/reference/scvi.log").read_text()
    assert "cells/s" in log
    assert "s left" in log


def test_atlas_opens_in_scanpy_with_all_cells(folder):
    import scanpy as sc

    snakemake(folder, "--cores", "2", "atlas")
    atlas = sc.read_h5ad(folder / "results/atlas/atlas.h5ad")
    latents = [
        folder / "results/reference/models/scanvi/latent.parquet",
        *(folder / "results/queries").glob("*/models/scanvi/latent.parquet"),
    ]
    assert len(latents) == 5
    assert atlas.n_obs == sum(len(pd.read_parquet(path)) for path in latents)
    assert {"X_scanvi", "X_umap_scanvi", "X_umap", "X_linear"} <= set(atlas.obsm)
    assert {"dataset", "batch", "origin", "label", "confidence", "status", "cluster_scvi"} <= set(atlas.obs)
    counts = ad.read_h5ad(folder / "donor107.h5ad")
    cell = counts.obs_names[5]
    genes = atlas.var["symbol"].to_numpy()
    assert np.array_equal(atlas[f"donor107:{cell}"].X.toarray().ravel(), counts[cell, genes].X.toarray().ravel())


def test_integration_scores_are_complete(folder):
    table = pd.read_csv(folder / "results/evaluation/integration.csv")
    assert set(table["model"]) == {"scvi", "scanvi", "linear"}
    assert table["failed"].isna().all(), table[table["failed"].notna()]
    assert table["value"].between(0, 1).all()
    assert {"n_cells", "k", "scib_metrics"} <= set(table.columns)


def figures_of(page: str) -> set[str]:
    """Return the data URLs of the PNG files that a page holds."""
    return set(re.findall(r"data:image/png;base64,[^\"]+", page))


def figures_in_results(folder: Path) -> set[str]:
    """Return the figures that the report is to hold, as data URLs: those of a query's novel cells only where there are
    groups.
    """
    results = folder / "results"
    paths = [*results.glob("reference/models/*/*.png"), *results.glob("evaluation/*.png")]
    paths = [path for path in paths if path.name != "marker_heat_map.png"]
    paths += [results / "reference/label_markers.png", *results.glob("queries/*/umap.png")]
    paths += results.glob("queries/*/models/*/criticism.png")
    for groups in results.glob("queries/*/novel_groups.csv"):
        if len(pd.read_csv(groups)):
            paths.append(groups.parent / "novel_markers.png")
    return {embed_png(path) for path in paths}


def test_the_report_holds_all_figures_and_fetches_none(folder):
    report = folder / "results/report"
    explorers = [report / "reference.html", *sorted((report / "queries").glob("*.html"))]
    pages = [report / "index.html", report / "criticism.html", *explorers]
    texts = [page.read_text() for page in pages]
    stills = {figure for text in texts for figure in figures_of(text)}
    # Beside the figures of the results, a still picture of each explorer.
    expected = figures_in_results(folder)
    assert expected <= stills
    assert len(stills - expected) == len(explorers)
    assert not any('src="http' in text for text in texts)
    for text in ("donor1039", "donor107", "kang", "macro-F1", "scvi-tools"):
        assert text in texts[0]


def test_snakemakes_own_report_has_the_figures(folder):
    snakemake(folder, "--report", "own.html")
    assert "donor107" in (folder / "own.html").read_text()


def test_the_default_profile_was_used(folder):
    run = snakemake(folder, "--dry-run")
    assert str(REPO / "profiles" / "default") in run.stderr
