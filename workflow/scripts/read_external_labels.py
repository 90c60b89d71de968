"""Reads labels of cells that were made elsewhere, ahead of all training.

in:  a dataset's or query's files, and its cells.parquet
out: given.parquet: one row per cell, with label, or with the probability of each label, as in the file
"""

import pandas as pd

from refatlas.io.atomic import write_table
from refatlas.io.fingerprints import fingerprints, require_unchanged
from refatlas.io.raw_counts import open_row
from refatlas.jobs.run import run_job
from refatlas.prepare.external_labels import read_external_labels
from refatlas.remote.fetched import data_files


def main(smk) -> None:
    p = smk.params
    before = fingerprints(data_files(smk.input.files))
    cells = pd.read_parquet(smk.input.cells, columns=["barcode"]).index
    where = f"config: external_labels: {smk.wildcards.external}"
    found = read_external_labels(open_row(p.row), p.settings, p.unlabeled, cells, where)
    require_unchanged(before)
    write_table(found, smk.output.given)
    print(f"{p.row['path']}: {len(found)} cells, {smk.wildcards.external}: {', '.join(found.columns[:20])}")


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
