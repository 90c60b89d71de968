"""One UMAP of a model's reference latent space.

in:  latent.parquet of the reference
out: umap.parquet
"""

import pandas as pd

from refatlas.jobs import run_job, write_table


def main(smk) -> None:
    from umap import UMAP

    latent = pd.read_parquet(smk.input.latent)
    settings = smk.params.settings
    n_neighbors = min(settings["n_neighbors"], len(latent) - 1)
    # Too few cells for a spectral start.
    start = "spectral" if len(latent) > 50 else "random"
    umap = UMAP(n_neighbors=n_neighbors, min_dist=settings["min_dist"], random_state=smk.params.seed, n_jobs=1, init=start).fit_transform(latent.to_numpy())
    write_table(pd.DataFrame(umap, index=latent.index, columns=["umap_1", "umap_2"]), smk.output.umap)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
