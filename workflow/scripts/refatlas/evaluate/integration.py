"""scib metrics (Luecken 2022, by scib-metrics) of one model's latent space of the reference."""

from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import pandas as pd
from scipy.sparse.linalg import ArpackError

from refatlas.evaluate.sampled_integration import Estimate, SampledMetrics
from refatlas.neighbors.exact_index import nearest

K = 90
# What a metric may raise on data that it cannot score: it then has no value, and the table says
# why. Any other error ends the job: it is a defect, or a lack of memory, after which SLURM may try
# again with more.
NO_CONVERGENCE = (ArpackError, np.linalg.LinAlgError)
OF_SCIB_METRICS = (*NO_CONVERGENCE, ValueError, ArithmeticError)
BIO = ("isolated_labels", "kmeans_nmi", "kmeans_ari", "silhouette_label", "clisi")


def labelled(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the cells that have a label: those that are scored, the same for every model."""
    return cells[cells["label"].notna()] if "label" in cells else cells.iloc[:0]


def full_functions(
    latent: np.ndarray, unintegrated: np.ndarray, labels: np.ndarray, batches: np.ndarray, threads: int
) -> dict[str, Callable[[], float]]:
    """Return a function for each metric; calling it computes the value on all cells, by scib-
    metrics.
    """
    import scib_metrics as scib
    from scib_metrics.nearest_neighbors import NeighborsResults

    indices, distances = nearest(latent, latent, K, threads)
    graph = NeighborsResults(indices=indices, distances=distances)
    kmeans = {}

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
        "ilisi": lambda: scib.ilisi_knn(graph, batches),
        "kbet": lambda: scib.kbet_per_label(graph.subset_neighbors(50), batches, labels),
        "graph_connectivity": lambda: scib.graph_connectivity(graph.subset_neighbors(15), labels),
        "pcr_comparison": lambda: scib.pcr_comparison(unintegrated, latent, batches, categorical=True),
    }


def compute(
    functions: dict[str, Callable[[], float | Estimate]], wanted: list[str], expected: tuple[type[Exception], ...]
) -> pd.DataFrame:
    """Return a row a metric: metric, kind, value, half_width, n_sampled, failed.

    Args:
        expected: errors after which a metric has no value, and `failed` says why.
    """
    rows = []
    for name in wanted:
        found, failed = Estimate(np.nan, np.nan), ""
        try:
            found = functions[name]()
            found = found if isinstance(found, Estimate) else Estimate(float(found))
            failed = "" if np.isfinite(found.value) else f"gave {found.value}"
        except expected as error:
            failed = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:200]
        rows.append({"metric": name, "kind": kind(name), **asdict(found), "failed": failed})
        print(f"{name}: {failed or f'{found.value:.4f} ± {found.half_width:.4f}'}", flush=True)
    return pd.DataFrame(rows)


def kind(metric: str) -> str:
    """Return what a metric is of: bio or batch."""
    return "bio" if metric in BIO else "batch"


def refused(wanted: list[str], why: str) -> pd.DataFrame:
    """Return the table of metrics of which none can be computed."""
    return pd.DataFrame(
        [{"metric": name, "kind": kind(name), **asdict(Estimate(np.nan, np.nan)), "failed": why} for name in wanted]
    )


def add_totals(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with the mean of each kind and 0.6 bio + 0.4 batch; a total has no value if
    one of its metrics failed.

    Half-widths are added up as the values are: scores share cells, so that their errors need not
    cancel.
    """
    totals = {}
    for name in ("bio", "batch"):
        part = table[table["kind"] == name]
        complete = len(part) and part["value"].notna().all() and (part["failed"] == "").all()
        totals[name] = (
            part[["value", "half_width"]].mean() if complete else pd.Series({"value": np.nan, "half_width": np.nan})
        )
    totals["total"] = 0.6 * totals["bio"] + 0.4 * totals["batch"]
    why = "a metric of it failed or was not asked for"
    rows = [
        {"metric": name, "kind": "total", **total, "failed": "" if np.isfinite(total["value"]) else why}
        for name, total in totals.items()
    ]
    return pd.concat([table, pd.DataFrame(rows)], ignore_index=True)


def scores(
    latent: np.ndarray, unintegrated: np.ndarray, cells: pd.DataFrame, settings: dict, seed: int, threads: int
) -> pd.DataFrame:
    """Return the table of the metrics that `settings` asks for, computed in full up to `max_cells`
    cells.
    """
    if len(cells) <= K:
        return refused(settings["metrics"], f"needs more than {K} labelled cells, the reference has {len(cells)}")
    arrays = latent, unintegrated, cells["label"].astype(str).to_numpy(), cells["batch"].astype(str).to_numpy()
    if len(cells) <= settings["max_cells"]:
        return compute(full_functions(*arrays, threads), settings["metrics"], OF_SCIB_METRICS)
    sampled = SampledMetrics(*arrays, settings["max_half_width"], threads, seed)
    functions = {name: getattr(sampled, name) for name in settings["metrics"]}
    return compute(functions, settings["metrics"], NO_CONVERGENCE)
