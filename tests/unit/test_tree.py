"""The classifier of a tree of labels: probabilities by hand, rejection, and its file."""

import numpy as np
import pandas as pd
import pytest
from test_label_tree import monocytes

from refatlas.transfer.label_tree import LabelTree
from refatlas.transfer.tree import Decision, Rejection, TreeClassifier, node_table


def classifier_of(tree: LabelTree, rejection=None) -> TreeClassifier:
    """Return a classifier of 10 cells per entry around its position, with fewer for the last."""
    random = np.random.default_rng(0)
    places = {"A": (4, 9), "B": (9, 0), "CD14": (0, 0), "CD16": (0, 4), "Mono": (0, 2)}
    entries = np.repeat(np.arange(len(tree.labels)), 10)[:-2]
    x = np.array([places[tree.labels[e]] for e in entries]) + random.normal(0, 0.3, (len(entries), 2))
    return TreeClassifier.fit(tree, x, entries, 5, rejection or Rejection())


def test_probabilities_by_hand():
    found = classifier_of(monocytes())
    shares, names = found.spread()
    assert names == ["B", "CD14", "CD16"]
    assert shares == pytest.approx(np.array([[1 / 3, 1 / 3, 1 / 3], [0, 0.5, 0.5], [0, 1, 0], [0, 0, 1], [1, 0, 0]]))
    reached = np.array([[1, 0.8, 0.6, 0.2, 0.2]] * 2 + [[1, 0.5, 0.1, 0.1, 0.5]])
    p, _ = found.label_probabilities(Decision(np.array([2, 0, 1]), np.array(["", "distance", "votes"]), reached))
    assert p[0] == pytest.approx([0.2, 0.6, 0.2])
    # A rejected cell keeps a hundredth; the order of its labels stays.
    assert p[1] == pytest.approx(0.01 * np.array([0.2, 0.6, 0.2]) + 0.99 / 3)
    # What stays at the inner node (0.5 - 0.1 - 0.1) is halved between its leaves.
    assert p[2] == pytest.approx([0.5, 0.25, 0.25])


def test_leaves_of_two_names_share_by_their_cells():
    tree = LabelTree([-1, 0, 0], [""] * 3, ["u1", "u1", "u2"], ["CD14", "B", "Mono"], [1, 2, 1])
    shares, names = classifier_of(tree).spread()
    assert names == ["B", "CD14", "Mono"]
    assert shares[1] == pytest.approx([0, 10 / 18, 8 / 18])


def test_a_rejected_cell_keeps_the_order_of_its_labels():
    """Also if a label is at several leaves."""
    tree = LabelTree([-1, 0, 0, 0], [""] * 4, ["u1", "u1", "u2"], ["A", "B", "A"], [1, 2, 3])
    p, names = classifier_of(tree).label_probabilities(
        Decision(np.array([0]), np.array(["reconstruction"]), np.array([[1, 0.1, 0.8, 0.1]]))
    )
    assert names == ["A", "B"]
    assert p[0] == pytest.approx(0.005 * np.array([0.2, 0.8]) + 0.995 / 2)


def test_cells_stop_where_no_share_is_large_enough():
    found = classifier_of(monocytes(), Rejection(reconstruction=None)).decide(
        np.array([[9.0, 0], [0, 0], [0, 4], [0, 2], [40, 40]])
    )
    assert found.node[:3].tolist() == [4, 2, 3]
    assert found.reason.tolist() == ["", "", "", found.reason[3], "distance"]
    assert found.node[3] in (1, 2, 3)
    assert found.rejected().tolist() == [False] * 4 + [True]
    assert np.allclose(found.reached[:, [1, 4]].sum(axis=1), 1)


def test_rejection_can_be_switched_off_and_is_kept_in_the_file(tmp_path):
    found = classifier_of(monocytes(), Rejection(0.7, None, None))
    assert not found.decide(np.array([[1e4, 1e4]])).rejected().any()
    found.save(str(tmp_path / "tree.npz"))
    again = TreeClassifier.load(str(tmp_path / "tree.npz"))
    assert (again.tree, again.rejection, again.n_neighbors) == (found.tree, Rejection(0.7, None, None), 5)
    x = np.random.default_rng(1).normal(0, 5, (20, 2))
    assert np.array_equal(again.decide(x).reached, found.decide(x).reached)


def test_the_table_of_nodes():
    reached = np.array([[1, 0.8, 0.6, 0.2, 0.2]] * 3)
    found = Decision(np.array([2, 0, 0]), np.array(["", "distance", "votes"]), reached)
    table = node_table(pd.Index(list("abc")), monocytes().names(), found)
    assert table["node"].tolist() == ["CD14", "rejected", "root"]
    assert table["probability"].tolist() == pytest.approx([0.6, np.nan, 1.0], nan_ok=True)
