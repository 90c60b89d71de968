"""The numbers of a run as custom content of MultiQC (https://docs.seqera.io/multiqc/custom_content).

MultiQC finds files whose names end with _mqc.json. Each is a table or a bar graph, or columns of its General
Statistics.
"""

from collections.abc import Mapping, Sequence
from typing import Any

PARENT = {
    "parent_id": "refatlas",
    "parent_name": "refatlas",
    "parent_description": "Labels of queries by a reference atlas, and the models that they come from.",
}
# Okabe and Ito's colours, which colour-blind people can tell apart.
STATUSES = {"assigned": "#0072B2", "ambiguous": "#E69F00", "novel": "#CC79A7", "low_quality": "#999999"}
# Labels with most cells that the bar graph shows by name.
N_LABELS = 30
SHARE = {"min": 0, "max": 1, "format": "{:,.3f}"}
PERCENT = {"min": 0, "max": 100, "suffix": "%", "format": "{:,.1f}"}
COUNT = {"min": 0, "format": "{:,.0f}"}


def custom_content(log: Mapping[str, Any], queries: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the content of each file by its name; without those that have no data.

    Args:
        log: of `refatlas.report.project_log.run_log`.
        queries: summary.json of each.
    """
    labelled = [query for query in queries if query["status"]]
    sections = {
        "general_stats": _general_stats(queries),
        "status": _status(labelled),
        "labels": _labels(labelled),
        "datasets": _datasets(log["datasets"]),
        "training": _training(log["models"]),
        "integration": _integration(log["models"]),
    }
    return {f"refatlas_{name}_mqc.json": section for name, section in sections.items() if section["data"]}


def _general_stats(queries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    columns = {
        "cells": {"title": "Cells", "description": "Cells of the query's file", "scale": "Blues", **COUNT},
        "assigned": {"title": "Assigned", "description": "Cells of status assigned", "scale": "Greens", **PERCENT},
        "ambiguous": {"title": "Ambiguous", "description": "Cells of status ambiguous", "scale": "Oranges", **PERCENT},
        "novel": {"title": "Novel", "description": "Cells unlike the reference", "scale": "Purples", **PERCENT},
        "accuracy": {
            "title": "Accuracy",
            "description": "Labels that are estimated to be right",
            "scale": "RdYlGn",
            **PERCENT,
        },
        "verdict": {
            "title": "Verdict",
            "description": "Whether the labels can be used",
            "scale": False,
        },
    }
    return {
        "id": "refatlas_queries",
        "plot_type": "generalstats",
        "pconfig": [{name: {"namespace": "refatlas", **column}} for name, column in columns.items()],
        "data": {_name(query["query"]): _known(_query_row(query)) for query in queries},
    }


def _query_row(query: Mapping[str, Any]) -> dict[str, Any]:
    status, accuracy = query["status"], (query["estimated_accuracy"] or {}).get("value")
    total = sum(status.values())
    shares = {key: round(100 * status.get(key, 0) / total, 2) for key in ("assigned", "ambiguous", "novel") if total}
    return {
        "cells": query["cells"],
        **shares,
        "accuracy": None if accuracy is None else round(100 * accuracy, 2),
        "verdict": query["verdict"],
    }


def _status(queries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    section = _section("status", "Status of cells", "Cells of each query by the status of their label.", "bargraph")
    return section | {
        "pconfig": {"id": "refatlas_status_plot", "title": "refatlas: Status of cells", "ylab": "Cells"},
        "categories": {name: {"name": name.replace("_", " "), "color": color} for name, color in STATUSES.items()},
        "data": {_name(query["query"]): {name: query["status"].get(name, 0) for name in STATUSES} for query in queries},
    }


def _labels(queries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    section = _section("labels", "Labels", "Cells of each query by their delivered label.", "bargraph")
    totals: dict[str, int] = {}
    for query in queries:
        for label, n in query["labels"].items():
            totals[label] = totals.get(label, 0) + n
    shown = sorted(totals, key=lambda label: -totals[label])[:N_LABELS]
    return section | {
        "pconfig": {"id": "refatlas_labels_plot", "title": "refatlas: Labels", "ylab": "Cells"},
        "data": {_name(query["query"]): _composition(query["labels"], shown) for query in queries},
    }


def _composition(labels: Mapping[str, int], shown: Sequence[str]) -> dict[str, int]:
    """Return cells by label; labels that are not shown are counted together."""
    found = {_name(label): labels.get(label, 0) for label in shown}
    others = sum(n for label, n in labels.items() if label not in set(shown))
    return found | ({"all other labels": others} if others else {})


def _datasets(datasets: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    columns = {
        "cells": {"title": "Cells", "description": "Cells of the file", "scale": "Blues", **COUNT},
        "kept": {"title": "Kept", "description": "Cells within the limits of qc", "scale": "Blues", **COUNT},
        "kept_percent": {"title": "Kept", "description": "Share of the cells", "scale": "Greens", **PERCENT},
        "median_counts": {"title": "Counts", "description": "Median total counts", "scale": "Purples", **COUNT},
        "median_genes": {"title": "Genes", "description": "Median detected genes", "scale": "Purples", **COUNT},
        "batches": {"title": "Batches", "description": "Number of batches", "scale": False, **COUNT},
    }
    about = "Cells of each dataset of the reference, and their quality."
    return _table("datasets", "Reference", about, columns, {row["name"]: _dataset_row(row) for row in datasets})


def _dataset_row(dataset: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "cells": dataset["n_cells"],
        "kept": dataset["n_kept"],
        "kept_percent": round(100 * dataset["n_kept"] / max(dataset["n_cells"], 1), 2),
        "median_counts": dataset["median_counts"],
        "median_genes": dataset["median_genes"],
        "batches": len(dataset["batches"]),
    }


def _training(models: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    columns = {
        "type": {"title": "Type", "description": "Type of model", "scale": False},
        "epochs": {"title": "Epochs", "description": "Epochs of training", "scale": "Blues", **COUNT},
        "loss": {"title": "Loss", "description": "Monitored loss of the last epoch", "scale": False},
        "converged": {
            "title": "Converged",
            "description": "Whether the loss stopped falling before the last epoch",
            "scale": False,
        },
        "seconds": {"title": "Seconds", "description": "Time of training", "scale": "Oranges", **COUNT},
        "device": {"title": "Device", "description": "Where it was trained", "scale": False},
    }
    rows = {
        model["model"]: {**{key: model[key] for key in columns}, "converged": "yes" if model["converged"] else "no"}
        for model in models
    }
    return _table("training", "Training", "Training of each reference model.", columns, rows)


def _integration(models: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    metrics = dict.fromkeys(metric for model in models for metric in model["integration"])
    columns = {
        metric: {"title": metric, "description": f"{metric} of scib-metrics", "scale": "YlGnBu", **SHARE}
        for metric in metrics
    }
    about = "How well each model mixes batches and keeps labels apart; from 0 to 1, higher is better."
    return _table("integration", "Integration", about, columns, {row["model"]: row["integration"] for row in models})


def _table(
    name: str, title: str, about: str, columns: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    return _section(name, title, about, "table") | {
        "pconfig": {"id": f"refatlas_{name}_table", "title": f"refatlas: {title}", "namespace": "refatlas"},
        "headers": dict(columns),
        "data": {_name(row): _known(values) for row, values in rows.items()},
    }


def _section(name: str, title: str, about: str, plot_type: str) -> dict[str, Any]:
    return {
        **PARENT,
        "id": f"refatlas_{name}",
        "section_name": title,
        "description": about,
        "plot_type": plot_type,
    }


def _known(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row without missing values; texts cannot start an element of the page."""
    return {key: _name(value) if isinstance(value, str) else value for key, value in row.items() if value is not None}


def _name(text: str) -> str:
    return text.replace("<", "&lt;")
