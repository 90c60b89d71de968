"""The shipped configuration from its simulated files to the report, with two epochs per training: every format,
two label levels.
"""

import hashlib
import json
import shutil

import pandas as pd
import pytest
import yaml

import refatlas
from conftest import REPO, snakemake
from refatlas.revisions import REVISIONS
from report_browser import check_page, chromium, column, opened


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    shutil.copytree(REPO / "config", folder / "config")
    config = yaml.safe_load((folder / "config" / "config.yaml").read_text())
    for spec in config["models"].values():
        spec["train"]["max_epochs"] = spec["surgery"]["max_epochs"] = 2
    config["integration"] = {"max_cells": 500, "metrics": ["ilisi", "clisi"]}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    snakemake(folder)
    return folder


def test_labels_of_both_queries_at_both_levels(folder):
    for query, n_cells in (("inflamed", 800), ("panel", 700)):
        labels = pd.read_csv(folder / f"results/queries/{query}/labels.csv")
        assert len(labels) == n_cells
        assert list(labels.columns[:13]) == [
            "cell",
            "label",
            "confidence",
            "status",
            "query_verdict",
            "batch_verdict",
            "label_2",
            "confidence_2",
            "set",
            "set_label",
            "novelty",
            "novelty_in_label",
            "novelty_fdr",
        ]
        parents = {
            "helper T": "T and NK",
            "cytotoxic T": "T and NK",
            "NK": "T and NK",
            "B": "B lineage",
            "plasma": "B lineage",
        }
        assert (labels["label_2"] == labels["label"].map(parents).fillna("myeloid")).all()
        # Each level is calibrated by itself.
        assert (labels["confidence_2"] >= labels["confidence"] - 1e-6).all()


def test_the_fold_holds_out_one_dataset(folder):
    plan = pd.read_json(folder / "results/evaluation/fold_1/fold.json", typ="series")
    assert plan["held_out"] in (["blood"], ["marrow"], ["spleen"])
    scores = (
        pd.read_csv(folder / "results/evaluation/transfer.csv")
        .query("split == 'fold_1' and model == 'delivered'")
        .set_index("level")
    )
    assert set(scores.index) == {1, 2}
    assert scores["accuracy"].between(0.5, 1).all()


def test_mast_cells_that_the_reference_lacks_are_novel(folder):
    labels = pd.read_csv(folder / "results/queries/inflamed/labels.csv").set_index("cell")
    truth = pd.read_parquet(folder / "results/queries/inflamed/cells.parquet").set_index("barcode")["label"]
    assert labels["novelty"].groupby(truth).median().idxmax() == "mast"
    novel, mast = labels["status"] == "novel", truth.loc[labels.index] == "mast"
    assert novel[mast].mean() > 0.8
    assert novel[~mast].mean() < 0.1


@pytest.mark.parametrize("query", ["inflamed", "panel"])
def test_the_estimated_accuracy_is_near_the_true_one(folder, query):
    found = json.loads((folder / f"results/queries/{query}/verdict.json").read_text())
    scores = pd.read_csv(folder / "results/evaluation/transfer.csv").query("model == 'delivered' and level == 1")
    (accuracy,) = scores.loc[scores["query"] == query, "accuracy"]
    assert found["verdict"] == "pass"
    assert found["estimated_accuracy"]["value"] == pytest.approx(accuracy, abs=0.1)


def test_three_formats_make_one_reference(folder):
    logs = {name: (folder / f"logs/scan_dataset/{name}.log").read_text() for name in ("blood", "marrow", "spleen")}
    assert "counts: layers/counts" in logs["blood"]
    assert "10x h5" in logs["marrow"]
    assert "matched by symbol" in logs["spleen"]
    genes = pd.read_parquet(folder / "results/reference/genes.parquet")
    assert len(genes) == 3000
    assert (genes["n_datasets"] == 3).all()


def test_the_demo_is_neither_trivial_nor_hopeless(folder):
    scores = (
        pd.read_csv(folder / "results/evaluation/transfer.csv")
        .query("split == 'atlas' and model == 'linear' and source == 'classifier' and level == 1")
        .set_index("query")
    )
    assert scores["accuracy"].between(0.7, 0.99).all()
    assert 0.5 < scores.loc["inflamed", "auroc_unseen"] < 1
    assert scores.loc["inflamed", "n_seen"] < scores.loc["inflamed", "n_cells"]


def test_poor_cells_were_dropped_from_the_reference_and_flagged_in_queries(folder):
    cells = pd.concat(
        [pd.read_parquet(path) for path in (folder / "results/reference/datasets").rglob("cells.parquet")]
    )
    assert 0 < (~cells["keep"]).mean() < 0.05
    labels = pd.read_csv(folder / "results/queries/inflamed/labels.csv")
    assert (labels["status"] == "low_quality").any()


def test_the_panel_lacks_a_fifth_of_the_genes(folder):
    check = pd.read_json(folder / "results/queries/panel/check.json", typ="series")
    assert check["gene_overlap"] == pytest.approx(0.8, abs=0.04)


def test_totals_are_given_only_where_all_metrics_are(folder):
    table = pd.read_csv(folder / "results/evaluation/integration.csv")
    assert table["n_cells"].between(4000, 4500).all()
    assert table["half_width"].dropna().between(0, 0.01).all()
    assert (table["n_sampled"] <= table["n_cells"]).all()
    assert set(table["metric"]) == {"ilisi", "clisi", "bio", "batch", "total"}


def test_provenance_names_inputs_jobs_and_versions(folder):
    found = json.loads((folder / "results/provenance.json").read_text())
    (checksum,) = (fact["sha256"] for fact in found["files"]["queries"]["inflamed"].values())
    assert checksum == hashlib.sha256((folder / "demo/query_inflamed.h5ad").read_bytes()).hexdigest()
    assert len(found["files"]["datasets"]["spleen"]) == 4
    jobs = {tuple(sorted(job["wildcards"].items())): job for job in found["jobs"] if job["rule"] == "map_query"}
    job = jobs[("model", "scanvi"), ("query", "queries/inflamed")]
    assert job["params"]["settings"]["surgery"]["max_epochs"] == 2
    assert (job["version"], job["revision"]) == (refatlas.__version__, REVISIONS["map_query"])
    assert job["device"]
    assert job["peak_mb"] > 100
    importing = {
        (job["rule"], job["wildcards"].get("model")) for job in found["jobs"] if "scvi-tools" in job["packages"]
    }
    assert importing == {(rule, model) for rule in ("train_reference", "map_query") for model in ("scvi", "scanvi")}
    assert {"scan_dataset", "deliver_labels", "export_query"} <= {job["rule"] for job in found["jobs"]}
    assert checksum in (folder / "results/report/index.html").read_text()


def test_every_page_of_the_report_is_quiet_accessible_and_fits(folder):
    report = folder / "results/report"
    pages = [report / "index.html", report / "reference.html", *sorted((report / "queries").glob("*.html"))]
    assert len(pages) == 4
    with chromium() as browser:
        for page in pages:
            check_page(browser, page)


def test_the_report_is_read_as_a_person_reads_it(folder):
    with chromium() as browser:
        page, said = opened(browser, folder / "results/report/index.html")
        assert column(page, "verdicts of the queries", 0) == ["inflamed", "panel"]
        page.get_by_role("region", name="verdicts of the queries").get_by_role("button", name="cells").click()
        assert column(page, "verdicts of the queries", 0) == ["panel", "inflamed"]
        page.get_by_role("link", name="inflamed").first.click()
        page.wait_for_load_state()
        assert page.get_by_role("heading", level=1).inner_text().startswith("inflamed")
        assert page.get_by_role("heading", level=2).first.inner_text() == "What to distrust, first"
        composition = page.get_by_role("region", name="composition by label")
        for header, number in (("novel", 4), ("cells", 1)):
            for descending in (False, True):
                composition.get_by_role("button", name=header, exact=True).click()
                shown = [float(text.rstrip(" %")) for text in column(page, "composition by label", number)]
                assert shown == sorted(shown, reverse=descending)
        labels = column(page, "presence of the labels", 0)
        assert sorted(labels) == sorted(set(labels))
        page.get_by_label("Filter rows").last.fill("mixing")
        rows = page.get_by_role("region", name="all checks").locator("tbody tr:visible")
        assert rows.count() == 1
        page.wait_for_selector("#cells canvas")
        page.get_by_role("link", name="refatlas report").click()
        page.wait_for_load_state()
        page.get_by_role("link", name="The reference", exact=True).click()
        page.wait_for_selector("#cells canvas")
        assert said == []


def test_one_log_of_the_run_and_numbers_for_multiqc(folder):
    report = folder / "results/report"
    log = json.loads((report / "log.json").read_text())
    assert {query["query"] for query in log["queries"]} == {"inflamed", "panel"}
    assert "inflamed" in (report / "log.md").read_text()
    assert list((report / "multiqc").glob("*_mqc.json"))
