"""Measures how the cells that a fold holds out compare with the reference that they were mapped
onto, as assess_query does for a query.

in:  counts.h5ad of the fold's reference and of the held-out cells; latent spaces, fit.parquet and
     mapping.json of each model; the baseline's model.pt; cells.parquet and delivered.parquet of the
     held-out cells
out: measures.json: the measures of all cells, and of each batch as if it were a query. Cells whose
     label the fold's reference lacks take no part.
"""

import pandas as pd

from refatlas.evaluate.query_measures import measure, without_unseen
from refatlas.io.atomic import write_json
from refatlas.jobs.inputs import by_name_and_kind
from refatlas.jobs.run import run_job
from refatlas.transfer.delivery import read_delivered


def main(smk) -> None:
    i = smk.input
    models = by_name_and_kind(i, "fit", "mapping", "latent", "reference_latent")
    cells, delivered = without_unseen(pd.read_parquet(i.cells), i.reference), read_delivered(i.delivered)
    measures = measure(i.counts, i.reference, cells, delivered, models, i.baseline, smk.params.seed)
    write_json(measures, smk.output.measures)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
