"""One UMAP of a model's reference latent space.

in:  latent.parquet of the reference
out: umap.parquet
"""

import numpy as np
import pandas as pd

from refatlas.jobs import run_job, write_table
from refatlas.knn import nearest


def lay_out(latent: np.ndarray, settings: dict, seed: int, threads: int = 1) -> np.ndarray:
    """Return the UMAP (McInnes 2018) of a latent space, shape (n_cells, 2), from exact neighbours; `settings` is the config's `umap`."""
    from umap import UMAP

    settings = {**settings, "n_neighbors": min(settings["n_neighbors"], len(latent))}
    neighbors = nearest(latent, latent, settings["n_neighbors"], threads)
    # Too few cells for a spectral start.
    start = "spectral" if len(latent) > 50 else "random"
    umap = UMAP(**settings, random_state=seed, n_jobs=1, init=start, precomputed_knn=(*neighbors, None), force_approximation_algorithm=True)
    return umap.fit_transform(latent)


def main(smk) -> None:
    latent, settings = pd.read_parquet(smk.input.latent), smk.params.settings
    places = lay_out(latent.to_numpy(), settings, smk.params.seed, smk.threads)
    write_table(pd.DataFrame(places, index=latent.index, columns=["umap_1", "umap_2"]), smk.output.umap)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
