"""Figures of one model's reference: how training went, and its UMAP by batch and by label.

in:  training.csv, umap.parquet, cells.parquet of the datasets
out: training.png, umap.png
"""

import pandas as pd

from refatlas.io.cell_tables import read_cells
from refatlas.plots import save
from refatlas.report.reference_figures import draw_training, draw_umap


def main(smk) -> None:
    umap = pd.read_parquet(smk.input.umap)
    cells = read_cells(smk.input.cells, ["batch", "label"]).loc[umap.index]
    save(draw_training(pd.read_csv(smk.input.training), smk.wildcards.model), smk.output.training)
    save(draw_umap(umap, cells, smk.wildcards.model), smk.output.umap)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
