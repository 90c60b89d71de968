"""Integration scores: scib-metrics on all cells against refatlas.evaluate.sampled_integration, on the CPU.

usage: .venv/bin/python measurements/metrics.py DATA CELLS values|speed|alone [METRIC …]

DATA is the folder of the real data. CELLS cells are drawn from the PCA of the Kang data, with noise as large as the
distances between neighbours, and with their batches and labels.
values: the value of scib-metrics, the estimate, and the share of 200 draws whose interval contains that value.
speed: CPU seconds of both sides in turn, once. The neighbour search is listed separately: the same exact search on
both sides, for 90 neighbours in scib-metrics and for 50 here.
alone: CPU seconds and peak memory of this workflow, where scib-metrics would take too long.
CPU seconds depend little on other work on the machine.
"""

import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from sklearn.decomposition import PCA

from refatlas.evaluate.integration import full_functions
from refatlas.evaluate.sampled_integration import SampledMetrics
from refatlas.neighbors.exact_index import nearest_neighbors

METRICS = (
    "isolated_labels",
    "silhouette_label",
    "clisi",
    "ilisi",
    "kbet",
    "bras",
    "pcr_comparison",
    "graph_connectivity",
    "kmeans_nmi",
    "kmeans_ari",
)
THREADS, LIMIT, REPEATS = 2, 0.01, 200


def resampled(data: Path, n_cells: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return latent space (15 components, 0.7 of the batches' means taken off), PCA, labels and
    batches of `n_cells` cells drawn with replacement.
    """
    counts, random = ad.read_h5ad(data / "kang_ctrl_8donors_1287g.h5ad"), np.random.default_rng(0)
    x = counts.X.toarray()
    pca = PCA(20, random_state=0).fit_transform(np.log1p(x / x.sum(axis=1, keepdims=True) * 1e4)).astype(np.float32)
    spread = nearest_neighbors(pca, pca, 6, THREADS)[1][:, 1:].mean(axis=1) / np.sqrt(2 * pca.shape[1])
    rows = random.integers(0, len(pca), n_cells)
    drawn = (pca[rows] + random.normal(size=(n_cells, 20)) * spread[rows, None]).astype(np.float32)
    labels, batches = (counts.obs[column].astype(str).to_numpy()[rows] for column in ("cell_type", "batch"))
    means = pd.DataFrame(drawn).groupby(batches).transform("mean").to_numpy(np.float32)
    return (drawn - 0.7 * means)[:, :15], drawn, labels, batches


def timed(function: Callable):
    """Return what a function gives, and its CPU seconds, those of all threads."""
    started = time.process_time()
    return function(), time.process_time() - started


def values(arrays: tuple, metrics: list[str]) -> pd.DataFrame:
    """Return the full value of each metric, the estimate with the first seed, and the share of
    intervals that hold the full value.
    """
    full, sampled, rows = full_functions(*arrays, THREADS), SampledMetrics(*arrays, LIMIT, THREADS), []
    for metric in metrics:
        value, found = float(full[metric]()), []
        for sampled.seed in range(REPEATS):
            found.append(getattr(sampled, metric)())
        half = max(e.half_width for e in found)
        covered = np.mean([abs(e.value - value) <= max(e.half_width, 1e-5) for e in found])
        rows.append(
            {
                "metric": metric,
                "scib-metrics": value,
                "refatlas": found[0].value,
                "largest half-width": half,
                "cells scored": found[0].n_sampled,
                "covered": covered,
            }
        )
        print(rows[-1], file=sys.stderr, flush=True)
    return pd.DataFrame(rows)


def speed(arrays: tuple, metrics: list[str]) -> pd.DataFrame:
    """Return CPU seconds of both sides for each metric, and for the search for neighbours."""
    sampled = SampledMetrics(*arrays, LIMIT, THREADS)
    full, seconds = timed(lambda: full_functions(*arrays, THREADS))
    rows = [{"metric": "neighbours", "scib-metrics": seconds, "refatlas": timed(lambda: sampled.graph)[1]}]
    for metric in metrics:
        value, full_seconds = timed(full[metric])
        estimate, own_seconds = timed(getattr(sampled, metric))
        rows.append(
            {
                "metric": metric,
                "scib-metrics": full_seconds,
                "refatlas": own_seconds,
                "difference": estimate.value - float(value),
                "half-width": estimate.half_width,
            }
        )
        print(rows[-1], file=sys.stderr, flush=True)
    sums = pd.DataFrame(rows)[["scib-metrics", "refatlas"]].sum()
    table = pd.DataFrame([*rows, {"metric": "sum", **sums}])
    return table.assign(ratio=table["scib-metrics"] / table["refatlas"])


def alone(arrays: tuple, metrics: list[str]) -> pd.DataFrame:
    """Return the CPU seconds, value and half-width of each metric, and the process's peak memory so
    far.
    """
    sampled, rows = SampledMetrics(*arrays, LIMIT, THREADS), []
    for metric in metrics:
        estimate, seconds = timed(getattr(sampled, metric))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        rows.append(
            {
                "metric": metric,
                "seconds": seconds,
                "value": estimate.value,
                "half-width": estimate.half_width,
                "cells scored": estimate.n_sampled,
                "peak GB": peak,
            }
        )
        print(rows[-1], file=sys.stderr, flush=True)
    return pd.DataFrame(rows)


def main() -> None:
    if len(sys.argv) < 4 or sys.argv[3] not in ("values", "speed", "alone"):
        sys.exit(__doc__)
    arrays = resampled(Path(sys.argv[1]), int(sys.argv[2]))
    table = {"values": values, "speed": speed, "alone": alone}[sys.argv[3]](arrays, sys.argv[4:] or list(METRICS))
    print(
        f"{int(sys.argv[2]):,} cells; scib-metrics {version('scib-metrics')}, jax {version('jax')}, scikit-learn"
        f" {version('scikit-learn')}; {platform.machine()}, {os.cpu_count()} cores, no GPU used"
    )
    print(table.to_markdown(index=False, floatfmt=".4g"))


if __name__ == "__main__":
    main()
