"""What clusters of several models share: the same groups of cells, labels, and the composition of batches."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.spatial.distance import pdist, squareform

from refatlas.errors import InputError, listed, shown

# A cluster is found by another model if they share at least half of the cells of both together.
SAME_CLUSTER = 0.5
# A label is a cluster of a model from this F1 score, and is none below the other. In between, neither is said.
FOUND_LABEL, LOST_LABEL = 0.7, 0.5
CLUSTER_COLUMNS = [
    "model",
    "resolution",
    "cluster",
    "n_cells",
    "best_match_model",
    "best_match_resolution",
    "best_match_cluster",
    "best_match_jaccard",
    "only_in_model",
    "label",
    "label_share",
]
LABEL_COLUMNS = ["label", "model", "n_cells", "best_f1", "resolution", "cluster", "lost"]

# Clusters of each model: one row per cell, the same for all models, one column per resolution.
Clusters = Mapping[str, pd.DataFrame]


def read_clusters(paths: Mapping[str, str]) -> dict[str, pd.DataFrame]:
    """Return clusters.parquet of each model, with the cells of all in the order of the first.

    Raises:
        ValueError: two models have clusters of other cells.
    """
    found: dict[str, pd.DataFrame] = {}
    cells: pd.Index | None = None
    for model, path in paths.items():
        table = pd.read_parquet(path)
        cells = table.index if cells is None else cells
        if not table.index.equals(cells):
            if len(table) != len(cells) or not table.index.isin(cells).all():
                raise ValueError(f"{path}: its cells are not those of the clusters of model {next(iter(found))}")
            table = table.loc[cells]
        # One index for all: names of a million cells take 100 MB.
        found[model] = table.set_axis(cells)
    return found


def shared_cells(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return how many cells each pair of groups shares, shape (n_first, n_second).

    Args:
        first, second: group of each cell, an integer from 0.
    """
    shape = int(first.max()) + 1, int(second.max()) + 1
    pairs = first.astype(np.int64) * shape[1] + second
    return np.bincount(pairs, minlength=shape[0] * shape[1]).reshape(shape)


def jaccard(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the Jaccard index of each pair of groups: shared cells over cells in either, shape (n_first, n_second)."""
    shared = shared_cells(first, second)
    return shared / np.maximum(shared.sum(axis=1)[:, None] + shared.sum(axis=0) - shared, 1)


def match_clusters(clusters: Clusters, suggested: Mapping[str, str], labels: pd.Series | None) -> pd.DataFrame:
    """Return each model's clusters at its suggested resolution, with the most similar one of any other model.

    Args:
        clusters: of each model.
        suggested: resolution of each model, a column of its clusters.
        labels: label of each cell, missing where unknown; None if no cell has one.

    Returns:
        One row per model and cluster, with CLUSTER_COLUMNS. A cluster is `only_in_model` if no cluster of another
        model, at any resolution, has a Jaccard index of at least 0.5 with it. `label` is the most frequent label of
        its labelled cells, "" for none, and `label_share` its share of them.
    """
    rows = []
    for model, resolution in suggested.items():
        codes = clusters[model][resolution].to_numpy()
        table = pd.DataFrame({"cluster": np.arange(codes.max() + 1), "n_cells": np.bincount(codes)})
        table = table.assign(model=model, resolution=resolution, **_main_labels(codes, labels))
        others = {name: frame for name, frame in clusters.items() if name != model}
        rows.append(pd.concat([table, _best_matches(codes, others)], axis=1))
    return pd.concat(rows, ignore_index=True)[CLUSTER_COLUMNS] if rows else pd.DataFrame(columns=CLUSTER_COLUMNS)


def _best_matches(codes: np.ndarray, others: Clusters) -> pd.DataFrame:
    """Return the most similar cluster of other models, one row per cluster; the first of equal ones."""
    n_clusters = int(codes.max()) + 1
    best = pd.DataFrame(
        {
            "best_match_model": "",
            "best_match_resolution": "",
            "best_match_cluster": -1,
            "best_match_jaccard": np.nan if not others else -1.0,
        },
        index=range(n_clusters),
    )
    for name, frame in others.items():
        for resolution in frame:
            found = jaccard(codes, frame[resolution].to_numpy())
            value, cluster = found.max(axis=1), found.argmax(axis=1)
            better = value > best["best_match_jaccard"].to_numpy()
            best.loc[better, ["best_match_model", "best_match_resolution"]] = name, resolution
            best.loc[better, "best_match_cluster"] = cluster[better]
            best.loc[better, "best_match_jaccard"] = value[better]
    return best.assign(only_in_model=best["best_match_jaccard"] < SAME_CLUSTER)


def _main_labels(codes: np.ndarray, labels: pd.Series | None) -> dict[str, np.ndarray]:
    """Return the most frequent label of each cluster and its share of the cluster's labelled cells."""
    n_clusters = int(codes.max()) + 1
    known = np.zeros(len(codes), bool) if labels is None else labels.notna().to_numpy()
    if labels is None or not known.any():
        return {"label": np.full(n_clusters, ""), "label_share": np.full(n_clusters, np.nan)}
    of_cell, names = pd.factorize(labels[known], sort=True)
    # The last row keeps the number of clusters, if the last cluster has no labelled cell.
    counts = shared_cells(np.append(codes[known], n_clusters - 1), np.append(of_cell, 0))
    counts[-1, 0] -= 1
    total = counts.sum(axis=1)
    share = np.divide(counts.max(axis=1), total, out=np.full(n_clusters, np.nan), where=total > 0)
    return {"label": np.where(total > 0, names[counts.argmax(axis=1)], ""), "label_share": share}


def match_labels(clusters: Clusters, labels: pd.Series | None) -> pd.DataFrame:
    """Return how well any cluster of each model, at any resolution, is each label.

    Cells without a label do not count.

    Args:
        clusters: of each model.
        labels: label of each cell, missing where unknown; None if no cell has one.

    Returns:
        One row per label and model, with LABEL_COLUMNS; no rows without labels. `best_f1` is that of the cluster
        `cluster` of `resolution`. A label is `lost` if its F1 score is below 0.5, and at least 0.7 in another model.
    """
    if not clusters or labels is None or labels.isna().all():
        return pd.DataFrame(columns=LABEL_COLUMNS)
    known = labels.notna().to_numpy()
    of_cell, names = pd.factorize(labels[known], sort=True)
    sizes, rows = np.bincount(of_cell), []
    for model, frame in clusters.items():
        best = pd.DataFrame({"label": names, "model": model, "n_cells": sizes, "best_f1": -1.0})
        best = best.assign(resolution="", cluster=-1)
        for resolution in frame:
            codes = frame[resolution].to_numpy()[known]
            shared = shared_cells(of_cell, codes)
            f1 = 2 * shared / (sizes[:, None] + shared.sum(axis=0))
            better = f1.max(axis=1) > best["best_f1"].to_numpy()
            best.loc[better, "best_f1"] = f1.max(axis=1)[better]
            best.loc[better, "cluster"] = f1.argmax(axis=1)[better]
            best.loc[better, "resolution"] = resolution
        rows.append(best)
    table = pd.concat(rows, ignore_index=True).sort_values("label", kind="stable", ignore_index=True)
    found = table.groupby("label")["best_f1"].transform("max") >= FOUND_LABEL
    return table.assign(lost=found & (table["best_f1"] < LOST_LABEL))[LABEL_COLUMNS]


def batch_agreement(
    codes: np.ndarray, batches: pd.Series, replicates: Sequence[Sequence[str]] = ()
) -> tuple[float, float]:
    """Return how alike batches are that should be, and all others, in their shares of the clusters.

    Args:
        codes: cluster of each cell, an integer from 0.
        batches: batch of each cell ("dataset:batch").
        replicates: lists of batches that should be alike; without any, the batches of each dataset should be.

    Returns:
        1 minus the mean Jensen-Shannon distance (base 2) of pairs that should be alike, and of other pairs. 1 means
        that they have equal shares, 0 that they share no cluster; NaN without such pairs.

    Raises:
        InputError: `replicates` names a batch that does not exist, or one twice.
    """
    of_cell, names = pd.factorize(batches, sort=True)
    if len(names) < 2:
        return np.nan, np.nan
    counts = shared_cells(of_cell, codes)
    # Rounding can make the divergence of equal shares negative.
    distances = np.nan_to_num(pdist(counts / counts.sum(axis=1, keepdims=True), "jensenshannon") / np.sqrt(np.log(2)))
    groups = _groups(list(names), replicates)
    alike = squareform((groups[:, None] == groups) & (groups[:, None] >= 0), checks=False)
    values = [1 - distances[pairs].mean() if pairs.any() else np.nan for pairs in (alike, ~alike)]
    return float(values[0]), float(values[1])


def _groups(names: list[str], replicates: Sequence[Sequence[str]]) -> np.ndarray:
    """Return the group of each batch whose members should be alike, -1 for none."""
    if not replicates:
        return np.unique([name.partition(":")[0] for name in names], return_inverse=True)[1]
    groups = np.full(len(names), -1)
    for number, group in enumerate(replicates):
        for name in group:
            # A batch may be named without its dataset, if only one dataset has it.
            found = [i for i, full in enumerate(names) if name in (full, full.partition(":")[2])]
            if len(found) != 1 or groups[found[0]] != -1:
                problem = (
                    "no batch" if not found else "batches of several datasets" if len(found) > 1 else "named twice"
                )
                raise InputError(
                    f"config: comparison: replicates: {shown(repr(name))} is {problem}; name each batch once, as"
                    f" dataset:batch (there are {listed(names, 20)})"
                )
            groups[found[0]] = number
    return groups
