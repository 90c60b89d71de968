"""How a tree of labels is learned over units of the reference, or taken from a user's file.

Used by check_hierarchy, learn_hierarchy and update_hierarchy.
"""

import io
import time
import warnings
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from refatlas.errors import InputError, listed
from refatlas.transfer.label_table import draw_evenly
from refatlas.transfer.newick import read_newick
from refatlas.transfer.tree import EQUALS, LabelTree, Rejection, TreeClassifier, entry_code, from_schpl, to_schpl

OTHER_ROOT = "root2"
# The unit of all cells where the user gives the tree.
WHOLE = "reference"


def entries_of(units: pd.Series, labels: pd.Series, min_cells: int) -> tuple[list[str], list[str], np.ndarray]:
    """Return the units and labels of all entries, and each cell's entry: -1 without a label, or
    with one of fewer than `min_cells` cells in its unit.

    Units come by their number of labelled cells, the largest first: scHPL builds on the first one.
    The labels of a unit are sorted.
    """
    sizes = pd.crosstab(units[labels.notna()], labels.dropna())
    order = sizes.sum(axis=1).sort_index().sort_values(ascending=False, kind="stable").index
    pairs = [(unit, label) for unit in order for label in sizes.columns if sizes.loc[unit, label] >= min_cells]
    few = {
        f"{label} ({unit}: {sizes.loc[unit, label]})"
        for unit in order
        for label in sizes.columns
        if 0 < sizes.loc[unit, label] < min_cells
    }
    if few:
        print(f"of fewer than {min_cells} cells in a unit, which take no part: {listed(sorted(few), 20)}")
    number = {pair: i for i, pair in enumerate(pairs)}
    return (
        [str(u) for u, _ in pairs],
        [str(label) for _, label in pairs],
        np.array([number.get(pair, -1) for pair in zip(units, labels, strict=True)]),
    )


def tree_of_file(parents: list[int], names: list[str], labels: list[str], where: str) -> LabelTree:
    """Return a user's tree, with the labels of the reference as entries; inner nodes may have names
    that are no labels.

    Raises:
        InputError: a leaf is no label of the reference, or a label stands twice.
    """
    parts = [_labels_of(name, labels) for name in names]
    inner = set(parents)
    unknown = [name for node, name in enumerate(names) if node not in inner and not parts[node]]
    if unknown:
        raise InputError(
            f"{where}: leaves {listed(map(repr, unknown))} are no labels of the reference; its labels are"
            f" {listed(labels, 40)}. Rename or remove these leaves"
        )
    twice = [label for label in labels if sum(label in found for found in parts) > 1]
    if twice:
        raise InputError(f"{where}: labels {listed(map(repr, twice))} stand at more than one node; let each stand once")
    left_out = [label for label in labels if not any(label in found for found in parts)]
    if left_out:
        print(
            "labels of the reference that are not in the tree, and which it therefore never gives:"
            f" {listed(left_out, 40)}"
        )
    titles = [
        "" if found or not node else name or f"node {node}"
        for node, (name, found) in enumerate(zip(names, parts, strict=True))
    ]
    nodes = [next((node for node, found in enumerate(parts) if label in found), -1) for label in labels]
    return LabelTree(parents, titles, [WHOLE] * len(labels), list(labels), nodes)


def _labels_of(name: str, labels: list[str]) -> list[str]:
    """Return the labels that a node's name stands for: itself, or several with " = " between them,
    as a learned tree has.
    """
    if name in labels:
        return [name]
    parts = name.split(EQUALS)
    return parts if all(part in labels for part in parts) else []


@dataclass
class Matching:
    """How the labels of units are matched: scHPL's threshold on differences between shares of
    confusion, and whether labels without a match go under the root.
    """

    threshold: float = 0.25
    attach: bool = False


def add_unit(seen: TreeClassifier, x: np.ndarray, entries: np.ndarray, matching: Matching) -> LabelTree:
    """Return the tree extended by the labels of another unit, by scHPL: each of the two predicts
    the other's cells, and labels are matched by both confusions.

    Args:
        seen: of the tree so far. x, entries: latent space and entries of the unit's cells.
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
        # Printed are codes, which `tell` says as labels. Warned of is what pandas 3 will refuse,
        # hundreds of times; the lock keeps pandas below 3.
        warnings.filterwarnings("ignore", category=FutureWarning, module="scHPL")
        schpl, _ = update_tree(
            schpl, truth[0], predicted[0], truth[1], predicted[1], matching.threshold, matching.attach
        )
    return from_schpl(schpl, known)


def _first_names(classifier: TreeClassifier, x: np.ndarray, schpl: list) -> np.ndarray:
    """Return the predictions for cells as scHPL writes them, shape (n_cells, 1); a rejected cell is
    at the root.
    """
    found = classifier.decide(x)
    names = np.array([node.name[0] for node in schpl[0].walk()])
    return names[np.where(found.rejected(), 0, found.node)][:, None]


def learn_tree(
    x: np.ndarray, entries: np.ndarray, start: LabelTree, n_neighbors: int, rejection: Rejection, matching: Matching
) -> TreeClassifier:
    """Return the classifier of the tree that scHPL learns, unit after unit in the order of their
    first entries; progress is printed.

    Args:
        x: latent space, shape (n_cells, n_latent). entries: of its cells. start: the tree to begin
            with, which may be without any node.
    """
    unit_of = np.array(start.units)[entries]
    start = start.without_empty_nodes(set(entries.tolist())) if max(start.nodes) >= 0 else start
    known = {unit for unit, node in zip(start.units, start.nodes, strict=True) if node >= 0}
    # A unit none of whose labels was matched has left no cells.
    order = [unit for unit in dict.fromkeys(start.units) if unit not in known and (unit_of == unit).any()]
    if not known:
        first = order.pop(0)
        start = LabelTree.flat(start.units, start.labels, [e for e, unit in enumerate(start.units) if unit == first])
        known = {first}
    # In the units' order, as scHPL adds them: its folds for the limit of reconstruction depend on
    # it.
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
    """Return one row an entry: unit, label, n_cells that took part, and the node that it is at,
    empty if scHPL could not match it.
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
    """Print what kind of tree was learned, which labels are the same by other names, and which
    could not be matched.
    """
    tree, table = classifier.tree, describe(classifier)
    if tree.is_flat():
        print(
            f"the tree is flat, because {len(set(tree.units))} unit(s) have labels of one level; it classifies by"
            " nearest neighbours, with rejection"
        )
    for name in tree.names():
        if EQUALS in name:
            print(f"the same by other names: {name}")
    lost = table[table["node"] == ""]
    if len(lost):
        print(
            "not matched, and therefore not in the tree: "
            + listed([f"{row.label} ({row.unit}, {row.n_cells} cells)" for row in lost.itertuples()], 40)
        )
    gone = sorted(set(lost["label"]) - set(table.loc[table["node"] != "", "label"]))
    if gone:
        print(
            f"labels that the tree does not have from any unit: {listed(gone, 40)}; tree.attach_unmatched puts them"
            " under the root"
        )


def units_of(cells: pd.DataFrame, by: str) -> pd.Series:
    """Return the unit of each cell: its batch, or its dataset."""
    return (
        cells["batch"].astype(str)
        if by == "batch"
        else pd.Series(cells.index.str.split(":", n=1).str[0], index=cells.index)
    )


def given_tree(file: str, labels: pd.Series, all_labels: list[str], min_cells: int) -> tuple[LabelTree, np.ndarray]:
    """Return the user's tree and each cell's entry, -1 where its label is not in the tree.

    Args:
        labels: of the cells to learn from, which in a fold may lack some of the reference's.
            all_labels: of the reference.
    """
    parents, names = read_newick(Path(file).read_text(encoding="utf-8"), file)
    tree = tree_of_file(parents, names, all_labels, file)
    _, found, entries = entries_of(pd.Series(WHOLE, index=labels.index), labels, min_cells)
    number = np.array(
        [*(tree.labels.index(label) if tree.nodes[tree.labels.index(label)] >= 0 else -1 for label in found), -1]
    )
    return tree, number[entries]


def learn(
    latent: pd.DataFrame, cells: pd.DataFrame, file: str | None, all_labels: list[str], settings: dict, seed: int
) -> TreeClassifier:
    """Return the classifier of a tree; `cells` has batch and label of the cells of `latent`,
    `settings` is the config's `tree`.

    Raises:
        InputError: no label has enough cells.
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
    print(f"{len(drawn)} of {len(latent)} cells take part")
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
    reference: TreeClassifier, latent: pd.DataFrame, labels: pd.Series, unit: str, settings: dict, seed: int
) -> TreeClassifier:
    """Return the tree extended by one more unit, the query.

    Args:
        latent, labels: of the query's cells. unit: its name. settings: the config's `tree`.

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
