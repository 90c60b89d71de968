"""Places a query's cells in the reference's UMAP, which does not move: each at the weighted mean of its nearest reference cells.

in:  latent.parquet of reference and query; umap.parquet of the reference
out: umap.parquet of the query
"""

import numpy as np
import pandas as pd

from refatlas.cells import read_values
from refatlas.jobs import run_job, write_table
from refatlas.knn import nearest, vote_weights


def place(reference: np.ndarray, umap: np.ndarray, query: np.ndarray, k: int, threads: int = 1) -> np.ndarray:
    """Return the query's places, shape (n_query, 2): the mean of the k nearest reference cells' places.

    Only neighbours on the same island of the map count: the quarter of them that lies nearest to the nearest neighbour's place.
    A mean over several islands would lie in the void between them.
    """
    neighbors, distances = nearest(reference, query, k, threads)
    places = umap[neighbors]
    apart = np.linalg.norm(places - places[:, :1], axis=2)
    weights = vote_weights(distances) * (apart <= np.quantile(apart, 0.25, axis=1, keepdims=True))
    return (places * weights[:, :, None]).sum(axis=1) / weights.sum(axis=1)[:, None]


def main(smk) -> None:
    query = pd.read_parquet(smk.input.query)
    # Both of the reference's tables are in one order: the map is made of the latent space.
    places = place(read_values(smk.input.reference), read_values(smk.input.umap), query.to_numpy(), smk.params.k, smk.threads)
    write_table(pd.DataFrame(places.astype(np.float32), index=query.index, columns=["umap_1", "umap_2"]), smk.output.umap)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
