"""One UMAP of a model's latent space of the reference, and figures of it and of how training went.

in:  training.csv and latent.parquet of the reference; cells.parquet of the datasets
out: umap.parquet, training.png, umap.png
"""

import pandas as pd

from refatlas.io.atomic import write_table
from refatlas.io.cell_tables import read_cells
from refatlas.jobs.inputs import by_name
from refatlas.jobs.run import run_job
from refatlas.plots import save_figure
from refatlas.report.reference_figures import plot_reference_umap, plot_training
from refatlas.report.umap import reference_umap


def main(smk) -> None:
    model, latent = smk.wildcards.model, pd.read_parquet(smk.input.latent)
    umap = reference_umap(latent, smk.params.settings, smk.params.seed, smk.threads)
    cells = read_cells(list(by_name(smk.input, "dataset_cells").values()), ["batch", "label"]).loc[umap.index]
    write_table(umap, smk.output.umap)
    save_figure(plot_training(pd.read_csv(smk.input.training), model), smk.output.training_figure)
    save_figure(plot_reference_umap(umap, cells, model), smk.output.umap_figure)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
