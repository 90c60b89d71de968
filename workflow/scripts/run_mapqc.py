"""Measures how far a query's cells are from the reference, sample by sample, by mapQC (Dony 2025):
for a query that has controls, which should not be far.

The cells that a fold holds out are all controls: they say how far is usual.

in:  latent spaces of the reference and the query; their cells, of a query with the column control
out: mapqc.parquet (one row a cell of the query: score, filter), mapqc.json (shares of control and
of other cells that are distant, and of each batch's controls)
"""

import numpy as np
import pandas as pd

from refatlas.evaluate.mapqc import MIN_SAMPLES, joined, score, summary
from refatlas.io.atomic import write_json, write_table
from refatlas.io.cell_tables import read_cells


def main(smk) -> None:
    reference, query = pd.read_parquet(smk.input.reference), pd.read_parquet(smk.input.query)
    cells, query_cells = read_cells(smk.input.reference_cells), pd.read_parquet(smk.input.cells)
    n_samples = cells.loc[reference.index, "batch"].nunique()
    if n_samples < MIN_SAMPLES:
        print(f"not measured: mapQC needs {MIN_SAMPLES} batches in the reference to compare with, it has {n_samples}")
        scores, found = (
            pd.DataFrame({"score": np.nan, "filter": "no reference samples"}, index=query.index),
            {
                "control_distant": None,
                "batches": {},
            },
        )
    else:
        scores = score(joined(reference, cells, query, query_cells, smk.params.seed), smk.params.seed)
        query_cells = query_cells.loc[scores.index]
        found = summary(scores, query_cells if "control" in query_cells else query_cells.assign(control=True))
        print(", ".join(f"{name} {value}" for name, value in found.items()))
    write_table(scores, smk.output.scores)
    write_json(found, smk.output.summary)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
