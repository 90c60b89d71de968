"""Learning of trees of labels over units of the reference by scHPL, or from a user's file."""

import io
import time
import warnings
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from refatlas.errors import InputError, listed
from refatlas.transfer.label_table import draw_evenly
from refatlas.transfer.label_tree import EQUALS, WHOLE, LabelTree, entries_of, tree_of_file, units_of
from refatlas.transfer.newick import read_newick
from refatlas.transfer.schpl_trees import entry_code, from_schpl, to_schpl
from refatlas.transfer.tree import Rejection, TreeClassifier

OTHER_ROOT = "root2"


@dataclass
class Matching:
    """How the labels of units are matched.

    Attributes:
        threshold: scHPL's threshold on differences between shares of confusion.
        attach: whether labels without a match are attached to the root.
    """

    threshold: float = 0.25
    attach: bool = False


def add_unit(seen: TreeClassifier, x: np.ndarray, entries: np.ndarray, matching: Matching) -> LabelTree:
    """Return the tree extended by the labels of another unit, by scHPL.

    Each of the two classifiers predicts the other's cells, and labels are matched by both confusion
    matrices.

    Args:
        seen: classifier of the tree so far.
        x: latent space of the unit's cells, shape (n_cells, n_latent).
        entries: entry of each of these cells.
        matching: how labels are matched.
    """
    from scHPL import update_tree

    known = seen.tree
    other = TreeClassifier.fit(
        LabelTree.flat(known.units, known.labels, np.unique(entries).tolist()),
        x,
        entries,
        seen.n_neighbors,
        seen.rejection,
    )
    schpl = to_schpl(known)
    truth = [np.array([[entry_code(entry)] for entry in some]) for some in (seen.entries, entries)]
    predicted = [_first_names(other, seen.x, to_schpl(other.tree, OTHER_ROOT)), _first_names(seen, x, schpl)]
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        # scHPL prints codes, which `report_tree` prints as labels. The warnings, hundreds of them,
        # concern pandas 3; the locked environment has an older version.
        warnings.filterwarnings("ignore", category=FutureWarning, module="scHPL")
        schpl, _ = update_tree(
            schpl, truth[0], predicted[0], truth[1], predicted[1], matching.threshold, matching.attach
        )
    return from_schpl(schpl, known)


def _first_names(classifier: TreeClassifier, x: np.ndarray, schpl: list[Any]) -> np.ndarray:
    """Return scHPL's names of the predicted nodes, shape (n_cells, 1); that of a rejected cell is the root."""
    found = classifier.decide(x)
    names = np.array([node.name[0] for node in schpl[0].walk()])
    return names[np.where(found.rejected(), 0, found.node)][:, None]


def learn_tree(
    x: np.ndarray, entries: np.ndarray, start: LabelTree, n_neighbors: int, rejection: Rejection, matching: Matching
) -> TreeClassifier:
    """Return the classifier of the tree that scHPL learns unit by unit, and print the progress.

    Units follow the order of their first entries.

    Args:
        x: latent space of the training cells, shape (n_cells, n_latent).
        entries: entry of each of these cells.
        start: tree to begin with, which may have no node but the root.
        n_neighbors: number of neighbours.
        rejection: limits of rejection.
        matching: how labels are matched.
    """
    unit_of = np.array(start.units)[entries]
    start = start.without_empty_nodes(set(entries.tolist())) if max(start.nodes) >= 0 else start
    known = {unit for unit, node in zip(start.units, start.nodes, strict=True) if node >= 0}
    # If none of a unit's labels was matched, no cells of it are left.
    order = [unit for unit in dict.fromkeys(start.units) if unit not in known and (unit_of == unit).any()]
    if not known:
        first = order.pop(0)
        start = LabelTree.flat(start.units, start.labels, [e for e, unit in enumerate(start.units) if unit == first])
        known = {first}
    # In the order of the units, as in scHPL: its folds for the limit of reconstruction depend on it.
    seen, tree, started = np.flatnonzero(np.isin(unit_of, list(known))), start, time.monotonic()
    for i, unit in enumerate(order):
        new = np.flatnonzero(unit_of == unit)
        tree = add_unit(
            TreeClassifier.fit(tree, x[seen], entries[seen], n_neighbors, rejection), x[new], entries[new], matching
        )
        seen = np.concatenate([seen, new])
        spent = time.monotonic() - started
        left = spent / (i + 1) * (len(order) - i - 1)
        print(
            f"{i + 1}/{len(order)} {unit}: {len(new)} cells, {len(np.unique(entries[new]))} labels; the tree has"
            f" {len(tree.leaves())} leaves; {spent:.1f} s, {left:.0f} s left",
            flush=True,
        )
    return TreeClassifier.fit(tree, x[seen], entries[seen], n_neighbors, rejection)


def describe(classifier: TreeClassifier) -> pd.DataFrame:
    """Return the table of entries: unit, label, n_cells used, and node.

    The node is empty if scHPL could not match the entry.
    """
    tree, names = classifier.tree, classifier.tree.names()
    sizes = np.bincount(classifier.entries, minlength=len(tree.labels))
    return pd.DataFrame(
        {
            "unit": tree.units,
            "label": tree.labels,
            "n_cells": sizes,
            "node": [names[node] if node >= 0 else "" for node in tree.nodes],
        }
    )


def report_tree(classifier: TreeClassifier) -> None:
    """Print whether the tree is flat, which labels are synonyms, and which could not be matched."""
    tree, table = classifier.tree, describe(classifier)
    if tree.is_flat():
        print(
            f"the tree is flat, because the labels of {len(set(tree.units))} unit(s) are of one level; it classifies"
            " by nearest neighbours, with rejection"
        )
    for name in tree.names():
        if EQUALS in name:
            print(f"synonyms: {name}")
    lost = table[table["node"] == ""]
    if len(lost):
        print(
            "labels not matched, and therefore not in the tree: "
            + listed([f"{row.label} ({row.unit}, {row.n_cells} cells)" for row in lost.itertuples()], 40)
        )
    gone = sorted(set(lost["label"]) - set(table.loc[table["node"] != "", "label"]))
    if gone:
        print(
            f"labels not in the tree from any unit: {listed(gone, 40)}; tree.attach_unmatched attaches them to the root"
        )


def given_tree(file: str, labels: pd.Series, all_labels: list[str], min_cells: int) -> tuple[LabelTree, np.ndarray]:
    """Return the user's tree, and the entry of each cell, -1 if its label is not in the tree.

    Args:
        file: path of the Newick file.
        labels: label of each training cell; in a fold, some of the reference's may not occur.
        all_labels: labels of the reference.
        min_cells: cells of labels with fewer cells have no entry.

    Raises:
        InputError: the file is not a Newick tree of the reference's labels.
    """
    parents, names = read_newick(Path(file).read_text(encoding="utf-8"), file)
    tree = tree_of_file(parents, names, all_labels, file)
    _, found, entries = entries_of(pd.Series(WHOLE, index=labels.index), labels, min_cells)
    entry_of = {label: entry if tree.nodes[entry] >= 0 else -1 for entry, label in enumerate(tree.labels)}
    number = np.array([*(entry_of[label] for label in found), -1])
    return tree, number[entries]


def learn(
    latent: pd.DataFrame,
    cells: pd.DataFrame,
    file: str | None,
    all_labels: list[str],
    settings: dict[str, Any],
    seed: int,
) -> TreeClassifier:
    """Return the classifier of the tree of the reference's labels.

    Args:
        latent: latent space of the reference, indexed by cell.
        cells: batch and label of the same cells.
        file: path of the user's Newick file; None to learn the tree.
        all_labels: labels of the reference.
        settings: section tree of the configuration.
        seed: seed of the draw of cells.

    Raises:
        InputError: no label has enough cells, or the file is not a tree of the reference's labels.
    """
    if file:
        start, entries = given_tree(file, cells["label"], all_labels, settings["min_cells"])
    else:
        units, labels, entries = entries_of(units_of(cells, settings["by"]), cells["label"], settings["min_cells"])
        start = LabelTree([-1], [""], units, labels, [-1] * len(labels))
    if not (entries >= 0).any():
        raise InputError(
            f"config: tree: no label has {settings['min_cells']} cells in any {settings['by']} of the reference; lower"
            " tree.min_cells"
        )
    drawn = draw_evenly(entries, settings["max_cells"], settings["min_cells"], seed)
    print(f"{len(drawn)} of {len(latent)} cells are used")
    matching = Matching(settings["match_threshold"], settings["attach_unmatched"])
    return learn_tree(
        latent.to_numpy()[drawn],
        entries[drawn],
        start,
        settings["n_neighbors"],
        Rejection(**settings["rejection"]),
        matching,
    )


def extend(
    reference: TreeClassifier,
    latent: pd.DataFrame,
    labels: pd.Series,
    unit: str,
    settings: dict[str, Any],
    seed: int,
) -> TreeClassifier:
    """Return the classifier of the reference's tree extended by the labels of a query.

    Args:
        reference: classifier of the reference's tree.
        latent: latent space of the query, indexed by cell.
        labels: label of each of these cells, missing for unlabelled cells.
        unit: name of the query's unit.
        settings: section tree of the configuration.
        seed: seed of the draw of cells.

    Raises:
        InputError: no label of the query has enough cells.
    """
    units, found, entries = entries_of(pd.Series(unit, index=labels.index), labels, settings["min_cells"])
    if not found:
        raise InputError(
            f"config: tree: update: no label of {unit} has {settings['min_cells']} cells; lower tree.min_cells, or"
            " leave the query out of tree.update"
        )
    drawn, known = draw_evenly(entries, settings["max_cells"], settings["min_cells"], seed), reference.tree
    start = LabelTree(
        known.parents, known.titles, known.units + units, known.labels + found, known.nodes + [-1] * len(found)
    )
    x = np.vstack([reference.x, latent.to_numpy()[drawn]])
    codes = np.concatenate([reference.entries, entries[drawn] + len(known.labels)])
    matching = Matching(settings["match_threshold"], settings["attach_unmatched"])
    return learn_tree(x, codes, start, settings["n_neighbors"], reference.rejection, matching)


def nodes_of_unit(tree: LabelTree, unit: str) -> set[int]:
    """Return the nodes of a tree at which all labels are of one unit."""
    units: dict[int, set[str]] = {}
    for entry, node in enumerate(tree.nodes):
        units.setdefault(node, set()).add(tree.units[entry])
    return {node for node, found in units.items() if node >= 0 and found == {unit}}
