"""The report shows each result under its own name, whatever the order of files, and shows text as text."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from refatlas.report.page import (
    ReportFiles,
    embed_png,
    integration_table,
    judged_parts,
    page_context,
    render,
    table_figures,
    transfer_tables,
    weights_table,
)
from refatlas.report.query_figure import MappedCells, plot_query
from refatlas.transfer.label_table import label_table

CHECK = {
    "check": "novel",
    "unusual": True,
    "value": 0.2,
    "usual": [None, 0.1],
    "held_out": [0.05],
    "meaning": "many cells are unlike the reference",
    "remedy": "look at the cells of status novel",
}
USUAL = {**CHECK, "check": "depth", "unusual": False, "usual": [-1.0, 1.0]}
ESTIMATE = {"value": 0.8, "low": 0.72, "high": 0.88, "confidence": 0.91}


def judged(verdict: str, reason: str, way_back: float | None = -0.7, novel: float | None = 0.2) -> dict:
    """Return the verdict on a query or a batch."""
    found = {"verdict": verdict, "reason": reason, "n_cells": 3, "estimated_accuracy": ESTIMATE}
    return {**found, "way_back": way_back, "novel": novel}


class Folder:
    """Writes small results; each file's content has its own name in it."""

    def __init__(self, folder: Path):
        self.folder = folder

    def json(self, name: str, value: dict) -> str:
        (self.folder / name).write_text(json.dumps(value))
        return str(self.folder / name)

    def png(self, name: str) -> str:
        path = self.folder / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(name.encode())
        return str(path)

    def csv(self, name: str, table: pd.DataFrame) -> str:
        table.to_csv(self.folder / name, index=False)
        return str(self.folder / name)


@pytest.fixture
def files(tmp_path) -> ReportFiles:
    """Results of two models and two queries, without folds."""
    write = Folder(tmp_path)
    scan = {"name": "d", "counts": "X", "n_cells": 9, "n_kept": 8, "batches": ["b"], "n_genes": 5}
    scan |= {"median_counts": 100.0, "median_genes": 4.0, "low_quality": {}, "notes": ["<i>note</i>"]}
    genes = pd.DataFrame(
        {"selected": [True, True], "candidate": True, "rank": [1, 2], "reason": "variable", "symbol": ["CD3E", None]},
        index=["g1", "g2"],
    )
    genes.to_parquet(tmp_path / "genes.parquet")
    history = pd.DataFrame({"stage": ["train"] * 2, "seconds": [1.0, 2.0], "cells_per_second": [10.0, 20.0]})
    check = {"n_cells": 3, "batches": ["b"], "counts": "X", "padded_genes": [], "notes": []}
    verdict = judged("warn", "only 80% are right") | {"reasons": [CHECK], "checks": [USUAL, CHECK]}
    verdict |= {"novelty_not_judged": "", "absent_labels": [], "limits_from": "fixed limits"}
    verdict["batches"] = {"q:b1": judged("warn", "only 80% are right"), "q:b2": judged("fail", "all novel", None, 0.95)}
    weights = {"q:b1": {"matched:knn": 0.7, "m1:knn": 0.3}, "q:b2": {"matched:knn": 1.0, "m1:knn": 0.0}}
    labels = pd.DataFrame({"cell": ["1", "2"], "label": "T", "confidence": 0.5, "status": ["assigned", "novel"]})
    integration = pd.DataFrame(
        {"model": ["m2", "m2", "m1", "m1"], "metric": ["clisi", "ilisi"] * 2, "value": [0.5, np.nan, 0.7, 0.8]}
    ).assign(half_width=np.nan, failed=[None, "ValueError: x", None, None], n_cells=8, k=5, scib_metrics="0.6.1")
    columns = ["split", "query", "model", "source", "level", "n_cells", "n_seen", "accuracy"]
    mapping = {"epochs": 3, "seconds": 1.0, "converged": True, "mean_shift": 0.1}
    provenance = {"workflow": {"version": "0.3.0", "commit": None, "changed": False}, "packages": {"pandas": ["2"]}}
    provenance |= {"seed": 0, "files": {"datasets": {}, "queries": {}}, "rules": []}
    return ReportFiles(
        scans={"d": write.json("scan.json", scan)},
        genes=str(tmp_path / "genes.parquet"),
        models={
            model: {
                "training": write.csv(f"{model}.csv", history if model == "m1" else history.iloc[:0]),
                "training_figure": write.png(f"{model} training"),
                "umap_figure": write.png(f"{model} umap"),
            }
            for model in ("m1", "m2")
        },
        queries={
            query: {
                "check": write.json(f"{query}_check.json", {**check, "n_cells": n_cells}),
                "labels": write.csv(f"{query}_labels.csv", labels),
                "verdict": write.json(f"{query}_verdict.json", verdict),
                "sources": write.json(f"{query}_sources.json", {"weights": weights}),
                "figure": write.png(f"{query} umap"),
            }
            for query, n_cells in (("q1", 111), ("q2", 222))
        },
        mappings={
            query: {m: write.json(f"{query}_{m}.json", {**mapping, "epochs": f"{m} on {query}"}) for m in ("m2", "m1")}
            for query in ("q2", "q1")
        },
        query_tables={},
        folds={},
        calibration=None,
        integration=write.csv("integration.csv", integration),
        transfer=write.csv("transfer.csv", pd.DataFrame(columns=columns)),
        transfer_figure=write.png("transfer"),
        provenance=write.json("provenance.json", provenance),
    )


@pytest.fixture
def settings() -> dict:
    models = {"m2": {"type": "scanvi"}, "m1": {"type": "scvi"}}
    return {"models": models, "deliver": {"source": "knn", "model": "m1", "alpha": 0.1}}


def test_each_result_is_under_its_own_name(files, settings):
    context = page_context(files, settings)
    assert [(m["name"], m["type"], m["epochs"]) for m in context["models"]] == [("m1", "scvi", 2), ("m2", "scanvi", "")]
    for model in context["models"]:
        assert model["umap_figure"] == embed_png(files.models[model["name"]]["umap_figure"])
    for query in context["queries"]:
        assert query["check"]["n_cells"] == {"q1": 111, "q2": 222}[query["name"]]
        assert query["figure"] == embed_png(files.queries[query["name"]]["figure"])
        assert {m: f["epochs"] for m, f in query["mappings"].items()} == {
            m: f"{m} on {query['name']}" for m in ("m1", "m2")
        }


def test_the_page_is_complete_and_shows_text_as_text(files, settings):
    page = render(page_context(files, settings))
    assert page.rstrip().endswith("</html>")
    assert "&lt;i&gt;note&lt;/i&gt;" in page
    assert "<i>note" not in page
    for text in (
        "m2 on q1",
        CHECK["meaning"],
        CHECK["remedy"],
        "ValueError: x",
        "CD3E, g2",
        "at most 0.1",
        "-1.0 to 1.0",
    ):
        assert text in page


def test_the_page_shows_verdict_and_estimate_of_each_batch(files, settings):
    context = page_context(files, settings)
    assert [part["name"] for part in context["queries"][0]["parts"]] == ["all cells", "q:b1", "q:b2"]
    page = render(context)
    assert page.count('<span class="badge fail">') == len(context["queries"])
    for text in ("Only 80% are right.", "80 %", "72 % to 88 %", "0.910", "0.50", "95 %", "all novel"):
        assert text in page


def test_novelty_that_cannot_be_judged_is_no_share(files, settings, tmp_path):
    verdict = json.loads(Path(files.queries["q1"]["verdict"]).read_text())
    verdict |= {"novel": None, "novelty_not_judged": "the reference has a single batch", "batches": {}}
    Path(files.queries["q1"]["verdict"]).write_text(json.dumps(verdict))
    page = render(page_context(files, settings))
    assert "No cell is called novel: the reference has a single batch." in page
    assert "<td>not judged</td>" in page


def test_a_query_with_one_batch_has_one_verdict():
    parts = judged_parts(judged("pass", "x", None) | {"batches": {"q:b": judged("pass", "x")}})
    assert [(part["name"], part["way_back"]) for part in parts] == [("all cells", None)]


def test_sources_without_weight_are_left_out():
    found = weights_table({"q:a b": {"matched:knn": 1.0, "m:knn": 0.0}, "q:c": {"matched:knn": 1, "m:knn": 0}})
    assert found == {"matched:knn": {"q:a b": 1.0, "q:c": 1}}
    assert weights_table({}) == {}


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("knn", "The delivered labels are those of m1, source knn. They are not calibrated"),
        ("matched", "The delivered labels are those of the matched baseline. They are not calibrated"),
    ],
)
def test_the_page_names_the_delivered_source(files, settings, source, text):
    assert text in render(page_context(files, {**settings, "deliver": {**settings["deliver"], "source": source}}))


def test_the_page_of_folds_names_weights_and_hidden_labels(files, settings, tmp_path):
    write = Folder(tmp_path)
    fold = {"simulated": False, "held_out": ["d:b1"], "hidden": "T", "n_cells": {"held_out": 7}}
    evidence = {"n_cells": 7, "batches": ["d:b1"], "simulated": False, "folds": ["fold_1"]}
    novelty = {"measures": ["energy"], "weights": {"batch": [0.41], "label": [0.52]}, "hidden": ["T"], "judged": True}
    calibration = {"wanted": ["m1:knn", "m2:knn"], "weights": [0.25, 0.001], "evidence": evidence, "novelty": novelty}
    calibration |= {"candidates": {"balanced": 0.3, "learned": 0.2, "m1:knn": 0.4, "m2:knn": 0.6}}
    calibration |= {"delivered": {"method": "biases"}}
    files = replace(
        files,
        folds={"fold_1": write.json("fold.json", fold)},
        calibration=write.json("calibration.json", calibration),
    )
    page = render(page_context(files, {**settings, "deliver": {"source": "all", "model": "m1", "alpha": 0.15}}))
    assert "d:b1; label T is hidden from the reference (7 cells)" in page
    assert "<td>m1 knn</td><td>0.400</td><td>0.25</td>" in page
    assert "<td>all sources, learned weights</td><td>0.200</td>" in page
    assert "<td>half matched baseline, half models</td><td>0.300</td>" in page
    assert "by a temperature and a bias for each label" in page
    assert "calibrated on 7 held-out cells of 1 batch." in page
    assert "one at a time, from the matched baseline: T." in page
    assert "<td>energy</td><td>0.41</td><td>0.52</td>" in page


@pytest.mark.parametrize("known", [False, True])
def test_panels_of_a_query_have_the_same_size(known):
    cells = pd.Index([f"q:{i}" for i in range(6)], name="cell")
    umap = np.random.default_rng(0).normal(size=(6, 2))
    labels = label_table(cells, "knn", ["A", "B"], np.full((6, 2), 0.5))
    table = (
        pd.DataFrame({"label": ["A", "a much longer label"] * 3}, index=cells) if known else pd.DataFrame(index=cells)
    )
    figure = plot_query("q", {"m": MappedCells(umap, pd.DataFrame(umap, index=cells), labels)}, table)
    figure.canvas.draw()
    sizes = [ax.get_window_extent().size for ax in figure.axes]
    assert len(sizes) == (3 if known else 2)
    assert np.ptp(sizes, axis=0) == pytest.approx(0, abs=0.1)


def test_scores_are_titled_by_fold_or_query():
    rows = [("folds", "all held-out batches"), ("fold_1", "heldout"), ("reference", "fold_1"), ("reference", "q")]
    scores = pd.DataFrame(rows, columns=["split", "query"]).assign(accuracy=[0.5, np.nan, 0.1, 0.2])
    found = transfer_tables(scores, ["fold_1"])
    assert [title for title, _ in found] == ["all held-out batches", "fold_1", "fold_1", "q"]
    assert found[1][1][0]["accuracy"] is None


def test_metrics_that_failed_have_their_reason(files):
    found = integration_table(pd.read_csv(files.integration))
    assert found["metrics"] == ["clisi", "ilisi"]
    assert [row["model"] for row in found["rows"]] == ["m2", "m1"]
    assert found["rows"][0]["values"]["ilisi"] == {"value": None, "half_width": None, "failed": "ValueError: x"}
    assert (found["n_cells"], found["k"], found["version"]) == (8, 5, "0.6.1")


def test_figures_of_tables_are_titled_by_model_and_query(files, tmp_path):
    write = Folder(tmp_path)
    for name in ("tables/gene_programs", "mapped/scores"):
        write.png(name)
    models = {**files.models, "m2": {**files.models["m2"], "tables": str(tmp_path / "tables"), "tree": write.png("t")}}
    files = replace(files, models=models, query_tables={"q1": {"m2": str(tmp_path / "mapped")}})
    titles = ["m2: gene programs", "m2, query q1: scores", "m2: tree of labels"]
    assert [title for title, _ in table_figures(files)] == titles
