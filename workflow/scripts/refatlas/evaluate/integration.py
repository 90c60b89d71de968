"""Integration scores of a reference's latent space: the scib metrics (Luecken 2022), by scib-metrics."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.sparse.linalg import ArpackError

from refatlas.evaluate.estimates import Estimate, UndefinedMetricError
from refatlas.evaluate.sampled_integration import SampledMetrics
from refatlas.neighbors.exact_index import nearest_neighbors

if TYPE_CHECKING:
    from scib_metrics.nearest_neighbors import NeighborsResults

K = 90
BIO = ("isolated_labels", "kmeans_nmi", "kmeans_ari", "silhouette_label", "clisi")
# Neighbours of kBET, as in scib-metrics' benchmark.
K_KBET = 50
# What can be computed if no cell has a label, and the reason why all else has no value then.
WITHOUT_LABELS = ("ilisi", "kbet", "pcr_comparison")
NEEDS_LABELS = "needs labels"
KBET_NOTE = f"of all cells and their {K_KBET} nearest, because there are no labels; with labels, a mean over labels"
# Errors on data for which a metric is not defined or cannot be computed. The metric then has no
# value, and the table shows the reason. All other errors end the job: they are defects, or a lack
# of memory, after which SLURM may try again with more.
EXPECTED_OF_SAMPLED = (ArpackError, np.linalg.LinAlgError, UndefinedMetricError)
EXPECTED_OF_SCIB = (ArpackError, np.linalg.LinAlgError, ValueError, ArithmeticError)

Metrics = Mapping[str, Callable[[], float | Estimate]]


def integration_table(
    latent: pd.DataFrame,
    unintegrated: pd.DataFrame,
    cells: pd.DataFrame,
    settings: Mapping[str, Any],
    seed: int,
    threads: int,
) -> pd.DataFrame:
    """Return the integration scores of one model's latent space of the reference.

    If some cells have a label, these are scored. If none has, all cells are, by the metrics that need no labels.

    Args:
        latent: latent space, indexed by cell.
        unintegrated: that of the baseline, indexed by cell.
        cells: batch of each cell, and label if any cell has one.
        settings: section integration of the configuration.
        seed: seed of the sampling.
        threads: number of threads.

    Returns:
        One row per metric and total: metric, kind, value, half_width, n_sampled, failed, n_cells, k
        and the version of scib_metrics. Without labels also note, which says how kBET differs.
    """
    scored = labelled(cells)
    if scored.empty:
        x, before = (frame.loc[cells.index].to_numpy() for frame in (latent, unintegrated))
        return _described(scores_without_labels(x, before, cells, settings, seed, threads), len(cells))
    x, before = (frame.loc[scored.index].to_numpy() for frame in (latent, unintegrated))
    return _described(add_totals(scores(x, before, scored, settings, seed, threads)), len(scored))


def _described(table: pd.DataFrame, n_cells: int) -> pd.DataFrame:
    """Return the table of scores with how they were computed."""
    n_sampled = table["n_sampled"].astype(float).fillna(n_cells).astype(int)
    return table.assign(n_sampled=n_sampled, n_cells=n_cells, k=K, scib_metrics=version("scib-metrics"))


def labelled(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the cells that have a label. If there are any, only these are scored, the same for every model."""
    return cells[cells["label"].notna()] if "label" in cells else cells.iloc[:0]


def full_functions(
    latent: np.ndarray, unintegrated: np.ndarray, labels: np.ndarray, batches: np.ndarray, threads: int
) -> dict[str, Callable[[], float]]:
    """Return functions that compute each metric on all cells by scib-metrics.

    Args:
        latent: latent space, shape (n_cells, n_latent).
        unintegrated: latent space before integration, shape (n_cells, n_components).
        labels: label of each cell.
        batches: batch of each cell.
        threads: number of threads.
    """
    import scib_metrics as scib

    graph = _scib_graph(latent, threads)
    kmeans: dict[str, float] = {}

    def clustered(score: str) -> float:
        if not kmeans:
            kmeans.update(scib.nmi_ari_cluster_labels_kmeans(latent, labels))
        return kmeans[score]

    return {
        "isolated_labels": lambda: scib.isolated_labels(latent, labels, batches),
        "kmeans_nmi": lambda: clustered("nmi"),
        "kmeans_ari": lambda: clustered("ari"),
        "silhouette_label": lambda: scib.silhouette_label(latent, labels),
        "clisi": lambda: scib.clisi_knn(graph, labels),
        "bras": lambda: scib.bras(latent, labels, batches),
        "graph_connectivity": lambda: scib.graph_connectivity(graph.subset_neighbors(15), labels),
        **functions_without_labels(graph, latent, unintegrated, batches),
        "kbet": lambda: scib.kbet_per_label(graph.subset_neighbors(K_KBET), batches, labels),
    }


def functions_without_labels(
    graph: "NeighborsResults", latent: np.ndarray, unintegrated: np.ndarray, batches: np.ndarray
) -> dict[str, Callable[[], float]]:
    """Return functions that compute the metrics that need no labels on all cells by scib-metrics.

    Args:
        graph: nearest cells in the latent space, at least 50 of each cell.
        latent, unintegrated, batches: as of `full_functions`.
    """
    import scib_metrics as scib

    return {
        "ilisi": lambda: scib.ilisi_knn(graph, batches),
        "kbet": lambda: scib.kbet(graph.subset_neighbors(K_KBET), batches)[0],
        "pcr_comparison": lambda: scib.pcr_comparison(unintegrated, latent, batches, categorical=True),
    }


def _scib_graph(latent: np.ndarray, threads: int) -> "NeighborsResults":
    from scib_metrics.nearest_neighbors import NeighborsResults

    indices, distances = nearest_neighbors(latent, latent, K, threads)
    return NeighborsResults(indices=indices, distances=distances)


def compute(functions: Metrics, metrics: Sequence[str], expected: tuple[type[Exception], ...]) -> pd.DataFrame:
    """Return one row per metric: metric, kind, value, half_width, n_sampled, failed; and print them.

    Args:
        functions: function that computes each metric.
        metrics: names of the metrics.
        expected: errors after which a metric has no value, and `failed` gives the reason.
    """
    rows = []
    for name in metrics:
        found, failed = Estimate(np.nan, np.nan), ""
        try:
            value = functions[name]()
            found = value if isinstance(value, Estimate) else Estimate(float(value))
            failed = "" if np.isfinite(found.value) else f"the value is {found.value}"
        except expected as error:
            failed = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:200]
        rows.append({"metric": name, "kind": kind(name), **asdict(found), "failed": failed})
        print(f"{name}: {failed or f'{found.value:.4f} ± {found.half_width:.4f}'}", flush=True)
    return pd.DataFrame(rows)


def kind(metric: str) -> str:
    """Return whether a metric measures conservation of biology ("bio") or batch correction ("batch")."""
    return "bio" if metric in BIO else "batch"


def refused(metrics: Sequence[str], reason: str) -> pd.DataFrame:
    """Return the table of `compute` for data on which no metric can be computed."""
    none = asdict(Estimate(np.nan, np.nan))
    return pd.DataFrame([{"metric": name, "kind": kind(name), **none, "failed": reason} for name in metrics])


def add_totals(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with rows for the mean of each kind, and for the total: 0.6 bio + 0.4 batch.

    A mean has no value if one of its metrics failed. Half-widths are combined as the values are:
    metrics are computed on the same cells, so that their errors need not cancel.

    Args:
        table: from `compute`.
    """
    totals = {}
    for name in ("bio", "batch"):
        part = table[table["kind"] == name]
        complete = len(part) and part["value"].notna().all() and (part["failed"] == "").all()
        totals[name] = (
            part[["value", "half_width"]].mean() if complete else pd.Series({"value": np.nan, "half_width": np.nan})
        )
    totals["total"] = 0.6 * totals["bio"] + 0.4 * totals["batch"]
    reason = "one of its metrics failed or was not requested"
    rows = [
        {"metric": name, "kind": "total", **total, "failed": "" if np.isfinite(total["value"]) else reason}
        for name, total in totals.items()
    ]
    return pd.concat([table, pd.DataFrame(rows)], ignore_index=True)


def scores(
    latent: np.ndarray,
    unintegrated: np.ndarray,
    cells: pd.DataFrame,
    settings: Mapping[str, Any],
    seed: int,
    threads: int,
) -> pd.DataFrame:
    """Return the table of `compute` for the metrics of the configuration.

    Up to `max_cells` cells, metrics are computed by scib-metrics; for more, see
    `sampled_integration`.

    Args:
        latent: latent space of the labelled cells, shape (n_cells, n_latent).
        unintegrated: latent space before integration, shape (n_cells, n_components).
        cells: label and batch of these cells.
        settings: section integration of the configuration.
        seed: seed of the sampling.
        threads: number of threads.
    """
    metrics = settings["metrics"]
    if len(cells) <= K:
        return refused(metrics, f"needs more than {K} labelled cells, the reference has {len(cells)}")
    labels, batches = (cells[column].astype(str).to_numpy() for column in ("label", "batch"))
    if len(cells) <= settings["max_cells"]:
        return compute(full_functions(latent, unintegrated, labels, batches, threads), metrics, EXPECTED_OF_SCIB)
    limit = settings["max_half_width"]
    sampled = SampledMetrics(latent, unintegrated, labels, batches, limit, threads, seed)
    return compute({name: getattr(sampled, name) for name in metrics}, metrics, EXPECTED_OF_SAMPLED)


def scores_without_labels(
    latent: np.ndarray,
    unintegrated: np.ndarray,
    cells: pd.DataFrame,
    settings: Mapping[str, Any],
    seed: int,
    threads: int,
) -> pd.DataFrame:
    """Return the scores of cells without labels, with totals.

    Metrics that need labels have no value. Totals have none either, because the mean of fewer metrics cannot be
    compared with that of others.

    Args:
        latent: latent space of all cells, shape (n_cells, n_latent).
        unintegrated: latent space before integration, shape (n_cells, n_components).
        cells: batch of these cells.
        settings: section integration of the configuration.
        seed: seed of the sampling.
        threads: number of threads.

    Returns:
        The table of `compute` with the column note, and with rows for the totals.
    """
    metrics, batches = settings["metrics"], cells["batch"].astype(str).to_numpy()
    possible = [name for name in metrics if name in WITHOUT_LABELS]
    missing = refused([name for name in metrics if name not in possible], NEEDS_LABELS)
    if len(cells) <= K:
        found = refused(possible, f"needs more than {K} cells, the reference has {len(cells)}")
    elif len(cells) <= settings["max_cells"]:
        functions = functions_without_labels(_scib_graph(latent, threads), latent, unintegrated, batches)
        found = compute(functions, possible, EXPECTED_OF_SCIB)
    else:
        no_labels, limit = np.zeros(len(cells)), settings["max_half_width"]
        sampled = SampledMetrics(latent, unintegrated, no_labels, batches, limit, threads, seed)
        known = {"ilisi": sampled.ilisi, "kbet": sampled.kbet_of_all, "pcr_comparison": sampled.pcr_comparison}
        found = compute(known, possible, EXPECTED_OF_SAMPLED)
    totals = refused(["bio", "batch", "total"], NEEDS_LABELS).assign(kind="total")
    rows = {row["metric"]: row for part in (found, missing, totals) for row in part.to_dict("records")}
    table = pd.DataFrame([rows[name] for name in (*metrics, *totals["metric"])])
    return table.assign(note=np.where(table["metric"] == "kbet", KBET_NOTE, ""))
