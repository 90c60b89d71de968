"""Trees of labels: structure, names, entries, and what a user's tree must be."""

import numpy as np
import pandas as pd
import pytest

from refatlas.errors import InputError
from refatlas.transfer.label_table import draw_evenly
from refatlas.transfer.label_tree import LabelTree, entries_of, tree_of_file, units_of
from refatlas.transfer.newick import read_newick


def monocytes() -> LabelTree:
    """Return a tree of two units, of which one distinguishes two types of monocytes."""
    return LabelTree(
        [-1, 0, 1, 1, 0], [""] * 5, ["u1"] * 3 + ["u2"] * 2, ["B", "CD14", "CD16", "Mono", "B"], [4, 2, 3, 1, 4]
    )


def test_structure():
    tree = monocytes()
    assert (tree.leaves(), tree.below(1), tree.children(0), tree.is_flat()) == ([2, 3, 4], [1, 2, 3], [1, 4], False)
    assert tree.names() == ["root", "Mono", "CD14", "CD16", "B"]
    assert LabelTree.flat(["u"] * 3, ["A", "B", "C"], [0, 2]) == LabelTree(
        [-1, 0, 0], ["", "", ""], ["u"] * 3, ["A", "B", "C"], [1, -1, 2]
    )


def test_names_of_nodes_are_unique_and_show_synonyms():
    tree = LabelTree([-1, 0, 0, 0], [""] * 4, ["u1", "u1", "u2", "u2"], ["T", "Mono", "Monocyte", "T"], [1, 2, 2, 3])
    assert tree.names() == ["root", "T (u1)", "Mono = Monocyte", "T (u2)"]


def test_nodes_without_cells_are_removed():
    left = monocytes().without_empty_nodes({0, 1})
    assert (left.parents, left.nodes) == ([-1, 0, 1, 0], [3, 2, -1, -1, -1])


def test_labels_of_too_few_cells_are_no_entries(capsys):
    units = pd.Series(["v"] * 3 + ["u"] * 6)
    labels = pd.Series(["A", "A", None, "A", "A", "B", "B", "B", "C"])
    found = entries_of(units, labels, 2)
    assert (found[0], found[1], found[2].tolist()) == (["u", "u", "v"], ["A", "B", "A"], [2, 2, -1, 0, 0, 1, 1, 1, -1])
    assert "C (u: 1)" in capsys.readouterr().out


def test_units_are_batches_or_datasets():
    cells = pd.DataFrame({"batch": ["d:1", "e:1"]}, index=["d:x", "e:y:z"])
    assert units_of(cells, "batch").tolist() == ["d:1", "e:1"]
    assert units_of(cells, "dataset").tolist() == ["d", "e"]


def test_cells_are_drawn_evenly():
    entries = np.array([0] * 50 + [-1] * 5 + [1] * 4 + [2] * 20)
    drawn = draw_evenly(entries, 24, 2, seed=0)
    assert np.bincount(entries[drawn]).tolist() == [10, 4, 10]
    assert len(draw_evenly(entries, 1000, 2, seed=0)) == 74
    assert np.bincount(entries[draw_evenly(entries, 3, 4, seed=0)]).tolist() == [4, 4, 4]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("((A,X)upper,B);", "leaves 'X' are not labels of the reference; its labels are A, B, C"),
        ("((A,B)u,A);", "labels 'A' occur at more than one node"),
        ("((A,B)u,u2,C);", "leaves 'u2'"),
    ],
)
def test_a_users_tree_must_fit_the_labels(text, expected):
    with pytest.raises(InputError, match=expected):
        tree_of_file(*read_newick(text, "t"), list("ABC"), "t")


def test_a_learned_tree_can_be_given_back():
    tree = tree_of_file(*read_newick("('CD14 = Mono',B);", "t"), ["B", "CD14", "Mono"], "t")
    assert tree.names() == ["root", "CD14 = Mono", "B"]
