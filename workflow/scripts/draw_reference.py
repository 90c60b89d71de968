"""Draws the UMAP of one model's reference, by batch, by label and by cluster.

in:  umap.parquet; cells of the datasets; clusters.parquet and cluster_stability.csv, if there are clusters
out: umap.png
"""

import pandas as pd

from refatlas.io.cell_tables import read_cells, suggested_clusters
from refatlas.jobs.inputs import by_name
from refatlas.jobs.run import run_job
from refatlas.plots import save_figure
from refatlas.report.reference_figures import plot_reference_umap, with_clusters


def main(smk) -> None:
    i, umap = smk.input, pd.read_parquet(smk.input.umap)
    cells = read_cells(list(by_name(i, "dataset_cells").values()), ["batch", "label"]).loc[umap.index]
    if i.get("clusters"):
        cells = with_clusters(cells, suggested_clusters(i.clusters, i.stability))
    save_figure(plot_reference_umap(umap, cells, smk.wildcards.model), smk.output.figure)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
