"""Label trees in a real latent space: PCA of five donors of PBMC, two of which have one label for both kinds of
monocytes. A sixth donor is predicted.
"""

import io
from contextlib import redirect_stdout

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from refatlas.config.settings import complete_config, tree_settings
from refatlas.models.interface import JobContext
from refatlas.models.linear import Linear
from refatlas.neighbors.exact_index import nearest_neighbors
from refatlas.transfer import tree_learning, weighted_knn
from refatlas.transfer.schpl_trees import entry_code, from_schpl, to_schpl
from refatlas.transfer.tree import TreeClassifier
from refatlas.transfer.tree_learning import describe

DONORS, QUERY = ("1015", "1256", "1488", "1244", "1016"), "101"
COARSE = {"CD14+ Monocytes": "Monocytes", "FCGR3A+ Monocytes": "Monocytes"}
SETTINGS = tree_settings(complete_config({"reference": "r", "queries": "q", "tree": {"by": "batch"}}))


@pytest.fixture(scope="module")
def space(real):
    """Latent space of the donors, and their cells with batch, true label, and the label as annotated."""
    counts = ad.read_h5ad(real("kang_ctrl_8donors_1287g.h5ad"))
    counts.obs["batch"] = counts.obs["batch"].astype(str)
    counts = counts[counts.obs["batch"].isin([*DONORS, QUERY]).to_numpy()].copy()
    reference = counts[(counts.obs["batch"] != QUERY).to_numpy()][::2].copy()
    model = Linear.fit(reference, {"model": {"n_latent": 20, "C": 0.1, "max_cells": 50000}}, JobContext())
    cells = pd.DataFrame(
        {"batch": "pbmc:" + counts.obs["batch"], "truth": counts.obs["cell_type"].astype(str)}
    ).set_axis("pbmc:" + counts.obs_names)
    blurred = cells["batch"].isin([f"pbmc:{donor}" for donor in DONORS[:2]])
    cells["label"] = cells["truth"].where(~blurred, cells["truth"].replace(COARSE))
    return pd.DataFrame(model.latent(counts), index=cells.index), cells


def parts(space):
    """Return latent space and cells of the reference, and of the query."""
    latent, cells = space
    query = (cells["batch"] == f"pbmc:{QUERY}").to_numpy()
    return latent[~query], cells[~query], latent[query], cells[query]


def learn(latent, cells):
    return tree_learning.learn(latent, cells, None, [], SETTINGS, 0)


@pytest.fixture(scope="module")
def classifier(space):
    latent, cells, _, _ = parts(space)
    return learn(latent, cells)


def parents_of(classifier, label: str) -> set[str]:
    """Return the names of the nodes above those that hold a label."""
    tree = classifier.tree
    names = tree.names()
    return {
        names[tree.parents[node]]
        for name, node in zip(tree.labels, tree.nodes, strict=True)
        if name == label and node >= 0
    }


def test_the_hierarchy_between_donors_is_found(classifier):
    assert parents_of(classifier, "CD14+ Monocytes") == {"Monocytes"}
    assert parents_of(classifier, "FCGR3A+ Monocytes") == {"Monocytes"}
    assert parents_of(classifier, "B cells") == {"root"}


def test_a_held_out_donor_gets_its_finest_labels(space, classifier):
    _, _, latent, cells = parts(space)
    found = classifier.decide(latent.to_numpy())
    p, labels = classifier.label_probabilities(found)
    assert np.allclose(p.sum(axis=1), 1)
    assert "Monocytes" not in labels
    right = np.array(labels)[p.argmax(axis=1)] == cells["truth"].to_numpy()
    assert right.mean() > 0.85
    # A cell that ends at a leaf is right more often than one that stops above or is rejected.
    at_leaf = found.reason == ""
    assert right[at_leaf].mean() > right[~at_leaf].mean()
    # Weighted kNN treats "Monocytes" as a label beside the finer ones, and gives it to some of their cells.
    reference, known, _, _ = parts(space)
    neighbors = nearest_neighbors(reference.to_numpy(), latent.to_numpy(), 50)
    knn = weighted_knn.weighted_knn_table(known["label"], *neighbors, latent.index)
    assert right.mean() > (knn["label"].to_numpy() == cells["truth"].to_numpy()).mean() + 0.02


@pytest.mark.parametrize("hidden", ["B cells", "NK cells"])
def test_cells_of_a_label_that_the_tree_lacks_stop_early(space, hidden):
    latent, cells, query, truth = parts(space)
    known = (cells["label"] != hidden).to_numpy()
    found = learn(latent[known], cells[known]).decide(query.to_numpy())
    stopped, unseen = found.reason != "", (truth["truth"] == hidden).to_numpy()
    assert stopped[unseen].mean() > stopped[~unseen].mean() + 0.5


def test_the_tree_and_its_predictions_equal_those_of_schpl(space):
    """scHPL's own learn_tree and predict_labels run on few cells of three donors: they take 10 ms per cell."""
    import scHPL

    latent, cells, query, _ = parts(space)
    some = cells[cells["batch"].isin([f"pbmc:{donor}" for donor in DONORS[1:4]])].groupby("batch").head(400).index
    found = learn(latent.loc[some], cells.loc[some])
    tree, x = found.tree, found.x
    table = pd.DataFrame(
        {"unit": np.array(tree.units)[found.entries], "label": [entry_code(e) for e in found.entries]},
        index=[str(i) for i in range(len(x))],
    )
    with redirect_stdout(io.StringIO()):
        learned, _ = scHPL.learn_tree(ad.AnnData(x, obs=table), "unit", list(dict.fromkeys(tree.units)), "label")
    assert from_schpl(learned, tree) == tree
    trained = scHPL.train_tree(x, np.array(table["label"], dtype=str), to_schpl(tree), "knn")
    decision, predicted = found.decide(query.to_numpy()[:300]), scHPL.predict_labels(query.to_numpy()[:300], trained)
    # At a node with a single child, scHPL names the node's own cells by their unit: any name of a
    # node is that node.
    node_of = {name: i for i, node in enumerate(trained[0].walk()) for name in node.name}
    expected = [
        {"Rejected (RE)": "reconstruction", "Rejection (dist)": "distance"}.get(name, node_of.get(name))
        for name in predicted
    ]
    assert [
        reason if rejected else node
        for node, reason, rejected in zip(decision.node, decision.reason, decision.rejected(), strict=True)
    ] == expected


def test_a_query_extends_the_tree(space, classifier, tmp_path):
    """The query's B cells have another name, and both kinds of its monocytes one label."""
    _, _, latent, cells = parts(space)
    classifier.save(str(tmp_path / "tree.npz"))
    labels = cells["truth"].replace(COARSE).replace({"B cells": "CD19+ cells"})
    updated = tree_learning.extend(
        TreeClassifier.load(str(tmp_path / "tree.npz")), latent, labels, "query q", SETTINGS, 0
    )
    table = describe(updated)
    new = table[table["unit"] == "query q"].set_index("label")["node"]
    assert new["CD19+ cells"] == "B cells = CD19+ cells"
    assert new["Monocytes"] == "Monocytes"
    assert parents_of(updated, "CD14+ Monocytes") == {"Monocytes"}
