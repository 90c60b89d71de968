"""One UMAP of a model's reference latent space.

in:  latent.parquet of the reference
out: umap.parquet
"""

import pandas as pd

from refatlas.io.atomic import write_table
from refatlas.report.umap import umap_layout


def main(smk) -> None:
    latent, settings = pd.read_parquet(smk.input.latent), smk.params.settings
    places = umap_layout(latent.to_numpy(), settings, smk.params.seed, smk.threads)
    write_table(pd.DataFrame(places, index=latent.index, columns=["umap_1", "umap_2"]), smk.output.umap)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
