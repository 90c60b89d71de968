"""What the texts of labels and a learned tree say about which labels are the same: evidence beside their positions."""

import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd

from refatlas.io.atomic import read_csv
from refatlas.transfer.newick import read_newick

SAME, CONTAINS, PART_OF = "same", "contains", "part of"
REVERSE = {SAME: SAME, CONTAINS: PART_OF, PART_OF: CONTAINS}
GREEK = str.maketrans({"α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon"})
# A label of a dataset.
Label = tuple[str, str]


def clean_text(label: object) -> str:
    """Return a label without spaces around it, and with single spaces in it, as a table keeps it."""
    return " ".join(unicodedata.normalize("NFC", str(label)).split())


@cache
def label_words(label: str) -> frozenset[str]:
    """Return the words of a label without case, plural, and the word cell: cd4 and t of "CD4+ T cells"."""
    text = unicodedata.normalize("NFKC", label).casefold().translate(GREEK)
    # A minus behind a marker means that it is missing; a plus is often left out.
    text = re.sub(r"(\w+)[-−](?=\s|$|/|,)", r"not\1", text)
    words = [re.sub(r"cells?$", "", word) for word in re.split(r"[\W_]+", text)]
    words = [word[:-1] if len(word) > 3 and word.endswith("s") and word[-2] != "s" else word for word in words]
    return frozenset(filter(None, words)) or frozenset([text.strip()])


def same_words(a: str, b: str) -> bool:
    """Return whether two labels have the same text but for case, spaces, plural and the word cell."""
    return "".join(sorted(label_words(a))) == "".join(sorted(label_words(b)))


def has_more_words(a: str, b: str) -> bool:
    """Return whether a has all words of b, and more: "CD4 T cells" has those of "T cells"."""
    return label_words(b) < label_words(a)


def similar_words(a: str, b: str) -> bool:
    """Return whether each word of the label with fewer words is one of the other's, or one begins with the other.

    So are "Beta" and "islet beta", and "duct cell" and "ductal". Words of fewer than four letters have to be equal.
    """
    few, many = sorted((label_words(a), label_words(b)), key=lambda words: (len(words), sorted(words)))
    return same_words(a, b) or all(
        any(x == y or (min(len(x), len(y)) > 3 and (x.startswith(y) or y.startswith(x))) for y in many) for x in few
    )


@dataclass(frozen=True)
class TreeOfLabels:
    """Where a learned tree has the labels of datasets.

    Attributes:
        nodes: nodes of each label.
        parents: parent of each node; empty if it is not known.
    """

    nodes: dict[Label, set[str]]
    parents: dict[str, str]

    @classmethod
    def read(cls, table: str, newick: str | None = None) -> "TreeOfLabels":
        """Return the tree that learn_hierarchy wrote.

        Args:
            table: path of tree.csv. newick: path of tree.nwk; without it, no label is known to contain another.
        """
        text = Path(newick).read_text(encoding="utf-8") if newick else ""
        return cls.of(read_csv(table), read_newick(text, str(newick)) if text else ([], []))

    @classmethod
    def of(cls, table: pd.DataFrame, newick: tuple[list[int], list[str]] = ([], [])) -> "TreeOfLabels":
        """Return the tree of a table with unit (a dataset, or a batch "dataset:batch"), label and node.

        Args:
            newick: parents and names of the nodes.
        """
        nodes: dict[Label, set[str]] = {}
        for unit, label, node in zip(table["unit"], table["label"], table["node"], strict=True):
            if isinstance(node, str) and node:
                nodes.setdefault((str(unit).split(":", 1)[0], clean_text(label)), set()).add(node)
        parents, names = newick
        return cls(nodes, {names[i]: names[parent] for i, parent in enumerate(parents) if parent >= 0})

    def relation(self, a: Label, b: Label) -> str:
        """Return SAME, CONTAINS or PART_OF if the tree says so of two labels, else ""."""
        of_a, of_b = self.nodes.get(a, set()), self.nodes.get(b, set())
        if of_a & of_b:
            return SAME
        if of_a & {self.parents.get(node) for node in of_b}:
            return CONTAINS
        return PART_OF if of_b & {self.parents.get(node) for node in of_a} else ""
