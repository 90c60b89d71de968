"""The nearest-neighbour graph of a large reference by NN-descent against the exact one: time, recall, and the effect
on scores and on the UMAP.

usage: .venv/bin/python measurements/neighbor_graph.py DATA CELLS [--alone]

DATA is the folder of the real data. Cells are drawn from the Kang data as in measurements/metrics.py, once in 15
dimensions as there, and once in 30, half of which are noise, as in principal components of weakly structured data.
CPU seconds of one thread, measured once, without compilation. With --alone, exact neighbours are computed only for the
1,000 cells that the recall is measured on.
"""

import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
from sklearn.manifold import trustworthiness

from metrics import resampled, timed
from refatlas.evaluate.sampled_integration import SampledMetrics
from refatlas.neighbors import graph
from refatlas.neighbors.exact_index import nearest_neighbors
from refatlas.report import umap as umap_module
from refatlas.report.umap import umap_layout

UMAP = {"n_neighbors": 15, "min_dist": 0.3, "n_epochs": None}
COMPARED, JUDGED, LIMIT = 1_000, 5_000, 0.01


def spaces(data: Path, n_cells: int) -> dict[str, tuple]:
    """Return latent space, unintegrated space, labels and batches by the number of dimensions."""
    latent, *others = resampled(data, n_cells)
    noise = np.random.default_rng(1).normal(scale=latent[:, -1].std(), size=latent.shape).astype(np.float32)
    return {"15": (latent, *others), "30, half noise": (np.hstack([latent, noise]), *others)}


def side(arrays: tuple, exact: bool) -> dict:
    """Return CPU seconds, scores and the UMAP of one way to find neighbours."""
    limit = np.inf if exact else 0
    with patch.object(graph, "EXACT_GRAPH", limit), patch.object(umap_module, "EXACT_GRAPH", limit):
        found = {f"graph, k {k}": timed(lambda k=k: graph.neighbor_graph(arrays[0], k, 0)) for k in (15, 50)}
        umap, seconds = timed(lambda: umap_layout(arrays[0], UMAP, 0))
        metrics = SampledMetrics(*arrays, LIMIT)
        metrics.graph = found["graph, k 50"][0]
        scores = {"graph_connectivity": metrics.graph_connectivity().value, "kbet": metrics.kbet().value}
    judged = np.random.default_rng(0).choice(len(umap), min(JUDGED, len(umap)), replace=False)
    seconds = {f"{name}, s": spent for name, (_, spent) in found.items()} | {"UMAP, s": seconds}
    quality = {"trustworthiness of the UMAP": trustworthiness(arrays[0][judged], umap[judged], n_neighbors=15)}
    return seconds | scores | quality | {"graphs": {name: neighbors for name, ((neighbors, _), _) in found.items()}}


def recall(latent: np.ndarray, neighbors: np.ndarray) -> float:
    """Return the share of the exact nearest cells that are found, on some cells."""
    rows = np.random.default_rng(0).choice(len(latent), COMPARED, replace=False)
    exact = nearest_neighbors(latent, latent[rows], neighbors.shape[1])[0]
    return float(
        np.mean([len(np.intersect1d(*pair)) for pair in zip(exact, neighbors[rows], strict=True)]) / neighbors.shape[1]
    )


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    data, n_cells, alone = Path(sys.argv[1]), int(sys.argv[2]), "--alone" in sys.argv
    columns = {}
    side(spaces(data, 2000)["15"], exact=False)  # compiles
    for name, arrays in spaces(data, n_cells).items():
        for way in ("NN-descent",) if alone else ("exact", "NN-descent"):
            found = side(arrays, way == "exact")
            found |= {
                f"recall, {k.removeprefix('graph, ')}": recall(arrays[0], neighbors)
                for k, neighbors in found.pop("graphs").items()
            }
            columns[f"{name}: {way}"] = found
            print(columns, file=sys.stderr, flush=True)
    print(f"{n_cells:,} cells")
    print(pd.DataFrame(columns).to_markdown(floatfmt=".4g"))


if __name__ == "__main__":
    main()
