"""Checks a user's tree of labels against the labels of the reference, ahead of training.

in:  the user's Newick file; cells.parquet of the datasets
out: hierarchy.nwk: the same tree, every name in quotes
"""

from pathlib import Path

from refatlas.io.atomic import write_text
from refatlas.io.cell_tables import read_cells
from refatlas.jobs.inputs import by_name
from refatlas.jobs.run import run_job
from refatlas.transfer.newick import read_newick, write_newick
from refatlas.transfer.tree_learning import tree_of_file


def main(smk) -> None:
    where = f"config: tree: file {smk.input.tree!r}"
    cells = read_cells(list(by_name(smk.input, "dataset_cells").values()), named=False)
    parents, names = read_newick(Path(smk.input.tree).read_text(encoding="utf-8"), where)
    tree_of_file(parents, names, sorted(cells.loc[cells["keep"], "label"].dropna().unique()), where)
    write_text(write_newick(parents, names), smk.output.tree)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
