"""The report's index: the reference, the verdicts, and how far labels can be trusted."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import yaml

from refatlas.evaluate.transfer_summary import ALL_FOLDS
from refatlas.io.atomic import read_csv, read_json
from refatlas.report.annotation_sections import summarize_clusters
from refatlas.report.images import embed_png, folder_figures

# Genes that are named in the report.
N_GENES = 12
# Columns of the choice of a model that are text.
TEXTS = ("settings", "remarks")


@dataclass(frozen=True)
class ReportFiles:
    """Paths of the results that the report shows.

    Attributes:
        scans: scan.json, by dataset.
        genes: genes.parquet of the reference.
        models: training (training.csv), training_figure and umap_figure of each model; where the
            model has them, also tables (a folder) and tree (a figure).
        queries: of each query, the small file that its page left for the index (see `query_summary`).
        folds: fold.json, by fold.
        calibration: calibration.json; None without folds.
        integration: integration.csv of all models.
        transfer: transfer.csv.
        transfer_figure: transfer.png.
        provenance: provenance.json.
        clusters: of each model, stability (cluster_stability.csv), clusters (clusters.csv), suggestions
            (suggestions.csv), markers (markers.csv), and the figures cluster_figure and dot_plot.
        agreement: of each model, agreement (label_agreement.csv) and agreement_figure.
        label_dot_plot: figure of the markers of labels; None without labels.
        annotation: annotation.json; None without annotation and label map.
        choice: models.csv and its figure; empty without clusters.
    """

    scans: dict[str, str]
    genes: str
    models: dict[str, dict[str, str]]
    queries: dict[str, str]
    folds: dict[str, str]
    calibration: str | None
    integration: str
    transfer: str
    transfer_figure: str
    provenance: str
    clusters: dict[str, dict[str, str]] = field(default_factory=dict)
    agreement: dict[str, dict[str, str]] = field(default_factory=dict)
    label_dot_plot: str | None = None
    annotation: str | None = None
    choice: tuple[str, ...] = ()

    def n_cells(self) -> int:
        """Return the number of cells of the reference."""
        return sum(read_json(path)["n_kept"] for path in self.scans.values())


def page_context(
    files: ReportFiles, config: dict[str, Any], explorer: str, left_out: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the values that the page's template shows.

    Args:
        config: with all defaults.
        explorer: the embedding to explore, as HTML.
        left_out: what was left out because the reference has no labels, in sentences.
    """
    return {
        "datasets": [read_json(path) for path in files.scans.values()],
        "genes": summarize_genes(pd.read_parquet(files.genes)),
        "models": [
            summarize_model(model, config["models"][model]["type"], paths) for model, paths in files.models.items()
        ],
        "queries": [read_json(path) for path in files.queries.values()],
        "explorer": explorer,
        "tables": table_figures(files),
        "integration": integration_table(read_csv(files.integration)),
        "folds": [{"name": fold, **read_json(path)} for fold, path in files.folds.items()],
        "calibration": summarize_calibration(read_json(files.calibration)) if files.calibration else None,
        "transfer": transfer_tables(read_csv(files.transfer), list(files.folds)),
        "transfer_figure": embed_png(files.transfer_figure),
        "left_out": left_out,
        **annotation_context(files),
        "deliver": config["deliver"],
        "provenance": read_json(files.provenance),
        "config": yaml.safe_dump(config, sort_keys=False, allow_unicode=True),
    }


def summarize_genes(genes: pd.DataFrame) -> dict[str, Any]:
    """Return numbers of genes, and the symbols of the most variable ones.

    The numbers are of all genes, candidates, selected genes, and those included by name; in words, what the datasets
    share.

    Args:
        genes: genes.parquet of the reference.
    """
    first = genes[genes["selected"]].sort_values("rank", na_position="last").head(N_GENES)
    return {
        "total": len(genes),
        "candidates": int(genes["candidate"].sum()),
        "selected": int(genes["selected"].sum()),
        "included": int((genes["reason"] == "included").sum()),
        "union": genes.attrs.get("union", []),
        "first": list(first["symbol"].fillna(first.index.to_series())),
    }


def summarize_model(model: str, kind: str, paths: dict[str, str]) -> dict[str, Any]:
    """Return name, type, training and figures of a model.

    Training is its epochs, run time in seconds and cells per second; empty for a model without
    epochs.

    Args:
        paths: training, training_figure and umap_figure.
    """
    history = pd.read_csv(paths["training"])
    trained = len(history) > 0
    return {
        "name": model,
        "type": kind,
        "epochs": len(history) if trained else "",
        "seconds": f"{history['seconds'].sum():.0f}" if trained else "",
        "cells_per_second": f"{history['cells_per_second'].median():,.0f}" if trained else "",
        "training_figure": embed_png(paths["training_figure"]),
        "umap_figure": embed_png(paths["umap_figure"]),
    }


def annotation_context(files: ReportFiles) -> dict[str, Any]:
    """Return what the report shows of clusters, names and the choice of a model."""
    choice = read_csv(files.choice[0]) if files.choice else None
    return {
        "clusters": [summarize_clusters(model, paths) for model, paths in files.clusters.items()],
        "agreement": {model: embed_png(paths["agreement_figure"]) for model, paths in files.agreement.items()},
        "label_dot_plot": embed_png(files.label_dot_plot) if files.label_dot_plot else None,
        "annotation": read_json(files.annotation) if files.annotation else None,
        "choice": choice,
        "choice_head": [] if choice is None else [_heading(str(column)) for column in choice.columns],
        "choice_figure": embed_png(files.choice[1]) if files.choice else None,
    }


def summarize_calibration(calibration: dict[str, Any]) -> dict[str, Any]:
    """Return what the report shows of the calibration: held-out cells, pool, and weights of the novelty measures.

    Args:
        calibration: calibration.json.
    """
    learned = calibration["novelty"]
    wanted, losses = calibration["wanted"], calibration["candidates"]
    return {
        "evidence": calibration["evidence"],
        "sources": [
            {"name": name, "weight": weight, "loss": losses.get(name)}
            for name, weight in zip(wanted, calibration["weights"], strict=True)
        ],
        "pools": {name: loss for name, loss in losses.items() if name not in wanted},
        "method": calibration["delivered"]["method"],
        "hidden": learned["hidden"],
        "judged": learned["judged"],
        "measures": [
            {"name": name, "batch": batch, "label": label}
            for name, batch, label in zip(
                learned["measures"], learned["weights"]["batch"], learned["weights"]["label"], strict=True
            )
        ],
    }


def _heading(column: str) -> str:
    return column.replace("_", " ") + ("|text" if column in TEXTS else "")


def transfer_tables(scores: pd.DataFrame, folds: list[str]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return titles and rows of the tables of scores: of all held-out batches first, then of each fold.

    Those of queries are in their own pages.

    Args:
        scores: transfer.csv.
        folds: names of the folds.
    """
    scores = scores[scores["split"].isin([*folds, ALL_FOLDS["split"]])]
    scores = scores.astype(object).where(scores.notna(), None)
    return [
        (split if split in folds else query, part.to_dict("records"))
        for (split, query), part in scores.groupby(["split", "query"], sort=False)
    ]


def integration_table(scores: pd.DataFrame) -> dict[str, Any]:
    """Return the table of integration metrics.

    It has the names of the metrics, and one row per model with each value or the reason why it
    failed; also the number of cells, of neighbours (k) and the version of scib-metrics.

    Args:
        scores: integration.csv of all models.
    """
    columns = ["value", "half_width", "failed"]
    rows = []
    for model, part in scores.groupby("model", sort=False):
        values = part.set_index("metric")[columns].astype(object)
        rows.append({"model": model, "values": values.where(values.notna(), None).to_dict("index")})
    first = scores.iloc[0]
    return {
        "metrics": list(dict.fromkeys(scores["metric"])),
        "rows": rows,
        "n_cells": int(first["n_cells"]),
        "k": int(first["k"]),
        "version": first["scib_metrics"],
    }


def table_figures(files: ReportFiles) -> list[tuple[str, str]]:
    """Return titles and figures of models' own tables and of trees of labels."""
    found = folder_figures({model: paths["tables"] for model, paths in files.models.items() if "tables" in paths})
    trees = {model: paths["tree"] for model, paths in files.models.items() if "tree" in paths}
    return found + [(f"{model}: tree of labels", embed_png(path)) for model, path in trees.items()]
