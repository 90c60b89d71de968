"""The page of the reference in the report: its cells, training, clusters and names, integration, choice of a model."""

from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from refatlas.io.atomic import read_csv, read_json
from refatlas.report.annotation_sections import summarize_clusters
from refatlas.report.images import embed_png, folder_figures

# Columns of the choice of a model that are text.
TEXTS = ("settings", "remarks")


@dataclass(frozen=True)
class ReferenceFiles:
    """Paths of the results that the page shows.

    Attributes:
        scans: scan.json, by dataset.
        models: training (training.csv), training_figure and umap_figure of each model; where the
            model has them, also tables (a folder) and tree (a figure).
        integration: integration.csv of all models.
        clusters: of each model, stability (cluster_stability.csv), clusters (clusters.csv), suggestions
            (suggestions.csv), markers (markers.csv), and the figures cluster_figure and dot_plot.
        agreement: of each model, agreement (label_agreement.csv) and agreement_figure.
        label_dot_plot: figure of the markers of labels; None without labels.
        annotation: annotation.json; None without annotation and label map.
        choice: models.csv and its figure; empty without clusters.
    """

    scans: dict[str, str]
    models: dict[str, dict[str, str]]
    integration: str
    clusters: dict[str, dict[str, str]] = field(default_factory=dict)
    agreement: dict[str, dict[str, str]] = field(default_factory=dict)
    label_dot_plot: str | None = None
    annotation: str | None = None
    choice: tuple[str, ...] = ()

    def n_cells(self) -> int:
        """Return the number of cells of the reference."""
        return sum(read_json(path)["n_kept"] for path in self.scans.values())


def reference_context(files: ReferenceFiles, config: dict[str, Any], explorer: str) -> dict[str, Any]:
    """Return the values that the page's template shows.

    Args:
        config: with all defaults.
        explorer: the embedding to explore, as HTML.
    """
    return {
        "n_cells": files.n_cells(),
        "models": [
            summarize_model(model, config["models"][model]["type"], paths) for model, paths in files.models.items()
        ],
        "explorer": explorer,
        "tables": table_figures(files),
        "integration": integration_table(read_csv(files.integration)),
        **annotation_context(files),
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


def annotation_context(files: ReferenceFiles) -> dict[str, Any]:
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


def _heading(column: str) -> str:
    return column.replace("_", " ") + ("|text" if column in TEXTS else "")


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


def table_figures(files: ReferenceFiles) -> list[tuple[str, str]]:
    """Return titles and figures of models' own tables and of trees of labels."""
    found = folder_figures({model: paths["tables"] for model, paths in files.models.items() if "tables" in paths})
    trees = {model: paths["tree"] for model, paths in files.models.items() if "tree" in paths}
    return found + [(f"{model}: tree of labels", embed_png(path)) for model, path in trees.items()]
