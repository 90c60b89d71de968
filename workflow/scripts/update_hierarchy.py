"""Extends the reference's tree by the labels that a query brings: which of them are known, which
are finer or coarser, which are new.

The result is for reading. No model, and no label that is delivered, depends on it.

in:  tree.npz of the reference; latent.parquet of the query and its cells.parquet, with labels
out: the extended tree as Newick, as a table, and as a figure
"""

import pandas as pd

from refatlas.io.atomic import write_table, write_text
from refatlas.jobs.run import run_job
from refatlas.plots import draw_tree, save_figure
from refatlas.transfer.newick import write_newick
from refatlas.transfer.tree import TreeClassifier
from refatlas.transfer.tree_learning import describe, extend, nodes_of_unit, report_tree


def main(smk) -> None:
    query, model, p = smk.wildcards.name, smk.wildcards.model, smk.params
    latent, cells = pd.read_parquet(smk.input.latent), pd.read_parquet(smk.input.cells)
    labels, unit = cells["label"].where(cells["keep"]).loc[latent.index], f"query {query}"
    updated = extend(TreeClassifier.load(smk.input.tree), latent, labels, unit, p.settings, p.seed)
    report_tree(updated)
    parents, names = updated.tree.parents, updated.tree.names()
    write_text(write_newick(parents, names), smk.output.newick)
    write_table(describe(updated), smk.output.table)
    title = f"Labels of {query} in the tree of {model}; new ones in orange"
    save_figure(draw_tree(parents, names, updated.sizes(), title, nodes_of_unit(updated.tree, unit)), smk.output.figure)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
