"""How stable clusters are: whether subsamples of the cells give the same ones (Hennig 2007)."""

import numpy as np
import pandas as pd

from refatlas.annotate.clustering import cluster_cells
from refatlas.annotate.suggested_resolution import finest_stable, suggested

# Each subsample has this share of the cells, but no more than that many.
SHARE, MOST_CELLS = 0.8, 50_000
# Of groups within a query, which has no settings of its own. At 0.1, thousands of cells of one population are split
# already: coarser ones are needed to find two separate populations of this size.
USUAL_RESOLUTIONS, USUAL_REPEATS = (0.01, 0.03, 0.1, 0.25), 10
# Ends of the interval over subsamples.
INTERVAL = (0.05, 0.95)


def jaccard_of_best_match(reference: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Return for each cluster the largest Jaccard index with a cluster of another clustering of the same cells.

    Args:
        reference: cluster of each cell; the result has one value for each number up to the largest, NaN for one without
            cells.
        found: cluster of each cell in the other clustering.
    """
    table = np.zeros((reference.max() + 1, found.max() + 1))
    np.add.at(table, (reference, found), 1)
    rows, columns = table.sum(axis=1, keepdims=True), table.sum(axis=0, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        best = (table / (rows + columns - table)).max(axis=1)
    # A cell alone is always found again alone, or never: that says nothing of a cluster.
    best[rows[:, 0] == 1] = 0
    return np.where(rows[:, 0] > 0, best, np.nan)


def stability(
    latent: np.ndarray, clusters: dict[float, np.ndarray], k: int, repeats: int, seed: int, threads: int = 1
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the stability of each resolution and of each cluster.

    Cells are drawn without replacement, their neighbours are searched among the drawn cells, and they are clustered
    anew. A cluster's stability is the mean over subsamples of the largest Jaccard index of its drawn cells with a new
    cluster; that of a resolution is the mean over its clusters, weighted by the square root of their sizes. The
    interval is the middle nine tenths of the subsamples.

    Args:
        latent: shape (n_cells, n_latent).
        clusters: of `cluster_cells`.
        k: number of nearest neighbours.
        repeats: number of subsamples.
        seed: of the draws.

    Returns:
        A table by resolution (resolution, n_clusters, stability, stability_low, stability_high, suggested), and one by
        cluster (resolution, cluster, n_cells, stability, stability_low, stability_high).
    """
    n_cells = len(latent)
    size = max(min(int(SHARE * n_cells), MOST_CELLS), 1)
    matches: dict[float, list[np.ndarray]] = {resolution: [] for resolution in clusters}
    for repeat in range(repeats):
        drawn = np.sort(np.random.default_rng([seed, repeat]).permutation(n_cells)[:size])
        again = cluster_cells(latent[drawn], list(clusters), k, seed + repeat + 1, threads)
        for resolution, codes in clusters.items():
            found = np.full(codes.max() + 1, np.nan)
            best = jaccard_of_best_match(codes[drawn], again[resolution])
            found[: len(best)] = best
            matches[resolution].append(found)
    tables = [_tables(resolution, clusters[resolution], np.stack(found)) for resolution, found in matches.items()]
    summary = pd.DataFrame([by_resolution for by_resolution, _ in tables])
    summary["suggested"] = summary.index == suggested(summary)
    return summary, pd.concat([by_cluster for _, by_cluster in tables], ignore_index=True)


def _tables(resolution: float, codes: np.ndarray, matches: np.ndarray) -> tuple[dict, pd.DataFrame]:
    """Return the row of a resolution, and the rows of its clusters.

    Args:
        matches: of each subsample (rows) and cluster (columns); NaN where no cell of the cluster was drawn.
    """
    sizes = np.bincount(codes)
    weights = np.where(np.isnan(matches), 0, np.sqrt(sizes))
    overall = (np.nan_to_num(matches) * weights).sum(axis=1) / weights.sum(axis=1)
    drawn = [column[~np.isnan(column)] if not np.isnan(column).all() else np.zeros(1) for column in matches.T]
    by_cluster = pd.DataFrame({"resolution": f"{resolution:g}", "cluster": np.arange(len(sizes)), "n_cells": sizes})
    by_cluster["stability"] = [column.mean() for column in drawn]
    by_cluster["stability_low"], by_cluster["stability_high"] = np.array(
        [np.quantile(column, INTERVAL) for column in drawn]
    ).T
    low, high = np.quantile(overall, INTERVAL)
    row = {"resolution": f"{resolution:g}", "n_clusters": len(sizes), "stability": overall.mean()}
    return {**row, "stability_low": low, "stability_high": high}, by_cluster


def stable_clusters(latent: np.ndarray, k: int, seed: int, threads: int = 1) -> np.ndarray:
    """Return the clusters of a latent space at the finest stable one of a few usual resolutions.

    Where none with several clusters is stable, all cells are one cluster: a split that subsamples do not give again
    is one within a population.

    Args:
        latent: shape (n_cells, n_latent). k: number of nearest neighbours. seed: of the clusters.
    """
    clusters = cluster_cells(latent, USUAL_RESOLUTIONS, k, seed, threads)
    summary, _ = stability(latent, clusters, k, USUAL_REPEATS, seed, threads)
    stable = finest_stable(summary)
    return np.zeros(len(latent), dtype=np.int32) if stable is None else clusters[USUAL_RESOLUTIONS[stable]]
