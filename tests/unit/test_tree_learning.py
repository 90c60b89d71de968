"""Trees of labels that are learned from cells, or trained on a user's file."""

import numpy as np
import pandas as pd
import pytest

from refatlas.config.settings import complete_config, tree_settings
from refatlas.errors import InputError
from refatlas.transfer import tree_learning
from refatlas.transfer.tree import TreeClassifier
from refatlas.transfer.tree_learning import describe, nodes_of_unit, report_tree


def latent_of(labels: pd.Series, seed: int = 0) -> np.ndarray:
    places = dict(zip(sorted(set(labels)), np.random.default_rng(3).normal(0, 8, (9, 4)), strict=False))
    return np.array([places[label] for label in labels]) + np.random.default_rng(seed).normal(0, 1, (len(labels), 4))


def learned(cells: pd.DataFrame, file=None, **settings) -> TreeClassifier:
    config = tree_settings(complete_config({"reference": "r", "queries": "q", "tree": settings}))
    labels = sorted(set(cells["label"]))
    return tree_learning.learn(
        pd.DataFrame(latent_of(cells["label"]), index=cells.index), cells, file, labels, config, 0
    )


@pytest.mark.parametrize("by", ["dataset", "batch"])
def test_the_same_labels_everywhere_give_a_flat_tree(capsys, by):
    cells = pd.DataFrame(
        {"batch": ["d:1", "d:2"] * 60, "label": ["A", "A", "B", "B", "C", "C"] * 20},
        index=[f"d:c{i}" for i in range(120)],
    )
    found = learned(cells, by=by)
    report_tree(found)
    assert found.tree.is_flat()
    assert found.tree.names() == ["root", "A", "B", "C"]
    assert "the tree is flat" in capsys.readouterr().out
    assert describe(found)["n_cells"].sum() == 120


def test_no_label_with_enough_cells():
    cells = pd.DataFrame({"batch": "d:1", "label": ["A", "B"]}, index=["d:1", "d:2"])
    with pytest.raises(
        InputError, match=r"no label has 10 cells in any dataset of the reference; lower tree.min_cells"
    ):
        learned(cells)


def test_a_users_tree(tmp_path, capsys):
    (tmp_path / "tree.nwk").write_text("((A,B)upper,C);")
    cells = pd.DataFrame({"batch": "d:1", "label": ["A", "B", "C", "D"] * 30}, index=[f"d:{i}" for i in range(120)])
    found = learned(cells, str(tmp_path / "tree.nwk"))
    assert found.tree.names() == ["root", "upper", "A", "B", "C"]
    assert "not in the tree and that it never predicts: D" in capsys.readouterr().out
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


def test_nodes_of_one_unit():
    tree = tree_learning.LabelTree([-1, 0, 0], [""] * 3, ["u", "query q", "query q"], ["A", "A", "new"], [1, 1, 2])
    assert nodes_of_unit(tree, "query q") == {2}
