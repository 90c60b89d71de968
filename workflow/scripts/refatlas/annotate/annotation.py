"""Labels of cells from an annotation of clusters, and the template that people fill in."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from refatlas.annotate.held_cells import COLUMNS, held_cells, require_same_cells
from refatlas.annotate.label_matching import apply_label_map
from refatlas.errors import InputError
from refatlas.io.cell_tables import label_column, label_columns

# Columns that people fill in, and those that help them to.
EDITED = ("exclude", "note", "by")


class NamedClusters:
    """The decided rows of an annotation: a model's clusters with names, or excluded.

    Attributes:
        rows: model, resolution, cluster, labels (tuple), exclude, held, one row per cluster.
    """

    def __init__(self, rows: Sequence) -> None:
        decided = [row for row in rows if row.decided]
        columns = ("line", "model", "resolution", "cluster", "labels", "exclude", "note", "by", "held")
        self.rows = pd.DataFrame([{name: getattr(row, name) for name in columns} for row in decided], columns=columns)

    @property
    def n_levels(self) -> int:
        """Number of label levels."""
        return max((sum(map(bool, labels)) for labels in self.rows["labels"]), default=0)


def annotated_labels(
    named: NamedClusters, clusters: pd.DataFrame, path: str, changed: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the labels that an annotation gives to cells, and what changed since it was written.

    Where it names clusters of several resolutions, the finest that names a cell decides.

    Args:
        named: the annotation.
        clusters: clusters.parquet of its model.
        path: of the annotation, for messages.
        changed: "refuse" or "carry", as in the config.

    Returns:
        A table indexed by cell with label, label_2 …, excluded, decided (whether the cell's cluster has a name or is
        excluded) and reason (of a cell that is excluded); and the table of `require_same_cells`.

    Raises:
        InputError: a cluster does not exist, or clusters no longer contain the same cells and may not be carried over.
    """
    if changed == "refuse":
        _require_clusters(named, clusters, path)
    rows, changes = require_same_cells(named.rows, clusters, path, changed)
    levels = [label_column(level + 1) for level in range(max(named.n_levels, 1))]
    found = pd.DataFrame({name: np.full(len(clusters), None, dtype=object) for name in levels}, index=clusters.index)
    found["excluded"], found["decided"], found["reason"] = False, False, ""
    for resolution in sorted(rows["resolution"].unique(), key=float):
        _assign(found, rows[rows["resolution"] == resolution], clusters[resolution].to_numpy(), levels)
    return found, changes


def _require_clusters(named: NamedClusters, clusters: pd.DataFrame, path: str) -> None:
    for row in named.rows.itertuples():
        n_clusters = int(clusters[row.resolution].max()) + 1
        if int(row.cluster) >= n_clusters:
            raise InputError(
                f"{path}, line {row.line}: there is no cluster {row.cluster} of {row.model} at resolution"
                f" {row.resolution}; there are 0 to {n_clusters - 1}. Write the annotation anew from the template of"
                " this run, or set clusters.changed to carry"
            )


def _assign(found: pd.DataFrame, rows: pd.DataFrame, clusters: np.ndarray, levels: list[str]) -> None:
    """Fill in the cells of one resolution's clusters."""
    order = pd.Index(rows["cluster"].astype(int)).get_indexer(clusters)
    cells = np.flatnonzero(order >= 0)
    rank = order[cells]
    found.iloc[cells, found.columns.get_loc("decided")] = True
    found.iloc[cells, found.columns.get_loc("excluded")] = rows["exclude"].to_numpy()[rank]
    found.iloc[cells, found.columns.get_loc("reason")] = np.array(_reasons(rows), dtype=object)[rank]
    for level, name in enumerate(levels):
        names = [
            None if exclude or level >= len(labels) else labels[level] or None
            for labels, exclude in zip(rows["labels"], rows["exclude"], strict=True)
        ]
        found.iloc[cells, found.columns.get_loc(name)] = np.array([*names, None], dtype=object)[rank]


def _reasons(rows: pd.DataFrame) -> list[str]:
    """Return why the cells of each row are excluded; "" for a row with a name."""
    return [
        f"cluster {row.cluster} of {row.model}, resolution {row.resolution}{f': {row.note}' if row.note else ''}"
        if row.exclude
        else ""
        for row in rows.itertuples()
    ]


@dataclass(frozen=True)
class LabelledDatasets:
    """The reference with the labels of an annotation and a label map.

    Attributes:
        cells: of each dataset, with label, label_2 … and excluded.
        changes: of `require_same_cells`.
        excluded: cell, and why it is excluded.
    """

    cells: dict[str, pd.DataFrame]
    changes: pd.DataFrame
    excluded: pd.DataFrame


def annotate_datasets(
    cells: dict[str, pd.DataFrame],
    rows: Sequence[Any],
    names: Sequence[Any],
    clusters: pd.DataFrame | None,
    written: dict[str, str | None],
    changed: str,
) -> LabelledDatasets:
    """Return the cells of all datasets with their labels.

    Args:
        cells: cells.parquet of each dataset.
        rows: of the annotation. names: of the label map.
        clusters: clusters.parquet of the model that the annotation names.
        written: paths of annotation and label_map, for messages.
        changed: "refuse" or "carry".

    Raises:
        InputError: of `annotated_labels` and `apply_label_map`.
    """
    named, annotated, changes = NamedClusters(rows), None, pd.DataFrame(columns=COLUMNS)
    if clusters is not None:
        annotated, changes = annotated_labels(named, clusters, str(written["annotation"]), changed)
    mapped = {name: apply_label_map(table, name, names) if names else table for name, table in cells.items()}
    n_levels = max(named.n_levels, *(len(label_columns(table)) for table in mapped.values()), 1)
    labelled = {name: label_cells(table, annotated, n_levels) for name, table in mapped.items()}
    return LabelledDatasets(labelled, changes, _excluded(annotated))


def _excluded(annotated: pd.DataFrame | None) -> pd.DataFrame:
    """Return the cells that are excluded, as the config's exclude reads them."""
    if annotated is None:
        return pd.DataFrame({"cell": [], "reason": []}, dtype=object)
    taken = annotated[annotated["excluded"].astype(bool)]
    return pd.DataFrame({"cell": taken.index, "reason": taken["reason"].to_numpy()})


def label_cells(cells: pd.DataFrame, annotated: pd.DataFrame | None, n_levels: int) -> pd.DataFrame:
    """Return a dataset's cells with the labels of an annotation, where it decides, and their own elsewhere.

    Args:
        cells: cells.parquet of a dataset, its labels by the label map already.
        annotated: of `annotated_labels`; None without an annotation.
        n_levels: number of label levels of the atlas.

    Returns:
        The cells with label, label_2 … of all levels, and excluded.
    """
    cells = cells.copy()
    levels = [label_column(level + 1) for level in range(n_levels)]
    for name in levels:
        cells[name] = cells[name].astype(object) if name in cells else None
    cells["excluded"] = False
    if annotated is None:
        return cells
    own = annotated.reindex(cells.index)
    decided = own["decided"].eq(True).to_numpy()
    for name in levels:
        wanted = own[name] if name in own else pd.Series(None, index=own.index, dtype=object)
        cells.loc[decided, name] = wanted[decided]
    cells.loc[decided, "excluded"] = own["excluded"][decided].astype(bool)
    return cells


def annotation_template(
    model: str,
    clusters: pd.Series,
    hashes: np.ndarray,
    summary: pd.DataFrame,
    proposals: pd.DataFrame,
    n_levels: int,
) -> pd.DataFrame:
    """Return the table that people fill in to name the clusters of one resolution.

    Args:
        model: its name.
        clusters: of each cell, named by the resolution.
        hashes: of the same cells, of `cell_hashes`.
        summary: rows of clusters.csv of this resolution.
        proposals: suggestion, sure and evidence, indexed by cluster.
        n_levels: number of label levels to fill in.
    """
    n_cells = clusters.value_counts().sort_index()
    summary, proposals = (
        table.set_index(table["cluster"].astype(int)).reindex(n_cells.index) if "cluster" in table else table
        for table in (summary, proposals)
    )
    empty = {label_column(level + 1): "" for level in range(n_levels)} | dict.fromkeys(EDITED, "")
    codes = clusters.to_numpy()
    return pd.DataFrame(
        {
            "model": model,
            "resolution": clusters.name,
            "cluster": n_cells.index,
            **empty,
            "cells": n_cells.to_numpy(),
            "batches": summary["n_batches"].to_numpy(),
            "flags": summary["flags"].fillna("").to_numpy(),
            **{name: proposals[name].fillna("").to_numpy() for name in ("suggestion", "sure", "evidence")},
            "held": [held_cells(hashes[codes == cluster]) for cluster in n_cells.index],
        }
    )
