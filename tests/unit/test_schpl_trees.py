"""Trees of labels survive the way to scHPL and back."""

from test_label_tree import monocytes

from refatlas.transfer.label_tree import LabelTree
from refatlas.transfer.schpl_trees import from_schpl, to_schpl


def test_a_tree_goes_to_schpl_and_back():
    tree = monocytes()
    assert from_schpl(to_schpl(tree), tree) == tree
    titled = LabelTree([-1, 0, 1, 1], ["", "Myeloid", "", ""], ["u"] * 2, ["CD14", "CD16"], [2, 3])
    assert from_schpl(to_schpl(titled), titled) == titled


def test_a_label_at_the_root_stays_there():
    tree = LabelTree([-1, 0, 0], ["", "", ""], ["u", "u", "broad"], ["A", "B", "PBMC"], [1, 2, 0])
    again = from_schpl(to_schpl(tree), tree)
    assert (again.parents, again.nodes) == (tree.parents, tree.nodes)
