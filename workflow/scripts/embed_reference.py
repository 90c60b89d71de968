"""One UMAP of a model's latent space of the reference, and a figure of how training went.

in:  training.csv and latent.parquet of the reference
out: umap.parquet, training.png
"""

import pandas as pd

from refatlas.io.atomic import write_table
from refatlas.jobs.run import run_job
from refatlas.plots import save_figure
from refatlas.report.reference_figures import plot_training
from refatlas.report.umap import reference_umap


def main(smk) -> None:
    model, latent = smk.wildcards.model, pd.read_parquet(smk.input.latent)
    umap = reference_umap(latent, smk.params.settings, smk.params.seed, smk.threads)
    write_table(umap, smk.output.umap)
    save_figure(plot_training(pd.read_csv(smk.input.training), model), smk.output.training_figure)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
