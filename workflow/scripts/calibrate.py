"""Learns on held-out cells how far each source of labels is to be trusted, how one label is made of
all, what tells an unknown type from a known one, and how well labels usually agree.

in:  labels.parquet of each model, the matched baseline's labels, measures and agreement, the
     measures of hidden labels, and cells.parquet (with the known labels), of every fold's held-out
     cells; cells.parquet of the datasets
out: calibration.json; of each fold, delivered.parquet and sources.parquet as for a query, by what
     was learned on the other folds
"""

from refatlas.io.atomic import write_json, write_table
from refatlas.io.cell_tables import read_cells
from refatlas.jobs.inputs import by_name, by_name_and_kind, by_two_names
from refatlas.jobs.run import run_job
from refatlas.transfer.cross_fitting import calibrate, read_splits


def main(smk) -> None:
    i, p = smk.input, smk.params
    reference = read_cells(list(by_name(i, "dataset_cells").values()), named=False)
    files = by_name_and_kind(i, "matched_labels", "matched_measures", "matched_agreement", "hidden", "cells")
    splits = read_splits(by_two_names(i, "labels"), files, reference, by_two_names(i, "external"))
    found = calibrate(splits, p.folds, reference, p.source, p.alpha, p.novel)
    for fold, paths in by_name_and_kind(smk.output, "delivered", "sources").items():
        write_table(found.delivered[fold], paths["delivered"])
        write_table(found.sources[fold], paths["sources"])
    write_json(found.parameters, smk.output.calibration)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
