"""Gathers the same table of several models or queries into one.

in:  csv tables with the same columns
out: one csv
"""

import pandas as pd

from refatlas.io.atomic import read_csv, write_table
from refatlas.jobs.run import run_job


def stack(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Return the rows of all tables; those without rows lend only their columns."""
    return pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)


def main(smk) -> None:
    write_table(stack([read_csv(path) for path in smk.input.scores]), smk.output.table)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
