"""Learns on held-out cells how far each source of labels is to be trusted, and how one label is
made of all.

in:  labels.parquet, distance.parquet and fit.parquet of each model, the baseline's latent.parquet,
     and cells.parquet (with the known labels), of every fold's held-out cells; cells.parquet of the
     datasets
out: calibration.json, and held_out.npz, the cells that it was learned on; of each fold,
     delivered.parquet and sources.parquet as for a query, by what was learned on the other held-out
     batches
"""

from refatlas.io.atomic import write_json, write_table
from refatlas.io.cell_tables import read_cells
from refatlas.jobs.inputs import by_name, by_name_and_kind, by_two_names
from refatlas.jobs.run import run_job
from refatlas.transfer.cross_fitting import calibrate


def main(smk) -> None:
    i, p = smk.input, smk.params
    kinds = {kind: by_two_names(i, kind) for kind in ("labels", "distance", "fit")}
    models = {
        fold: {model: {kind: kinds[kind][fold][model] for kind in kinds} for model in files}
        for fold, files in kinds["labels"].items()
    }
    reference = read_cells(list(by_name(i, "dataset_cells").values()), named=False)
    positions, cells = by_name(i, "positions"), by_name(i, "cells")
    found = calibrate(models, positions, cells, reference, p.folds, p.source, p.alpha, p.novel)
    for fold, files in by_name_and_kind(smk.output, "delivered", "sources").items():
        write_table(found.delivered[fold], files["delivered"])
        write_table(found.sources[fold], files["sources"])
    found.cells.save(smk.output.held_out)
    write_json(found.parameters, smk.output.calibration)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
