"""Refuses a query whose known labels have no name in common with the reference's, so that nothing could be scored.

in:  cells.parquet of the query and of the datasets
out: known_labels.json: which of the query's labels the reference has, and which it has not
"""

import pandas as pd

from refatlas.errors import listed
from refatlas.evaluate.known_labels import compare_labels
from refatlas.io.atomic import write_json
from refatlas.io.cell_tables import read_cells
from refatlas.jobs.inputs import by_name
from refatlas.jobs.run import run_job


def main(smk) -> None:
    reference = read_cells(list(by_name(smk.input, "dataset_cells").values()), ["label", "keep"], named=False)
    files = [path for path in smk.params.names if path]
    found = compare_labels(smk.wildcards.name, pd.read_parquet(smk.input.cells)["label"], reference, files)
    print(f"in the reference: {listed(found['known'], 30)}; not in it: {listed(found['unknown'], 30)}")
    write_json(found, smk.output.check)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
