"""A cell type that the reference lacks, among similar types, on real donors: the expression shift of its
neighbourhoods detects it better than the distance of single cells, and its cells have the highest novelty by what was
learned on other types.
"""

import anndata as ad
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from refatlas.models.interface import JobContext
from refatlas.models.linear import Linear
from refatlas.transfer.hidden_labels import hidden_label_measures
from refatlas.transfer.neighborhood_shift import shift_from_reference
from refatlas.transfer.novelty import learn_novelty, novelty
from refatlas.transfer.query_match import match_to_reference
from refatlas.transfer.weighted_knn import outlier_factors

QUERIES = ("1039", "107")
# Of the reference, those that show how far known types vary.
HELD_OUT = ("1015", "1256")
SETTINGS = {"model": {"n_latent": 30, "C": 0.1, "max_cells": 50_000}}


@pytest.fixture(scope="module")
def donors(real):
    counts = ad.read_h5ad(real("kang_ctrl_8donors_1287g.h5ad"))
    counts.obs["batch"], counts.obs["label"] = counts.obs["batch"].astype(str), counts.obs["cell_type"].astype(str)
    counts.var["measured"] = True
    return (
        counts[~counts.obs["batch"].isin(QUERIES).to_numpy()][::2].copy(),
        counts[counts.obs["batch"].isin(QUERIES).to_numpy()].copy(),
    )


@pytest.mark.parametrize("hidden", ["NK cells", "CD14+ Monocytes"])
def test_a_hidden_type_shifts_its_neighborhoods(donors, hidden):
    all_types, query = donors
    reference = all_types[(all_types.obs["label"] != hidden).to_numpy()].copy()
    model, unseen = Linear.fit(reference, SETTINGS, JobContext()), (query.obs["label"] == hidden).to_numpy()
    latent = model.latent(query)
    found = roc_auc_score(unseen, shift_from_reference(model, reference, query, latent, 0))
    assert found > 0.85
    assert found > roc_auc_score(unseen, outlier_factors(model.latent(reference), latent)) + 0.1


def test_missing_genes_shift_no_neighborhood(donors):
    reference, query = donors
    model, fewer = Linear.fit(reference, SETTINGS, JobContext()), query.copy()
    fewer.var["measured"] = np.random.default_rng(0).random(query.n_vars) < 0.7
    fewer.X = fewer.X.multiply(fewer.var["measured"].to_numpy()[None, :]).tocsr()
    usual, lacking = (
        shift_from_reference(model, reference, counts, model.latent(counts), 0) for counts in (query, fewer)
    )
    assert np.mean(lacking > np.quantile(usual, 0.95)) < 0.1


def matched_measures(reference, query):
    """Return novelty measures, given label and batch of each query cell."""
    found = match_to_reference(reference, query, 0).measures_table(query.obs_names)
    return found.assign(batch=query.obs["batch"].to_numpy())


def learned_without(hidden, reference):
    """Return what is learned of novelty on two donors of a reference that lacks a type."""
    held = reference.obs["batch"].isin(HELD_OUT).to_numpy()
    trained, cells = reference[~held].copy(), reference[held].copy()
    tables = hidden_label_measures(
        trained.X.tocsr(),
        trained.obs["label"].to_numpy(dtype=str),
        cells.X.tocsr(),
        cells.obs["label"].to_numpy(dtype=object),
        cells.obs["batch"].to_numpy(dtype=str),
        cells.var["measured"].to_numpy(dtype=bool),
        0,
    )
    assert hidden not in set(tables["hidden"])
    return learn_novelty(matched_measures(trained, cells), tables.assign(fold="fold_1"))


@pytest.fixture(scope="module", params=["NK cells", "CD14+ Monocytes"])
def judged(request, donors):
    """The hidden type, which query cells are of it, and the novelty of each cell."""
    hidden, (all_types, query) = request.param, donors
    reference = all_types[(all_types.obs["label"] != hidden).to_numpy()].copy()
    found = novelty(matched_measures(reference, query), learned_without(hidden, reference))
    return hidden, (query.obs["label"] == hidden).to_numpy(), found


def test_cells_of_a_hidden_type_have_the_highest_novelty(judged):
    _, unseen, found = judged
    for column in ("novelty", "novelty_in_label"):
        assert roc_auc_score(unseen, found[column]) > 0.85


def test_few_known_cells_are_novel_and_most_of_a_type_that_is_unlike_the_others(judged):
    hidden, unseen, found = judged
    novel = found[["novelty", "novelty_in_label"]].min(axis=1).to_numpy() >= 0.9
    assert novel[~unseen].mean() < 0.15
    # NK cells are given the label of CD8 T cells, which vary as much: they are ranked first, and few are called novel.
    if hidden == "CD14+ Monocytes":
        assert novel[unseen].mean() > 0.5
