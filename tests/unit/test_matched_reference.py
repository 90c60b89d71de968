"""The baseline as a query measures the reference: thinned to its depth, and moved by its shift."""

import numpy as np
import pytest
from scipy import sparse

from refatlas.prepare.normalization import log_normalized
from refatlas.transfer.matched_reference import MatchedReference, thinned
from simulated_cells import N_GENES, simulated_cells


@pytest.fixture(scope="module")
def deep():
    return simulated_cells({"A": 60, "B": 60, "C": 60}, 0, depth=3000)


@pytest.fixture(scope="module")
def matched(deep):
    return MatchedReference.fit(*deep, depth=3000.0, seed=0)


def test_thinning_keeps_whole_counts_and_their_share(deep):
    found = thinned(deep[0], 0.25, seed=0)
    assert found.sum() == pytest.approx(0.25 * deep[0].sum(), rel=0.01)
    assert (found.data == found.data.astype(int)).all()
    assert (found.data > 0).all()
    assert ((deep[0] - found).toarray() >= 0).all()


def test_a_reference_is_thinned_to_a_shallower_query(deep):
    shallow, _ = simulated_cells({"A": 60, "B": 60, "C": 60}, 1, depth=300)
    found = MatchedReference.fit(*deep, depth=300.0, seed=0)
    assert found.depth_ratio == pytest.approx(0.1, rel=0.02)
    assert np.median(found.expression.getnnz(axis=1)) == pytest.approx(np.median(shallow.getnnz(axis=1)), rel=0.05)


@pytest.mark.parametrize("depth", [2700.0, 30_000.0])
def test_it_is_not_thinned_to_a_query_of_its_depth_or_deeper(deep, depth):
    found = MatchedReference.fit(*deep, depth=depth, seed=0)
    assert (found.expression != log_normalized(deep[0])).nnz == 0


def test_a_shift_that_is_taken_off_leaves_everything_as_it_was(deep, matched):
    expression = log_normalized(deep[0][:50])
    shift = np.random.default_rng(0).normal(0, 0.5, N_GENES)
    moved = sparse.csr_matrix(expression.toarray() + shift)
    assert matched.project(moved, shift) == pytest.approx(matched.project(expression), abs=1e-3)
    none = np.zeros(N_GENES)
    assert matched.gene_scores(moved, shift) == pytest.approx(matched.gene_scores(expression, none), abs=1e-3)
    assert np.abs(matched.project(moved) - matched.project(expression)).max() > 0.5


def test_every_source_gives_probabilities_of_the_labels(deep, matched):
    expression = log_normalized(deep[0])
    none = np.zeros(N_GENES)
    found = matched.probabilities(expression, none, matched.project(expression))
    assert list(found) == ["classifier", "knn", "logistic"]
    for p in found.values():
        assert p.shape == (180, 3)
        assert p.sum(axis=1) == pytest.approx(np.ones(180), abs=1e-6)
        assert (matched.labels[p.argmax(axis=1)] == deep[1]).mean() > 0.95


def test_cells_are_drawn_evenly_from_the_labels():
    counts, labels = simulated_cells({"A": 300, "B": 60, "C": 60}, 0)
    found = MatchedReference.fit(counts, labels, 1500.0, seed=0, max_cells=180)
    assert np.bincount(found.codes).tolist() == [60, 60, 60]
    assert found.labels.tolist() == ["A", "B", "C"]
