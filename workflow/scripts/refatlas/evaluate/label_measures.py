"""Measures of a query that need its delivered labels alone, and no model."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from refatlas.evaluate.mixing import MIN_BATCH_CELLS


def label_measures(cells: pd.DataFrame, delivered: pd.DataFrame, labels: Sequence[str]) -> dict[str, Any]:
    """Return what `query_measures.measure` returns, without the measures of counts and models.

    Args:
        cells: the query's cells.parquet.
        delivered: its delivered labels, of the same cells.
        labels: of the reference.

    Returns:
        "query", measures of all cells by name: n_cells, low_quality, and novel, the share of novel
        cells among those that are not of low quality (None without novelty scores); "batches", the
        same of each batch with at least MIN_BATCH_CELLS cells; "absent_labels", those that no cell
        has.
    """
    delivered = delivered.loc[cells.index]
    sizes = cells["batch"].astype(str).value_counts()
    batches = {batch: cells["batch"].astype(str) == batch for batch, n in sizes.items() if n >= MIN_BATCH_CELLS}
    return {
        "query": _of_part(cells, delivered),
        "batches": {batch: _of_part(cells[part], delivered[part]) for batch, part in batches.items()},
        "absent_labels": sorted(set(labels) - set(delivered["label"])),
    }


def _of_part(cells: pd.DataFrame, delivered: pd.DataFrame) -> dict[str, Any]:
    kept = delivered[cells["keep"].to_numpy()]
    found = {"n_cells": len(cells), "low_quality": 1 - len(kept) / max(len(cells), 1)}
    if len(kept) == 0:
        return found
    judged = kept["novelty"].notna().all()
    return {**found, "novel": float(kept["novel"].mean()) if judged else None}
