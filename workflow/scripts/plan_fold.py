"""Decides which cells of the reference a fold holds out, and which labels it hides.

in:  cells.parquet of the datasets
out: fold.parquet: one row a kept cell: role ("train", "held_out", "left_out"); fold.json: the fold
in words
"""

from refatlas.errors import listed
from refatlas.io.atomic import write_json, write_table
from refatlas.io.cell_tables import read_cells
from refatlas.prepare.folds import plan, require_proteins


def main(smk) -> None:
    cells = read_cells(smk.input.cells)
    roles, words = plan(cells[cells["keep"]], smk.params.fold, smk.params.unit, smk.params.seed)
    if smk.params.needs_proteins:
        require_proteins(cells, roles, words["held_out"])
    print(
        "held out:"
        f" {listed(words['held_out']) if not words['simulated'] else 'a third of the cells, as simulated batches'};"
        f" hidden: {words['hidden'] or 'none'}; cells: {words['n_cells']}"
    )
    write_table(roles.to_frame(), smk.output.cells)
    write_json(words, smk.output.fold)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
