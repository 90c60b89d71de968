"""Trees of labels.

A unit is a dataset or a batch. An entry is one label of one unit. A node of the tree holds the
entries of all units that mean the same cell type.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from refatlas.errors import InputError, listed

# Between the labels of one node, if units name it differently.
EQUALS = " = "
ROOT = "root"
# Stands in place of a node's name for cells that are not taken for any label.
REJECTED = "rejected"
# The unit of all cells if the user gives the tree.
WHOLE = "reference"


@dataclass
class LabelTree:
    """A tree whose nodes, in preorder, hold entries. Node 0 is the root.

    Attributes:
        parents: parent of each node, -1 for the root.
        titles: own name of each node, "" for a node that is named by its labels.
        units: unit of each entry.
        labels: label of each entry.
        nodes: node of each entry, -1 for an entry that is not in the tree.
    """

    parents: list[int]
    titles: list[str]
    units: list[str]
    labels: list[str]
    nodes: list[int]

    @classmethod
    def flat(cls, units: list[str], labels: list[str], members: Sequence[int]) -> "LabelTree":
        """Return a tree in which each entry of `members` is a leaf under the root.

        Args:
            units: unit of each entry.
            labels: label of each entry.
            members: entries of the tree.
        """
        nodes = np.full(len(labels), -1)
        nodes[members] = np.arange(len(members)) + 1
        return cls([-1] + [0] * len(members), [""] * (len(members) + 1), units, labels, nodes.tolist())

    def children(self, node: int) -> list[int]:
        """Return the children of a node."""
        return [child for child, parent in enumerate(self.parents) if parent == node]

    def leaves(self) -> list[int]:
        """Return the nodes without children."""
        inner = set(self.parents)
        return [node for node in range(len(self.parents)) if node not in inner]

    def below(self, node: int) -> list[int]:
        """Return a node and all nodes under it."""
        found = [node]
        for child in range(node + 1, len(self.parents)):
            if self.parents[child] in found:
                found.append(child)
        return found

    def is_flat(self) -> bool:
        """Return whether all nodes are leaves under the root."""
        return not any(self.parents[1:])

    def names(self) -> list[str]:
        """Return a unique name of each node: its title or its labels; the root is "root".

        Nodes with the same labels are distinguished by their units.
        """
        held = [
            sorted({(self.labels[e], self.units[e]) for e, at in enumerate(self.nodes) if at == node})
            for node in range(len(self.parents))
        ]
        names = [
            title or EQUALS.join(dict.fromkeys(label for label, _ in entries))
            for title, entries in zip(self.titles, held, strict=True)
        ]
        twice = {name for name in names[1:] if names[1:].count(name) > 1}
        for node, entries in enumerate(held):
            if names[node] in twice:
                names[node] += f" ({listed(dict.fromkeys(unit for _, unit in entries), 3)})"
            if names[node] in (*names[1:node], ROOT, REJECTED):
                names[node] += f" #{node}"
        return [ROOT, *names[1:]]

    def without_empty_nodes(self, filled: set[int]) -> "LabelTree":
        """Return the tree without the nodes that have no `filled` entry at or below them."""
        kept, holding = {0}, {self.nodes[entry] for entry in filled}
        for node in range(1, len(self.parents)):
            if holding & set(self.below(node)):
                kept.add(node)
        number = {node: i for i, node in enumerate(sorted(kept))} | {-1: -1}
        nodes = [number.get(node, -1) if entry in filled else -1 for entry, node in enumerate(self.nodes)]
        return LabelTree(
            [number[self.parents[n]] for n in sorted(kept)],
            [self.titles[n] for n in sorted(kept)],
            self.units,
            self.labels,
            nodes,
        )


def units_of(cells: pd.DataFrame, by: str) -> pd.Series:
    """Return the unit of each cell, by "batch" or "dataset"."""
    if by == "batch":
        return cells["batch"].astype(str)
    return pd.Series(cells.index.str.split(":", n=1).str[0], index=cells.index)


def entries_of(units: pd.Series, labels: pd.Series, min_cells: int) -> tuple[list[str], list[str], np.ndarray]:
    """Return unit and label of each entry, and the entry of each cell.

    Units are sorted by their number of labelled cells, the largest first, because scHPL builds on
    the first one. The labels of a unit are sorted by name.

    Args:
        units: unit of each cell.
        labels: label of each cell, missing for unlabelled cells.
        min_cells: labels with fewer cells in a unit are no entries.

    Returns:
        Units and labels of the entries, and the entry of each cell, -1 for none.
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
        print(f"labels with fewer than {min_cells} cells in a unit, which are ignored: {listed(sorted(few), 20)}")
    number = {pair: i for i, pair in enumerate(pairs)}
    return (
        [str(u) for u, _ in pairs],
        [str(label) for _, label in pairs],
        np.array([number.get(pair, -1) for pair in zip(units, labels, strict=True)]),
    )


def tree_of_file(parents: list[int], names: list[str], labels: list[str], where: str) -> LabelTree:
    """Return a user's tree with the labels of the reference as entries.

    Labels of the reference that it lacks are printed. Inner nodes may have names that are not
    labels.

    Args:
        parents: parent of each node, from `read_newick`.
        names: name of each node.
        labels: of the reference.
        where: name of the file for messages.

    Raises:
        InputError: a leaf is not a label of the reference, or a label occurs at several nodes.
    """
    found = [_labels_of(name, labels) for name in names]
    inner = set(parents)
    unknown = [name for node, name in enumerate(names) if node not in inner and not found[node]]
    if unknown:
        raise InputError(
            f"{where}: leaves {listed(map(repr, unknown))} are not labels of the reference; its labels are"
            f" {listed(labels, 40)}. Rename or remove these leaves"
        )
    twice = [label for label in labels if sum(label in held for held in found) > 1]
    if twice:
        raise InputError(
            f"{where}: labels {listed(map(repr, twice))} occur at more than one node; each must occur at one only"
        )
    missing = [label for label in labels if not any(label in held for held in found)]
    if missing:
        print(f"labels of the reference that are not in the tree and that it never predicts: {listed(missing, 40)}")
    titles = [
        "" if held or not node else name or f"node {node}"
        for node, (name, held) in enumerate(zip(names, found, strict=True))
    ]
    nodes = [next((node for node, held in enumerate(found) if label in held), -1) for label in labels]
    return LabelTree(parents, titles, [WHOLE] * len(labels), list(labels), nodes)


def _labels_of(name: str, labels: list[str]) -> list[str]:
    """Return the labels that a node's name means: itself, or several joined by " = "."""
    if name in labels:
        return [name]
    parts = name.split(EQUALS)
    return parts if all(part in labels for part in parts) else []
