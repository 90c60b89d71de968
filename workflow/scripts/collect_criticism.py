"""Collects the posterior predictive checks of all references and held-out cells, which queries are compared with.

in:  criticism.csv of the atlas, of the folds and of their held-out cells, by each model
out: criticism.csv
"""

from refatlas.evaluate.tables import stack_tables
from refatlas.io.atomic import write_table
from refatlas.jobs.run import run_job


def main(smk) -> None:
    table = stack_tables(smk.input.tables)
    write_table(table, smk.output.table)
    print(f"{len(table)} rows")


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
