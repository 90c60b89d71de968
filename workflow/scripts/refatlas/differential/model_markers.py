"""Markers of groups of cells by a trained model, and how far they agree with those of the plain test."""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import pandas as pd

from refatlas.annotate.marker_table import MAX_FDR, MAX_MARKERS
from refatlas.annotate.rank_sums import MIN_CELLS
from refatlas.io.cell_tables import as_text, suggested_clusters

# Cells that a side needs.
LEAST_CELLS = 10
NAMES = ["label", "features", "gene", "symbol", "rank"]
CHANGES = ["log2_fold_change", "probability", "differs", "mean_in", "mean_out"]
PLAIN = ["plain_rank", "plain_log2_fold_change", "plain_score", "plain_fdr"]
COLUMNS = [*NAMES, *CHANGES, *PLAIN]
NO_BATCH = (
    f"no batch has {MIN_CELLS} cells of the group and of the others: the group and the batch cannot be told apart."
    " With batch_correction the model takes away what it holds for a difference of batches, without it counts as one of"
    " the group"
)


class Comparer(Protocol):
    """What compares two sides of cells: `refatlas.models.marker_model.MarkerModel`."""

    batches: dict[str, list[str]]

    def rows_of(self, features: str) -> np.ndarray: ...

    def compare(self, features: str, rows: np.ndarray, rest: np.ndarray, seed: int) -> pd.DataFrame: ...


def group_names(groups: pd.Series) -> np.ndarray:
    """Return the group of each cell as text, None where there is none."""
    return np.array([None if pd.isna(value) else as_text(value) for value in groups.astype(object)], dtype=object)


def grouping_of(obs: pd.DataFrame, clusters: str | None, stability: str | None) -> tuple[str, pd.Series]:
    """Return the name of a grouping in the plain test's markers, and the group of each cell of the counts.

    Args:
        obs: of the counts, with labels if the reference has any.
        clusters, stability: paths of clusters.parquet and cluster_stability.csv; None takes the labels.
    """
    if clusters is None or stability is None:
        return "label", obs["label"]
    found = suggested_clusters(clusters, stability)
    return str(found.name), found.reindex(obs.index)


def draw_sides(
    names: np.ndarray, group: str, n_cells: int, seed: int, allowed: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of drawn cells of a group, and of all others that have a group, at most `n_cells` of each.

    The draw of a group depends on the seed and its name, and not on which other groups there are.

    Args:
        names: of `group_names`. allowed: whether each cell may be drawn; None for all.
    """
    random = np.random.default_rng([seed, *group.encode()])
    known = pd.notna(names) & (True if allowed is None else allowed)
    sides = (np.flatnonzero(known & (names == group)), np.flatnonzero(known & (names != group)))
    rows, rest = (np.sort(random.permutation(side)[:n_cells]) for side in sides)
    return rows, rest


def model_markers(
    model: Comparer, groups: pd.Series, symbols: pd.Series, n_cells: int, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the changes of every gene in each group against all other cells, and what was compared.

    Args:
        model: that compares. groups: of the cells, in the order of the counts. symbols: of the genes, by gene.
        n_cells: most cells of a side. seed: of the draws.

    Returns:
        markers: one row per group and feature: NAMES and CHANGES. rank, from 1, is by probability and then by change
            among what is higher in the group; missing for what is not.
        sides: one row per group and kind of features: cells, other_cells, drawn, other_drawn, and note, why nothing
            was compared.
    """
    names, parts, sides = group_names(groups), [], []
    for group, features, rows, rest in _sides(model, names, n_cells, seed):
        allowed = model.rows_of(features)
        known = pd.notna(names) & allowed
        n_own = int((known & (names == group)).sum())
        side = {"label": group, "features": features, "cells": n_own}
        side |= {"other_cells": int(known.sum()) - n_own, "drawn": len(rows), "other_drawn": len(rest)}
        few = min(len(rows), len(rest)) < LEAST_CELLS
        sides.append({**side, "note": f"fewer than {LEAST_CELLS} cells on one side" if few else ""})
        if few:
            continue
        found = model.compare(features, rows, rest, _seed(group, seed))
        print(f"{group}, {features}: {int(found['differs'].sum())} of {len(found)} differ", flush=True)
        parts.append(ranked(found).assign(label=group, features=features, symbol=symbols.reindex(found.index)))
    empty = [pd.DataFrame(columns=[*NAMES, *CHANGES])]
    table = pd.concat(parts).rename_axis("gene").reset_index() if parts else empty[0]
    table["symbol"] = table["symbol"].fillna(table["gene"])
    return table[[*NAMES, *CHANGES]], pd.DataFrame(sides)


def _sides(
    model: Comparer, names: np.ndarray, n_cells: int, seed: int
) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    for group in sorted({name for name in names if name is not None}):
        for features in model.batches:
            yield group, features, *draw_sides(names, group, n_cells, seed, model.rows_of(features))


def _seed(group: str, seed: int) -> int:
    return int(np.random.default_rng([seed, *group.encode(), 1]).integers(2**31))


def ranked(found: pd.DataFrame) -> pd.DataFrame:
    """Return changes with the rank of those that are higher: the most probable first, then the largest."""
    higher = found[found["log2_fold_change"] > 0]
    order = higher.sort_values(["probability", "log2_fold_change"], ascending=False, kind="stable").index
    ranks = pd.Series(np.arange(1, len(order) + 1), index=order)
    return found.assign(rank=ranks.reindex(found.index).astype("Int64"))


def plain_markers(markers: pd.DataFrame, grouping: str, genes: pd.Index) -> pd.DataFrame:
    """Return the plain test's results of a model's genes, with the rank of those that are higher, from 1.

    Args:
        markers: of `refatlas.annotate.marker_table.marker_table`. grouping: one of its groupings.

    Returns:
        label (the group), gene and PLAIN.
    """
    own = markers[(markers["grouping"] == grouping) & markers["gene"].isin(genes)]
    found = pd.DataFrame(
        {
            "label": own["group"].astype(str),
            "gene": own["gene"].astype(str),
            "plain_log2_fold_change": own["batch_log2_fold_change"].astype(float),
            "plain_score": own["batch_score"].astype(float),
            "plain_fdr": own["fdr"].astype(float),
        }
    )
    higher = found[(found["plain_log2_fold_change"] > 0) & found["plain_score"].notna()]
    ranks = higher.groupby("label")["plain_score"].rank(ascending=False, method="first")
    return found.assign(plain_rank=ranks.reindex(found.index).astype("Int64"))


def with_plain(markers: pd.DataFrame, plain: pd.DataFrame) -> pd.DataFrame:
    """Return the markers by a model with the plain test's beside them, which knows no proteins: COLUMNS."""
    joined = markers.merge(plain.assign(features="rna"), on=["label", "features", "gene"], how="left")
    return joined.astype({"rank": "Int64", "plain_rank": "Int64"}).sort_values(
        ["label", "features", "rank", "gene"], ascending=[True, False, True, True], kind="stable", ignore_index=True
    )[COLUMNS]


def shared_batches(names: np.ndarray, batches: np.ndarray, group: str) -> int:
    """Return in how many batches MIN_CELLS cells of the group and of the others are."""
    known = pd.notna(names)
    of_batch = pd.crosstab(batches[known].astype(str), names[known] == group).reindex(columns=[True, False])
    return int((of_batch >= MIN_CELLS).all(axis=1).sum())


def agreement(markers: pd.DataFrame, sides: pd.DataFrame, names: np.ndarray, batches: np.ndarray) -> pd.DataFrame:
    """Return one row per group and kind of features: what was compared, and how far model and plain test agree.

    Args:
        markers: of `with_plain`. sides: of `model_markers`. names, batches: of the cells.

    Returns:
        The columns of `sides`; batches (with cells of the group and of others); genes; differ and markers (of them,
        higher in the group); plain_markers (of the plain test, among the model's genes) and both; top (genes that are
        higher by both, at most MAX_MARKERS), top_shared (share of the model's first `top` genes that are among the
        plain test's first), top_by_chance (expected share of two independent orders), spearman (of the changes).
    """
    parts = dict(iter(markers.groupby(["label", "features"])))
    rows = []
    for side in sides.to_dict("records"):
        n_batches = shared_batches(names, batches, side["label"])
        notes = [side["note"], "" if n_batches else NO_BATCH]
        part = parts.get((side["label"], side["features"]))
        row = {**side, "batches": n_batches, **({} if part is None else _agreed(part))}
        rows.append({**row, "note": ". ".join(filter(None, notes))})
    found = pd.DataFrame(rows)
    counts = ["genes", "differ", "markers", "plain_markers", "both", "top"]
    found = found.reindex(columns=[*sides, "batches", *counts, "top_shared", "top_by_chance", "spearman"])
    return found.astype(dict.fromkeys(counts, "Int64"))[[*found.columns.drop("note"), "note"]]


def _agreed(part: pd.DataFrame) -> dict[str, Any]:
    """Return the numbers of one group; those of the agreement are missing where the plain test has none."""
    own = part["differs"].astype(bool) & part["rank"].notna()
    found: dict[str, Any] = {"genes": len(part), "differ": int(part["differs"].sum()), "markers": int(own.sum())}
    if part["plain_score"].isna().all():
        return found
    plain = (part["plain_fdr"] < MAX_FDR) & (part["plain_log2_fold_change"] > 0)
    top = min(MAX_MARKERS, int(part["rank"].notna().sum()), int(part["plain_rank"].notna().sum()))
    both = (part["rank"] <= top).fillna(False) & (part["plain_rank"] <= top).fillna(False)
    known = part[part["plain_log2_fold_change"].notna()].astype(
        {"log2_fold_change": float, "plain_log2_fold_change": float}
    )
    found |= {"plain_markers": int(plain.sum()), "both": int((own & plain).sum()), "top": top}
    found["top_shared"] = both.sum() / top if top else np.nan
    found["top_by_chance"] = top / len(part)
    found["spearman"] = known["log2_fold_change"].corr(known["plain_log2_fold_change"], method="spearman")
    return found


def first_markers(markers: pd.DataFrame) -> pd.DataFrame:
    """Return the first MAX_MARKERS of each group and kind of features, whether called or not."""
    return markers[(markers["rank"] <= MAX_MARKERS).fillna(False).astype(bool)].reset_index(drop=True)
