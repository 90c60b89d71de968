"""Clusters of a latent space and their stability: time and peak memory, beside scanpy's neighbours and Leiden.

usage: .venv/bin/python measurements/clustering.py CELLS [SEPARATION]

CELLS cells are drawn from 40 Gaussian clusters in 30 dimensions, whose centers have SEPARATION (2) times the standard
deviation of the cells. Each side runs once in a process of its own, at the resolutions of the default configuration:
seconds of the neighbour search with the clusters of all resolutions, of the stability, and the largest resident memory
of the process. A small run in the same process comes first, so that the seconds hold no compilation. scanpy runs for up
to 100,000 cells, with its default neighbours, and Leiden by igraph. Also the adjusted Rand index with the Gaussian
clusters.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pandas as pd

CLUSTERS, DIMENSIONS, SEED, THREADS = 40, 30, 0, 2
RESOLUTIONS, K, REPEATS = (0.25, 0.5, 1.0, 2.0), 15, 10
# Beyond, scanpy would take too long.
MOST_SCANPY = 100_000
WARM_UP = 2_000


def gaussian_clusters(n_cells: int, separation: float) -> tuple[np.ndarray, np.ndarray]:
    """Return cells, shape (n_cells, DIMENSIONS), and the cluster of each."""
    generator = np.random.default_rng(SEED)
    centers = (generator.normal(size=(CLUSTERS, DIMENSIONS)) * separation).astype(np.float32)
    truth = generator.integers(0, CLUSTERS, n_cells)
    cells = generator.normal(size=(n_cells, DIMENSIONS)).astype(np.float32)
    cells += centers[truth]
    return cells, truth


@contextmanager
def timed(found: dict, name: str) -> Iterator[None]:
    """Add the wall-clock and the CPU seconds of the block to `found`."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    found[f"{name}, s"] = time.perf_counter() - wall
    found[f"{name}, CPU s"] = time.process_time() - cpu


def of_refatlas(cells: np.ndarray, found: dict) -> dict[float, np.ndarray]:
    """Cluster as the rule does, and measure the stability."""
    from refatlas.annotate.cluster_stability import stability
    from refatlas.annotate.clustering import cluster_cells

    with timed(found, "clusters"):
        clusters = cluster_cells(cells, RESOLUTIONS, K, SEED, THREADS)
    found["memory of clusters, GB"] = peak_memory()
    with timed(found, "stability"):
        summary, _ = stability(cells, clusters, K, REPEATS, SEED, THREADS)
    found["suggested"] = str(summary.loc[summary["suggested"], "resolution"].iloc[0])
    return clusters


def of_scanpy(cells: np.ndarray, found: dict) -> dict[float, np.ndarray]:
    """Search neighbours and cluster by scanpy."""
    import anndata as ad
    import scanpy as sc
    from pynndescent import PyNNDescentTransformer
    from scipy.sparse import csr_matrix

    class MatrixTransformer(PyNNDescentTransformer):
        """scanpy's search, which fails with newer scipy: it is given a csr_array and calls methods of csr_matrix."""

        def fit_transform(self, X, y=None, **settings):
            return csr_matrix(super().fit_transform(X, y, **settings))

    # The settings that scanpy takes from umap-learn.
    n_trees = min(64, 5 + round(len(cells) ** 0.5 / 20))
    n_iters = max(5, round(np.log2(len(cells))))
    search = MatrixTransformer(n_neighbors=K, n_trees=n_trees, n_iters=n_iters, random_state=SEED)
    adata = ad.AnnData(obsm={"latent": cells}, obs=pd.DataFrame(index=np.arange(len(cells)).astype(str)))
    clusters = {}
    with timed(found, "clusters"):
        sc.pp.neighbors(adata, use_rep="latent", transformer=search)
        for r in RESOLUTIONS:
            sc.tl.leiden(adata, r, flavor="igraph", n_iterations=2, directed=False, random_state=SEED)
            clusters[r] = adata.obs["leiden"].cat.codes.to_numpy()
    return clusters


def peak_memory() -> float:
    """Return the largest resident memory of this process so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def measure(side: str, n_cells: int, separation: float) -> dict:
    """Return the figures of one side, in this process."""
    from sklearn.metrics import adjusted_rand_score

    run = {"refatlas": of_refatlas, "scanpy": of_scanpy}[side]
    run(gaussian_clusters(WARM_UP, separation)[0], {})
    cells, truth = gaussian_clusters(n_cells, separation)
    found: dict = {}
    clusters = run(cells, found)
    found["memory, GB"] = peak_memory()
    for r, codes in clusters.items():
        found[f"clusters at {r:g}"] = len(np.unique(codes))
        found[f"ARI at {r:g}"] = adjusted_rand_score(truth, codes)
    return found


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    if sys.argv[1] == "side":
        print(json.dumps(measure(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))))
        return
    n_cells, separation, columns = int(sys.argv[1]), (sys.argv[2:] or ["2"])[0], {}
    for side in ("refatlas", "scanpy") if n_cells <= MOST_SCANPY else ("refatlas",):
        command = [sys.executable, __file__, "side", side, str(n_cells), separation]
        run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        columns[side] = json.loads(run.stdout.splitlines()[-1])
    print(f"{n_cells:,} cells")
    print(pd.DataFrame(columns).to_markdown(floatfmt=".3g"))


if __name__ == "__main__":
    main()
