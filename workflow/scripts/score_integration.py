"""scib metrics (Luecken 2022, by scib-metrics) of one model's latent space of the reference.

Small references are scored by scib-metrics itself; large ones on all cells and their graph, by
refatlas.evaluate.

in:  latent.parquet of the model, and of the baseline (the unintegrated PCA); cells.parquet of the
     datasets
out: integration.csv: one row per metric: kind, value, half the width of its interval, or why it
     failed; with the version, the cells and the k behind it
"""

import pandas as pd

from refatlas.evaluate.integration import integration_table
from refatlas.io.atomic import write_table
from refatlas.io.cell_tables import read_cells
from refatlas.jobs.inputs import by_name
from refatlas.jobs.run import run_job


def main(smk) -> None:
    p, latent, unintegrated = smk.params, pd.read_parquet(smk.input.latent), pd.read_parquet(smk.input.unintegrated)
    cells = read_cells(list(by_name(smk.input, "dataset_cells").values()), ["batch", "label"]).loc[latent.index]
    table = integration_table(latent, unintegrated, cells, p.settings, p.seed, smk.threads)
    table.insert(0, "model", smk.wildcards.model)
    write_table(table, smk.output.scores)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
