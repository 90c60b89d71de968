"""Decides which cells of the reference a fold holds out, and which labels it hides.

in:  cells.parquet of the datasets
out: fold.parquet: one row per kept cell: role ("train", "held_out", "left_out"); fold.json: a
     summary of the fold
"""

from refatlas.errors import listed
from refatlas.io.atomic import write_json, write_table
from refatlas.io.cell_tables import read_cells
from refatlas.jobs.inputs import by_name
from refatlas.jobs.run import run_job
from refatlas.prepare.folds import few_training_cells, plan_fold, require_training_proteins


def main(smk) -> None:
    cells = read_cells(list(by_name(smk.input, "dataset_cells").values()))
    follow = smk.params.get("labels_follow", False)
    roles, summary = plan_fold(cells[cells["keep"]], smk.params.fold, smk.params.unit, smk.params.seed, follow)
    if smk.params.needs_proteins:
        require_training_proteins(cells, roles, summary["held_out"])
    held = "a third of the cells, as simulated batches" if summary["simulated"] else listed(summary["held_out"])
    print(f"held out: {held}; hidden: {summary['hidden'] or 'none'}; cells: {summary['n_cells']}")
    if warning := few_training_cells(summary):
        print(warning)
    write_table(roles.to_frame(), smk.output.cells)
    write_json(summary, smk.output.fold)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
