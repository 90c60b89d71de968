"""Draws where the groups of a contrast differ in density.

in:  density.parquet and density.csv; umap.parquet of the model, of the reference and of queries
out: density.png
"""

import pandas as pd

from refatlas.io.atomic import read_csv
from refatlas.jobs.inputs import by_name
from refatlas.jobs.run import run_job
from refatlas.plots import save_figure
from refatlas.report.density_figure import plot_density


def main(smk) -> None:
    i, umaps = smk.input, by_name(smk.input, "umap")
    umap = pd.concat([pd.read_parquet(path) for path in umaps.values()])
    figure = plot_density(pd.read_parquet(i.cells), read_csv(i.labels), umap, smk.params.contrast)
    save_figure(figure, smk.output.figure)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
