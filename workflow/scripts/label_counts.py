"""Writes the counts of a reference with the labels of the annotation and the label map.

in:  counts.h5ad; labelled_cells.parquet of the datasets
out: labelled_counts.h5ad, which links to the counts and has the labels in its own obs
"""

from refatlas.io.cell_tables import read_cells
from refatlas.io.model_counts import write_labelled_link
from refatlas.jobs.inputs import by_name
from refatlas.jobs.run import run_job


def main(smk) -> None:
    cells = read_cells(list(by_name(smk.input, "dataset_cells").values()))
    n_labelled = write_labelled_link(smk.input.counts, cells, smk.output.counts)
    print(f"{n_labelled} cells with a label")


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
