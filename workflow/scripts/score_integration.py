"""scib metrics (Luecken 2022, by scib-metrics) of one model's reference latent space.

in:  latent.parquet of the model, and of the baseline (the unintegrated PCA); cells.parquet of the datasets
out: integration.csv: a row a metric: kind, value, half the width of its interval, or why it failed;
with the version, the cells and the k behind it

Small references are scored by scib-metrics itself; how large ones are, on all cells and their
graph, says refatlas/sampled_metrics.py.
"""

from importlib.metadata import version

import pandas as pd

from refatlas.evaluate.integration import K, add_totals, labelled, scores
from refatlas.io.atomic import write_table
from refatlas.io.cell_tables import read_cells


def main(smk) -> None:
    latent, unintegrated = pd.read_parquet(smk.input.latent), pd.read_parquet(smk.input.unintegrated)
    cells = labelled(read_cells(smk.input.cells, ["batch", "label"]).loc[latent.index])
    arrays = [frame.loc[cells.index].to_numpy() for frame in (latent, unintegrated)]
    table = add_totals(scores(*arrays, cells, smk.params.settings, smk.params.seed, smk.threads))
    table["n_sampled"] = table["n_sampled"].fillna(len(cells)).astype(int)
    table.insert(0, "model", smk.wildcards.model)
    table["n_cells"], table["k"], table["scib_metrics"] = len(cells), K, version("scib-metrics")
    write_table(table, smk.output.scores)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
