"""Clusters by stock tools: PCA, Harmony and Leiden on the six donors that measurements/annotation.py takes.

usage: PEERS/bin/python measurements/harmony_clusters.py DATA
    DATA    folder with kang_ctrl_8donors_1287g.h5ad

PEERS is an environment with envs/peers.txt. scanpy's steps with their defaults: total counts of 10,000, log1p, 50
principal components of scaled genes, Harmony by donor, 15 neighbours, Leiden by igraph. Prints ARI and NMI with the
author's labels at the resolutions of the workflow, with and without Harmony.
"""

import sys

import anndata as ad
import harmonypy
import numpy as np
import pandas as pd
import scanpy as sc
from scipy.sparse import csr_matrix
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.neighbors import KNeighborsTransformer

KANG, QUERIES = "kang_ctrl_8donors_1287g.h5ad", ("1039", "107")
RESOLUTIONS, K, SEED = (0.25, 0.5, 1.0, 2.0), 15, 0


class MatrixTransformer(KNeighborsTransformer):
    """Exact neighbours as the csr_matrix that scanpy's own search does not give with newer scipy."""

    def fit_transform(self, X, y=None):
        return csr_matrix(super().fit_transform(X, y))


def embed(data: str) -> ad.AnnData:
    """Return the reference's cells with `pca` and `harmony` in obsm."""
    cells = ad.read_h5ad(f"{data}/{KANG}")
    cells = cells[~cells.obs["batch"].astype(str).isin(QUERIES).to_numpy()].copy()
    cells.X = cells.X.astype(np.float32)
    sc.pp.normalize_total(cells, target_sum=1e4)
    sc.pp.log1p(cells)
    sc.pp.scale(cells, max_value=10)
    sc.pp.pca(cells, n_comps=50, random_state=SEED)
    cells.obsm["pca"] = cells.obsm["X_pca"]
    cells.obsm["harmony"] = harmonypy.run_harmony(cells.obsm["pca"], cells.obs, ["batch"], random_state=SEED).Z_corr
    return cells


def main(data: str) -> None:
    """Print the table that the docstring names."""
    cells = embed(data)
    rows = []
    for space in ("pca", "harmony"):
        search = MatrixTransformer(n_neighbors=K, mode="distance")
        sc.pp.neighbors(cells, n_neighbors=K, use_rep=space, transformer=search, random_state=SEED)
        for resolution in RESOLUTIONS:
            sc.tl.leiden(cells, resolution, flavor="igraph", n_iterations=2, directed=False, random_state=SEED)
            codes, truth = cells.obs["leiden"], cells.obs["cell_type"]
            scores = {"ARI": adjusted_rand_score(truth, codes), "NMI": normalized_mutual_info_score(truth, codes)}
            rows.append({"space": space, "resolution": resolution, "clusters": codes.nunique(), **scores})
    print(pd.DataFrame(rows).round(3).to_string(index=False))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
