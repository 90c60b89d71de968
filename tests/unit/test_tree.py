"""Trees of labels: notation, structure, probabilities worked out by hand, and what a user's tree
must be.
"""

import numpy as np
import pandas as pd
import pytest

from refatlas.config.settings import complete_config, tree_settings
from refatlas.config.sheets import load_sheets
from refatlas.errors import InputError
from refatlas.transfer import delivery, tree, tree_learning
from refatlas.transfer.label_table import draw_evenly
from refatlas.transfer.newick import read_newick, write_newick
from refatlas.transfer.tree import Decision, LabelTree, Rejection, TreeClassifier, from_schpl, to_schpl
from refatlas.transfer.tree_learning import describe, entries_of, report_tree, tree_of_file

NAMES = ["", "it's (T, NK); [x]", "CD8: α", "naïve_1", "B"]
PARENTS = [-1, 0, 1, 1, 0]


def test_newick_keeps_names_of_any_characters():
    text = write_newick(PARENTS, NAMES)
    assert text == "(('CD8: α','naïve_1')'it''s (T, NK); [x]','B');\n"
    assert read_newick(text, "here") == (PARENTS, NAMES)


def test_newick_of_other_programs():
    parents, names = read_newick("[made by x] ( (CD14 Mono:0.1, CD16_Mono:2e-1 )Mono:1 ,\n B cells ) root;", "here")
    assert (parents, names) == ([-1, 0, 1, 1, 0], ["root", "Mono", "CD14 Mono", "CD16_Mono", "B cells"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("(a,b", "not closed"),
        ("(a,b))c;", "was not opened"),
        ("a,b;", "several roots"),
        ("", "no leaf"),
        ("(a,'b);", "cannot read"),
        ("a;", "no leaf"),
    ],
)
def test_what_is_no_newick_tree(text, said):
    with pytest.raises(InputError, match=f"tree.nwk is no Newick tree: .*{said}.* Expected something like"):
        read_newick(text, "tree.nwk")


def monocytes() -> LabelTree:
    """Two units: one tells the monocytes apart, the other does not."""
    return LabelTree(
        [-1, 0, 1, 1, 0], [""] * 5, ["u1"] * 3 + ["u2"] * 2, ["B", "CD14", "CD16", "Mono", "B"], [4, 2, 3, 1, 4]
    )


def classifier_of(tree: LabelTree, rejection=None) -> TreeClassifier:
    """Cells of every entry around a place of their own, 10 of each, with fewer for the last."""
    random = np.random.default_rng(0)
    places = {"A": (4, 9), "B": (9, 0), "CD14": (0, 0), "CD16": (0, 4), "Mono": (0, 2)}
    entries = np.repeat(np.arange(len(tree.labels)), 10)[:-2]
    x = np.array([places[tree.labels[e]] for e in entries]) + random.normal(0, 0.3, (len(entries), 2))
    return TreeClassifier.fit(tree, x, entries, 5, rejection or Rejection())


def test_structure():
    tree = monocytes()
    assert (tree.leaves(), tree.below(1), tree.children(0), tree.is_flat()) == ([2, 3, 4], [1, 2, 3], [1, 4], False)
    assert tree.names() == ["root", "Mono", "CD14", "CD16", "B"]
    assert LabelTree.flat(["u"] * 3, ["A", "B", "C"], [0, 2]) == LabelTree(
        [-1, 0, 0], ["", "", ""], ["u"] * 3, ["A", "B", "C"], [1, -1, 2]
    )


def test_names_of_nodes_are_unique_and_say_what_is_the_same():
    tree = LabelTree([-1, 0, 0, 0], [""] * 4, ["u1", "u1", "u2", "u2"], ["T", "Mono", "Monocyte", "T"], [1, 2, 2, 3])
    assert tree.names() == ["root", "T (u1)", "Mono = Monocyte", "T (u2)"]


def test_a_tree_goes_to_schpl_and_back():
    tree = monocytes()
    assert from_schpl(to_schpl(tree), tree) == tree
    titled = LabelTree([-1, 0, 1, 1], ["", "Myeloid", "", ""], ["u"] * 2, ["CD14", "CD16"], [2, 3])
    assert from_schpl(to_schpl(titled), titled) == titled


def test_nodes_without_cells_are_taken_out():
    left = monocytes().without_empty_nodes({0, 1})
    assert (left.parents, left.nodes) == ([-1, 0, 1, 0], [3, 2, -1, -1, -1])


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
    """Also where one label stands at several leaves."""
    tree = LabelTree([-1, 0, 0, 0], [""] * 4, ["u1", "u1", "u2"], ["A", "B", "A"], [1, 2, 3])
    p, names = classifier_of(tree).label_probabilities(
        Decision(np.array([0]), np.array(["reconstruction"]), np.array([[1, 0.1, 0.8, 0.1]]))
    )
    assert names == ["A", "B"]
    assert p[0] == pytest.approx(0.005 * np.array([0.2, 0.8]) + 0.995 / 2)


def test_cells_stop_where_the_votes_end():
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


def test_nodes_of_cells_are_told(scripts):
    reached = np.array([[1, 0.8, 0.6, 0.2, 0.2]] * 3)
    found = Decision(np.array([2, 0, 0]), np.array(["", "distance", "votes"]), reached)
    table = tree.node_table(pd.Index(list("abc")), monocytes().names(), found)
    assert table["node"].tolist() == ["CD14", "rejected", "root"]
    assert table["probability"].tolist() == pytest.approx([0.6, np.nan, 1.0], nan_ok=True)
    rows = delivery.with_nodes(
        pd.DataFrame({"label": ["x", "y"]}, index=["b", "a"]), pd.Index(["b", "a"]), {"m": table}
    )
    assert rows["m_tree_node"].tolist() == ["rejected", "CD14"]
    assert list(rows.columns) == ["label", "m_tree_node", "m_tree_node_probability"]


def test_entries_and_what_is_too_few(capsys):
    units = pd.Series(["v"] * 3 + ["u"] * 6)
    labels = pd.Series(["A", "A", None, "A", "A", "B", "B", "B", "C"])
    found = entries_of(units, labels, 2)
    assert (found[0], found[1], found[2].tolist()) == (["u", "u", "v"], ["A", "B", "A"], [2, 2, -1, 0, 0, 1, 1, 1, -1])
    assert "C (u: 1)" in capsys.readouterr().out


def test_cells_are_drawn_evenly():
    entries = np.array([0] * 50 + [-1] * 5 + [1] * 4 + [2] * 20)
    drawn = draw_evenly(entries, 24, 2, seed=0)
    assert np.bincount(entries[drawn]).tolist() == [10, 4, 10]
    assert len(draw_evenly(entries, 1000, 2, seed=0)) == 74
    assert np.bincount(entries[draw_evenly(entries, 3, 4, seed=0)]).tolist() == [4, 4, 4]


def latent_of(labels: pd.Series, seed: int = 0) -> np.ndarray:
    places = dict(zip(sorted(set(labels)), np.random.default_rng(3).normal(0, 8, (9, 4)), strict=False))
    return np.array([places[label] for label in labels]) + np.random.default_rng(seed).normal(0, 1, (len(labels), 4))


def learned(scripts, cells: pd.DataFrame, file=None, **settings) -> TreeClassifier:
    config = tree_settings(complete_config({"reference": "r", "queries": "q", "tree": settings}))
    labels = sorted(set(cells["label"]))
    return tree_learning.learn(
        pd.DataFrame(latent_of(cells["label"]), index=cells.index), cells, file, labels, config, 0
    )


@pytest.mark.parametrize("by", ["dataset", "batch"])
def test_the_same_labels_everywhere_give_a_flat_tree(scripts, capsys, by):
    cells = pd.DataFrame(
        {"batch": ["d:1", "d:2"] * 60, "label": ["A", "A", "B", "B", "C", "C"] * 20},
        index=[f"d:c{i}" for i in range(120)],
    )
    found = learned(scripts, cells, by=by)
    report_tree(found)
    assert found.tree.is_flat()
    assert found.tree.names() == ["root", "A", "B", "C"]
    assert "the tree is flat" in capsys.readouterr().out
    assert describe(found)["n_cells"].sum() == 120


def test_no_label_with_enough_cells(scripts):
    cells = pd.DataFrame({"batch": "d:1", "label": ["A", "B"]}, index=["d:1", "d:2"])
    with pytest.raises(
        InputError, match=r"no label has 10 cells in any dataset of the reference; lower tree.min_cells"
    ):
        learned(scripts, cells)


def test_a_users_tree(scripts, tmp_path, capsys):
    (tmp_path / "tree.nwk").write_text("((A,B)upper,C);")
    cells = pd.DataFrame({"batch": "d:1", "label": ["A", "B", "C", "D"] * 30}, index=[f"d:{i}" for i in range(120)])
    found = learned(scripts, cells, str(tmp_path / "tree.nwk"))
    assert found.tree.names() == ["root", "upper", "A", "B", "C"]
    assert "not in the tree, and which it therefore never gives: D" in capsys.readouterr().out
    # A fold may lack a label; its leaf goes.
    in_fold = cells[cells["label"] != "B"]
    assert tree_learning.learn(
        pd.DataFrame(latent_of(in_fold["label"]), index=in_fold.index),
        in_fold,
        str(tmp_path / "tree.nwk"),
        list("ABCD"),
        tree_settings(complete_config({"reference": "r", "queries": "q"})),
        0,
    ).tree.names() == ["root", "upper", "A", "C"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("((A,X)upper,B);", "leaves 'X' are no labels of the reference; its labels are A, B, C"),
        ("((A,B)u,A);", "labels 'A' stand at more than one node"),
        ("((A,B)u,u2,C);", "leaves 'u2'"),
    ],
)
def test_a_users_tree_must_fit_the_labels(text, said):
    with pytest.raises(InputError, match=said):
        tree_of_file(*read_newick(text, "t"), list("ABC"), "t")


def test_a_learned_tree_can_be_given_back():
    tree = tree_of_file(*read_newick("('CD14 = Mono',B);", "t"), ["B", "CD14", "Mono"], "t")
    assert tree.names() == ["root", "CD14 = Mono", "B"]


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ({"models": ["gone"]}, "tree: models: 'gone' is not in models; it holds scvi, scanvi, linear"),
        ({"models": ["linear"], "file": "gone.nwk"}, "tree: file 'gone.nwk' does not exist"),
        ({"update": ["q"]}, "tree: update needs a tree"),
        ({"classifier": "svm"}, "tree: unknown key 'classifier'"),
        ({"rejection": {"distance": 100}}, "100 is greater than or equal to the maximum of 100"),
    ],
)
def test_mistakes_in_the_configuration(tree, said):
    with pytest.raises(InputError, match=said):
        complete_config({"reference": "r", "queries": "q", "tree": tree})


def test_a_tree_that_is_none_is_refused_at_the_start(tmp_path):
    (tmp_path / "t.nwk").write_text("((A,B);")
    with pytest.raises(InputError, match="is no Newick tree"):
        complete_config(
            {"reference": "r", "queries": "q", "tree": {"models": ["linear"], "file": str(tmp_path / "t.nwk")}}
        )


def test_the_tree_as_a_single_source():
    with pytest.raises(InputError, match="'scvi' has no tree of labels"):
        complete_config(
            {
                "reference": "r",
                "queries": "q",
                "deliver": {"source": "tree", "model": "scvi"},
                "tree": {"models": ["linear"]},
            }
        )


@pytest.mark.parametrize(
    ("update", "said"),
    [("gone", "update: 'gone' is not a query"), ("q", "query 'q' has no labels to extend the tree with")],
)
def test_an_update_needs_a_query_with_labels(tmp_path, monkeypatch, update, said):
    monkeypatch.chdir(tmp_path)
    for name, column in (("reference", "dataset"), ("queries", "query")):
        (tmp_path / f"{name}.h5ad").write_text("")
        (tmp_path / f"{name}.tsv").write_text(f"{column}\tpath\n{column[0]}\t{name}.h5ad\n")
    config = complete_config(
        {"reference": "reference.tsv", "queries": "queries.tsv", "tree": {"models": ["linear"], "update": [update]}}
    )
    with pytest.raises(InputError, match=said):
        load_sheets(config)


def test_a_label_that_stands_at_the_root_stays_there_through_schpl():
    tree = LabelTree([-1, 0, 0], ["", "", ""], ["u", "u", "broad"], ["A", "B", "PBMC"], [1, 2, 0])
    again = from_schpl(to_schpl(tree), tree)
    assert (again.parents, again.nodes) == (tree.parents, tree.nodes)
