"""Learns a tree of the reference's labels in a model's latent space by scHPL, over its datasets or batches; or trains the tree that the user gives.

in:  latent.parquet of the reference; its labels; hierarchy.nwk, if the user gives a tree
out: tree.npz (what prediction needs), tree.nwk, tree.csv (which label of which unit is at which node), tree.png
"""

from pathlib import Path

import numpy as np
import pandas as pd

from refatlas.cells import read_cells
from refatlas.errors import InputError
from refatlas.jobs import run_job, write_table, write_text
from refatlas.labels import draw_evenly
from refatlas.newick import read_newick, write_newick
from refatlas.plots import draw_tree, save
from refatlas.tree import LabelTree, Rejection, TreeClassifier
from refatlas.tree_learning import WHOLE, Matching, describe, entries_of, learn_tree, tell, tree_of_file


def units_of(cells: pd.DataFrame, by: str) -> pd.Series:
    """Return the unit of each cell: its batch, or its dataset."""
    return cells["batch"].astype(str) if by == "batch" else pd.Series(cells.index.str.split(":", n=1).str[0], index=cells.index)


def given_tree(file: str, labels: pd.Series, all_labels: list[str], min_cells: int) -> tuple[LabelTree, np.ndarray]:
    """Return the user's tree and each cell's entry, -1 where its label is not in the tree.

    Args:
        labels: of the cells to learn from, which in a fold may lack some of the reference's. all_labels: of the reference.
    """
    parents, names = read_newick(Path(file).read_text(encoding="utf-8"), file)
    tree = tree_of_file(parents, names, all_labels, file)
    _, found, entries = entries_of(pd.Series(WHOLE, index=labels.index), labels, min_cells)
    number = np.array([*(tree.labels.index(label) if tree.nodes[tree.labels.index(label)] >= 0 else -1 for label in found), -1])
    return tree, number[entries]


def learn(latent: pd.DataFrame, cells: pd.DataFrame, file: str | None, all_labels: list[str], settings: dict, seed: int) -> TreeClassifier:
    """Return the classifier of a tree; `cells` has batch and label of the cells of `latent`, `settings` is the config's `tree`.

    Raises:
        InputError: no label has enough cells.
    """
    if file:
        start, entries = given_tree(file, cells["label"], all_labels, settings["min_cells"])
    else:
        units, labels, entries = entries_of(units_of(cells, settings["by"]), cells["label"], settings["min_cells"])
        start = LabelTree([-1], [""], units, labels, [-1] * len(labels))
    if not (entries >= 0).any():
        raise InputError(f"config: tree: no label has {settings['min_cells']} cells in any {settings['by']} of the reference; lower tree.min_cells")
    drawn = draw_evenly(entries, settings["max_cells"], settings["min_cells"], seed)
    print(f"{len(drawn)} of {len(latent)} cells take part")
    matching = Matching(settings["match_threshold"], settings["attach_unmatched"])
    return learn_tree(latent.to_numpy()[drawn], entries[drawn], start, settings["n_neighbors"], Rejection(**settings["rejection"]), matching)


def main(smk) -> None:
    latent, cells = pd.read_parquet(smk.input.latent), read_cells(smk.input.cells)
    all_labels = sorted(cells.loc[cells["keep"], "label"].dropna().unique())
    classifier = learn(latent, cells.loc[latent.index], smk.input.get("tree"), all_labels, smk.params.settings, smk.params.seed)
    tell(classifier)
    names = classifier.tree.names()
    write_text(write_newick(classifier.tree.parents, names), smk.output.newick)
    write_table(describe(classifier), smk.output.table)
    save(draw_tree(classifier.tree.parents, names, classifier.sizes(), f"Labels in the latent space of {smk.wildcards.model}"), smk.output.figure)
    classifier.save(smk.output.tree)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
