"""Reads the T-cell receptors of cells, ahead of all training.

in:  a dataset's or query's files, its tables of chains if the sheet names any, and its cells.parquet; of a query, the
     receptors of the datasets, whose form must be the same
out: receptors.parquet: one row per cell, with the CDR3s of its primary chains and its status
"""

import pandas as pd

from refatlas.io.atomic import write_table
from refatlas.io.fingerprints import fingerprints, require_unchanged
from refatlas.io.raw_counts import open_row
from refatlas.jobs.inputs import by_name
from refatlas.jobs.run import run_job
from refatlas.receptors.reading import read_receptors
from refatlas.receptors.sequences import require_same_form, with_cysteine
from refatlas.remote.fetched import data_files


def main(smk) -> None:
    p, known = smk.params, by_name(smk.input, "known")
    before = fingerprints([*data_files(smk.input.files), *smk.input.get("tables", [])])
    cells = pd.read_parquet(smk.input.cells, columns=["barcode", "batch"])
    found = read_receptors(cells, p.tables, p.settings, lambda: open_row(p.row), p.where)
    shares = {name: with_cysteine(pd.read_parquet(path, columns=["alpha", "beta"])) for name, path in known.items()}
    require_same_form({**shares, p.where: with_cysteine(found)})
    require_unchanged(before)
    write_table(found, smk.output.receptors)
    print(f"{p.where}: {found['status'].value_counts().to_dict()}")


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
