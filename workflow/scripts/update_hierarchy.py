"""Extends the reference's tree by the labels that a query brings: which of them are known, which are finer or coarser, which are new.

The result is for reading. No model, and no label that is delivered, depends on it.

in:  tree.npz of the reference; latent.parquet of the query and its cells.parquet, with labels
out: the extended tree as Newick, as a table, and as a figure
"""

import numpy as np
import pandas as pd

from refatlas.errors import InputError
from refatlas.jobs import run_job, write_table, write_text
from refatlas.labels import draw_evenly
from refatlas.newick import write_newick
from refatlas.plots import draw_tree, save
from refatlas.tree import LabelTree, TreeClassifier
from refatlas.tree_learning import Matching, describe, entries_of, learn_tree, tell


def extend(reference: TreeClassifier, latent: pd.DataFrame, labels: pd.Series, unit: str, settings: dict, seed: int) -> TreeClassifier:
    """Return the tree extended by one more unit, the query.

    Args:
        latent, labels: of the query's cells. unit: its name. settings: the config's `tree`.

    Raises:
        InputError: no label of the query has enough cells.
    """
    units, found, entries = entries_of(pd.Series(unit, index=labels.index), labels, settings["min_cells"])
    if not found:
        raise InputError(f"config: tree: update: no label of {unit} has {settings['min_cells']} cells; lower tree.min_cells, or leave the query out of tree.update")
    drawn, known = draw_evenly(entries, settings["max_cells"], settings["min_cells"], seed), reference.tree
    start = LabelTree(known.parents, known.titles, known.units + units, known.labels + found, known.nodes + [-1] * len(found))
    x = np.vstack([reference.x, latent.to_numpy()[drawn]])
    codes = np.concatenate([reference.entries, entries[drawn] + len(known.labels)])
    matching = Matching(settings["match_threshold"], settings["attach_unmatched"])
    return learn_tree(x, codes, start, settings["n_neighbors"], reference.rejection, matching)


def main(smk) -> None:
    latent, cells = pd.read_parquet(smk.input.latent), pd.read_parquet(smk.input.cells)
    labels, unit = cells["label"].where(cells["keep"]).loc[latent.index], f"query {smk.wildcards.query}"
    updated = extend(TreeClassifier.load(smk.input.tree), latent, labels, unit, smk.params.settings, smk.params.seed)
    tell(updated)
    tree, names = updated.tree, updated.tree.names()
    held = {node for node in range(len(names)) if {tree.units[e] for e, at in enumerate(tree.nodes) if at == node} == {unit}}
    write_text(write_newick(tree.parents, names), smk.output.newick)
    write_table(describe(updated), smk.output.table)
    save(draw_tree(tree.parents, names, updated.sizes(), f"Labels of {smk.wildcards.query} in the tree of {smk.wildcards.model}; new ones in orange", held), smk.output.figure)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
