"""scib metrics (Luecken 2022, by scib-metrics) of one model's reference latent space.

in:  latent.parquet of the model, and of the baseline (the unintegrated PCA); cells.parquet of the datasets
out: integration.csv: a row a metric: kind, value, or why it failed; with the version, the cells and the k behind it
"""

from collections.abc import Callable
from importlib.metadata import version

import numpy as np
import pandas as pd

from refatlas.cells import read_cells
from refatlas.jobs import run_job, write_table
from refatlas.knn import nearest

K = 90
BIO = ("isolated_labels", "kmeans_nmi", "kmeans_ari", "silhouette_label", "clisi")


def draw_cells(cells: pd.DataFrame, max_cells: int, seed: int) -> pd.DataFrame:
    """Return at most `max_cells` labelled cells, each batch's share in proportion, the same for every model."""
    cells = cells[cells["label"].notna()] if "label" in cells else cells.iloc[:0]
    if len(cells) <= max_cells:
        return cells
    drawn = cells.groupby("batch", observed=True).sample(frac=max_cells / len(cells), random_state=seed)
    return cells.loc[cells.index.isin(drawn.index)]


def metric_functions(latent: np.ndarray, unintegrated: np.ndarray, labels: np.ndarray, batches: np.ndarray, threads: int) -> dict[str, Callable[[], float]]:
    """Return a function for each metric; calling it computes the value."""
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


def compute(functions: dict[str, Callable[[], float]], wanted: list[str]) -> pd.DataFrame:
    """Return a row a metric: metric, kind, value, failed. A metric that fails has no value, and says why."""
    rows = []
    for name in wanted:
        value, failed = np.nan, ""
        try:
            value = float(functions[name]())
            failed = "" if np.isfinite(value) else f"gave {value}"
        except Exception as error:  # Any library may fail on any data; the table says so, and the totals go without a value.
            failed = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:200]
        rows.append({"metric": name, "kind": "bio" if name in BIO else "batch", "value": value, "failed": failed})
        print(f"{name}: {failed or round(value, 4)}", flush=True)
    return pd.DataFrame(rows)


def refused(wanted: list[str], why: str) -> pd.DataFrame:
    """Return the table of metrics of which none can be computed."""
    return pd.DataFrame([{"metric": name, "kind": "bio" if name in BIO else "batch", "value": np.nan, "failed": why} for name in wanted])


def add_totals(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with the mean of each kind and 0.6 bio + 0.4 batch; a total has no value if one of its metrics failed."""
    totals = {}
    for kind in ("bio", "batch"):
        part = table[table["kind"] == kind]
        totals[kind] = part["value"].mean() if len(part) and part["value"].notna().all() and (part["failed"] == "").all() else np.nan
    totals["total"] = 0.6 * totals["bio"] + 0.4 * totals["batch"]
    rows = [
        {"metric": name, "kind": "total", "value": value, "failed": "" if np.isfinite(value) else "a metric of it failed or was not asked for"} for name, value in totals.items()
    ]
    return pd.concat([table, pd.DataFrame(rows)], ignore_index=True)


def main(smk) -> None:
    cells = read_cells(smk.input.cells)
    latent, unintegrated = pd.read_parquet(smk.input.latent), pd.read_parquet(smk.input.unintegrated)
    cells = cells.loc[latent.index]
    drawn = draw_cells(cells, smk.params.settings["max_cells"], smk.params.seed)
    wanted = smk.params.settings["metrics"]
    if len(drawn) > K:
        arrays = [frame.loc[drawn.index].to_numpy() for frame in (latent, unintegrated)]
        functions = metric_functions(*arrays, drawn["label"].astype(str).to_numpy(), drawn["batch"].astype(str).to_numpy(), smk.threads)
        table = compute(functions, wanted)
    else:
        table = refused(wanted, f"needs more than {K} labelled cells, the reference has {len(drawn)}")
    table = add_totals(table)
    table.insert(0, "model", smk.wildcards.model)
    table["n_cells"], table["k"], table["scib_metrics"] = len(drawn), K, version("scib-metrics")
    write_table(table, smk.output.scores)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
