"""Novel cells of a query in groups of cells that lie together, each described."""

from typing import Any

import numpy as np
import pandas as pd

from refatlas.annotate.cluster_stability import stable_clusters
from refatlas.annotate.marker_table import COLUMNS as MARKER_COLUMNS
from refatlas.annotate.markers import query_markers

# Fewer cells are scattered ones, or no group that could be described.
LEAST_CELLS = 15
NAMED_MARKERS = 10
COLUMNS = [
    *("group", "n_cells", "share_of_query", "n_batches", "top_batch", "top_batch_share", "novelty", "label"),
    *("label_share", "median_counts", "counts_beside_query", "markers", "suggestion", "sure", "evidence"),
]


def group_novel_cells(latent: pd.DataFrame, novel: pd.Series, k: int, seed: int, threads: int = 1) -> pd.Series:
    """Return the group of each novel cell that lies in one, numbered from 1 by size, indexed by cell.

    Groups are Leiden clusters of the novel cells alone, at the finest resolution whose clusters are stable; without
    any, all novel cells are one group. Groups of fewer than LEAST_CELLS cells are none.

    Args:
        latent: of the query, indexed by cell.
        novel: whether each cell is novel, indexed by cell.
        k: number of nearest neighbours.
        seed: of the clusters.
    """
    cells = latent.index[novel.reindex(latent.index).eq(True)]
    if len(cells) < LEAST_CELLS:
        return pd.Series(dtype=object, index=cells[:0], name="group")
    codes = stable_clusters(latent.loc[cells].to_numpy(), k, seed, threads)
    large = np.bincount(codes)[codes] >= LEAST_CELLS
    return pd.Series((codes + 1).astype(str), index=cells, name="group")[large]


def markers_of_groups(
    row: dict, cells: pd.DataFrame, genes: pd.DataFrame, groups: pd.Series, memory_mb: float, threads: int = 1
) -> pd.DataFrame:
    """Return the statistics of `query_markers` for groups of novel cells; no row without a group."""
    if groups.empty:
        return pd.DataFrame(columns=MARKER_COLUMNS)
    return query_markers(row, cells, genes, groups, memory_mb, threads)


def describe_groups(
    groups: pd.Series, cells: pd.DataFrame, delivered: pd.DataFrame, top: pd.DataFrame, proposals: pd.DataFrame
) -> pd.DataFrame:
    """Return one row per group, with what it consists of, its markers and the name that they suggest.

    Args:
        groups: of `group_novel_cells`.
        cells: cells.parquet of the query.
        delivered: delivered.parquet of the query: label and novelty.
        top: markers of the groups, best first, with group and symbol.
        proposals: suggestion, sure and evidence, indexed by group.
    """
    rows = [_row(str(group), list(members.index), cells, delivered) for group, members in groups.groupby(groups)]
    table = pd.DataFrame(rows)
    if table.empty:
        return pd.DataFrame(columns=COLUMNS)
    best = top.groupby(top["group"].astype(str), sort=False)["symbol"].apply(
        lambda names: ", ".join(map(str, names[:NAMED_MARKERS]))
    )
    table["markers"] = table["group"].map(best).fillna("")
    for name in ("suggestion", "sure", "evidence"):
        table[name] = table["group"].map(proposals[name]).fillna("")
    return table.sort_values("n_cells", ascending=False, kind="stable")[COLUMNS]


def _row(group: str, names: list[str], cells: pd.DataFrame, delivered: pd.DataFrame) -> dict[str, Any]:
    own, labels = cells.loc[names], delivered.loc[names, "label"]
    batches = own["batch"].value_counts(normalize=True)
    likeliest = labels.value_counts(normalize=True)
    return {
        "group": group,
        "n_cells": len(names),
        "share_of_query": len(names) / len(cells),
        "n_batches": len(batches),
        "top_batch": batches.index[0],
        "top_batch_share": batches.iloc[0],
        "novelty": delivered.loc[names, "novelty"].median(),
        "label": likeliest.index[0],
        "label_share": likeliest.iloc[0],
        "median_counts": own["total_counts"].median(),
        "counts_beside_query": own["total_counts"].median() / max(cells["total_counts"].median(), 1),
    }
