"""Measures how far a query's cells are from the reference, sample by sample, by mapQC (Dony 2025),
for a query that has controls, which should not be far.

The cells that a fold holds out are all controls: they tell how far is usual.

in:  latent spaces of the reference and the query; their cells, of a query with the column control
out: mapqc.parquet (one row per cell of the query: score, filter), mapqc.json (shares of control and
     of other cells that are distant, and of each batch's controls)
"""

import pandas as pd

from refatlas.evaluate.mapqc import score_query
from refatlas.io.atomic import write_json, write_table
from refatlas.io.cell_tables import read_cells
from refatlas.jobs.inputs import by_name
from refatlas.jobs.run import run_job


def main(smk) -> None:
    reference, query = pd.read_parquet(smk.input.reference), pd.read_parquet(smk.input.query)
    cells = read_cells(list(by_name(smk.input, "dataset_cells").values()))
    scores, found = score_query(reference, cells, query, pd.read_parquet(smk.input.cells), smk.params.seed)
    write_table(scores, smk.output.scores)
    write_json(found, smk.output.summary)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
