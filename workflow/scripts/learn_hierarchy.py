"""Learns a tree of the reference's labels in a model's latent space by scHPL, over its datasets or
batches; or trains the tree that the user gives.

in:  latent.parquet of the reference; its labels; hierarchy.nwk, if the user gives a tree
out: tree.npz (what prediction needs), tree.nwk, tree.csv (which label of which unit is at which
     node), tree.png
"""

import pandas as pd

from refatlas.io.atomic import write_table, write_text
from refatlas.io.cell_tables import read_cells
from refatlas.jobs.inputs import by_name
from refatlas.jobs.run import run_job
from refatlas.plots import draw_tree, save_figure
from refatlas.transfer.newick import write_newick
from refatlas.transfer.tree_learning import describe, learn, report_tree


def main(smk) -> None:
    p, latent = smk.params, pd.read_parquet(smk.input.latent)
    cells = read_cells(list(by_name(smk.input, "dataset_cells").values()))
    labels = sorted(cells.loc[cells["keep"], "label"].dropna().unique())
    classifier = learn(latent, cells.loc[latent.index], smk.input.get("tree") or None, labels, p.settings, p.seed)
    report_tree(classifier)
    parents, names = classifier.tree.parents, classifier.tree.names()
    write_text(write_newick(parents, names), smk.output.newick)
    write_table(describe(classifier), smk.output.table)
    title = f"Labels in the latent space of {smk.wildcards.model}"
    save_figure(draw_tree(parents, names, classifier.sizes(), title), smk.output.figure)
    classifier.save(smk.output.tree)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
