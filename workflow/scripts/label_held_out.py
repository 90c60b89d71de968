"""Gives the cells that a fold holds out the labels of the annotation and the label map.

in:  cells.parquet of the held-out cells; labelled_cells.parquet of the datasets
out: labelled_cells.parquet of the held-out cells
"""

import pandas as pd

from refatlas.io.atomic import write_table
from refatlas.io.cell_tables import read_cells, with_labels_of
from refatlas.jobs.inputs import by_name
from refatlas.jobs.run import run_job


def main(smk) -> None:
    cells = read_cells(list(by_name(smk.input, "dataset_cells").values()))
    write_table(with_labels_of(pd.read_parquet(smk.input.cells), cells), smk.output.cells)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
