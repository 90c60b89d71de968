"""One UMAP of a model's reference latent space.

in:  latent.parquet of the reference
out: umap.parquet
"""

import warnings

import numpy as np
import pandas as pd

from refatlas import knn
from refatlas.compiled import keep_umap
from refatlas.jobs import run_job, write_table


def lay_out(latent: np.ndarray, settings: dict, seed: int, threads: int = 1) -> np.ndarray:
    """Return the UMAP (McInnes 2018) of a latent space, shape (n_cells, 2), from neighbours of `knn.neighbor_graph`; `settings` is the config's `umap`."""
    from umap import UMAP

    keep_umap()
    # New cells are placed by embed_query.
    warnings.filterwarnings("ignore", message=r"precomputed_knn\[2\]")
    settings = {**settings, "n_neighbors": min(settings["n_neighbors"], len(latent))}
    neighbors = knn.neighbor_graph(latent, settings["n_neighbors"], seed, threads)
    umap = UMAP(**settings, random_state=seed, n_jobs=1, init=start(len(latent)), precomputed_knn=(*neighbors, None), force_approximation_algorithm=True)
    return umap.fit_transform(latent)


def start(n_cells: int) -> str:
    """Return how UMAP places cells at first: the spectral layout fails for very few, and keeps the square root of their number of vectors of all of them, 8 GB for a million."""
    if n_cells <= 50:
        return "random"
    return "spectral" if n_cells <= knn.EXACT_GRAPH else "pca"


def main(smk) -> None:
    latent, settings = pd.read_parquet(smk.input.latent), smk.params.settings
    places = lay_out(latent.to_numpy(), settings, smk.params.seed, smk.threads)
    write_table(pd.DataFrame(places, index=latent.index, columns=["umap_1", "umap_2"]), smk.output.umap)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
