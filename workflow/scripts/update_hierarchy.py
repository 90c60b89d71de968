"""Extends the reference's tree by the labels that a query brings: which of them are known, which
are finer or coarser, which are new.

The result is for reading. No model, and no label that is delivered, depends on it.

in:  tree.npz of the reference; latent.parquet of the query and its cells.parquet, with labels
out: the extended tree as Newick, as a table, and as a figure
"""

import pandas as pd

from refatlas.io.atomic import write_table, write_text
from refatlas.plots import draw_tree, save
from refatlas.transfer.newick import write_newick
from refatlas.transfer.tree import TreeClassifier
from refatlas.transfer.tree_learning import describe, extend, report_tree


def main(smk) -> None:
    latent, cells = pd.read_parquet(smk.input.latent), pd.read_parquet(smk.input.cells)
    labels, unit = cells["label"].where(cells["keep"]).loc[latent.index], f"query {smk.wildcards.query}"
    updated = extend(TreeClassifier.load(smk.input.tree), latent, labels, unit, smk.params.settings, smk.params.seed)
    report_tree(updated)
    tree, names = updated.tree, updated.tree.names()
    held = {
        node for node in range(len(names)) if {tree.units[e] for e, at in enumerate(tree.nodes) if at == node} == {unit}
    }
    write_text(write_newick(tree.parents, names), smk.output.newick)
    write_table(describe(updated), smk.output.table)
    save(
        draw_tree(
            tree.parents,
            names,
            updated.sizes(),
            f"Labels of {smk.wildcards.query} in the tree of {smk.wildcards.model}; new ones in orange",
            held,
        ),
        smk.output.figure,
    )


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
