"""What lists of queries show of one query: a small file of each, so that a list never reads the cells of all."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import pandas as pd

MAPPING_KEYS = ("epochs", "final_loss", "converged", "device", "seconds")
GROUP_COLUMNS = ("n_cells", "label", "label_share", "suggestion", "markers")


def query_summary(
    name: str,
    check: Mapping[str, Any],
    mappings: Mapping[str, Mapping[str, Any]],
    labels: pd.DataFrame | None = None,
    verdict: Mapping[str, Any] | None = None,
    novel_groups: pd.DataFrame | None = None,
) -> dict[str, Any]:
    """Return a query's summary, as plain values for JSON.

    It has the query's name, path, page in the report, numbers of cells and batches, and its mapping by each model; if
    it has labels, also numbers of cells by status and label, the mean confidence, the verdict and the groups of novel
    cells.

    Args:
        check: check.json of the query.
        mappings: mapping.json by model.
        labels: labels.csv; None if the reference has no labels.
        verdict: verdict.json; None likewise.
        novel_groups: novel_groups.csv; None without labels or clusters.
    """
    return {
        "query": name,
        "path": check["path"],
        "page": quote(f"{name}.html"),
        "cells": check["n_cells"],
        "kept": check["n_kept"],
        "gene_overlap": check["gene_overlap"],
        "median_counts": check["median_counts"],
        "median_genes": check["median_genes"],
        "batches": check["batches"],
        "mappings": {model: {key: found.get(key) for key in MAPPING_KEYS} for model, found in mappings.items()},
        **_of_labels(labels),
        **_of_verdict(verdict),
        "novel_groups": [] if novel_groups is None else _groups(novel_groups),
    }


def _of_labels(labels: pd.DataFrame | None) -> dict[str, Any]:
    if labels is None:
        return {"status": {}, "labels": {}, "confidence": None}
    mean = labels["confidence"].mean()
    return {
        "status": {key: int(n) for key, n in labels["status"].value_counts().items()},
        "labels": {key: int(n) for key, n in labels["label"].value_counts().items()},
        "confidence": None if pd.isna(mean) else round(float(mean), 4),
    }


def _of_verdict(verdict: Mapping[str, Any] | None) -> dict[str, Any]:
    keys = ("verdict", "reason", "estimated_accuracy", "absent_labels", "novelty_not_judged")
    found = {key: verdict.get(key) if verdict else None for key in keys}
    unusual = [r["check"].replace("_", " ") for r in verdict["reasons"] if r.get("unusual", True)] if verdict else []
    return found | {"unusual": unusual}


def _groups(novel_groups: pd.DataFrame) -> list[dict[str, Any]]:
    """Return groups of novel cells; missing and empty values become None."""
    rows = novel_groups[["group", *GROUP_COLUMNS]].astype(object)
    return rows.where(rows.notna() & rows.ne(""), None).to_dict("records")
