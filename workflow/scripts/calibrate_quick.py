"""Learns on held-out cells how far the matched baseline is to be trusted, before any model is trained.

in:  the matched baseline's labels, measures and agreement, and cells.parquet (with the known
     labels), of each fold's held-out cells; cells.parquet of the datasets
out: calibration.json, as of calibrate, with the sources of the matched baseline alone
"""

from refatlas.io.atomic import write_json
from refatlas.io.cell_tables import read_cells
from refatlas.jobs.inputs import by_name, by_name_and_kind
from refatlas.jobs.run import run_job
from refatlas.transfer.cross_fitting import learn_calibration, read_splits
from refatlas.transfer.evidence import MATCHED


def main(smk) -> None:
    i = smk.input
    reference = read_cells(list(by_name(i, "dataset_cells").values()), named=False)
    files = by_name_and_kind(i, "matched_labels", "matched_measures", "matched_agreement", "cells")
    labels = {fold: {MATCHED: paths["matched_labels"]} for fold, paths in files.items()}
    learned = learn_calibration(read_splits(labels, files, reference), reference, MATCHED, smk.params.alpha)
    write_json(learned, smk.output.calibration)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
