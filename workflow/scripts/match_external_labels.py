"""Makes votes for labels of the reference out of labels that were made elsewhere.

in:  given.parquet of the query, or of the datasets whose cells a fold holds out; the query's or held-out cells'
     cells.parquet; cells.parquet of the datasets, with the labels of the reference
out: labels.parquet with the source "external"; votes.json: how many cells vote, and why others do not
"""

import pandas as pd

from refatlas.io.atomic import write_json, write_table
from refatlas.io.cell_tables import read_cells
from refatlas.jobs.inputs import by_name
from refatlas.jobs.run import run_job
from refatlas.transfer.external_labels import read_given, report_votes, votes


def main(smk) -> None:
    i, where = smk.input, f"config: external_labels: {smk.wildcards.external}: {smk.wildcards.query}"
    reference = read_cells(list(by_name(i, "dataset_cells").values()), ["keep", "label"], named=False)
    known = sorted(reference.loc[reference["keep"], "label"].dropna().unique())
    given = read_given(by_name(i, "given").values(), pd.read_parquet(i.cells, columns=["batch"]).index)
    found = votes(given, known, smk.params.settings, where)
    report_votes(found.facts, where)
    write_table(found.table, smk.output.labels)
    write_json(found.facts, smk.output.votes)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
