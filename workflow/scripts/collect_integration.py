"""Gathers the integration scores of all models in one table.

in:  integration.csv of each model
out: integration.csv
"""

from refatlas.evaluate.tables import stack_tables
from refatlas.io.atomic import write_table
from refatlas.jobs.inputs import by_name
from refatlas.jobs.run import run_job


def main(smk) -> None:
    write_table(stack_tables(by_name(smk.input, "scores").values()), smk.output.table)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
