"""Agreement of labels without known ones: as expected where labels are right, by chance where they are not."""

import numpy as np
import pytest

from refatlas.prepare.normalization import log_normalized
from refatlas.transfer.label_agreement import AGREEMENT, HalfClassifiers, source_agreement
from refatlas.transfer.matched_reference import MatchedReference
from refatlas.transfer.novelty_measures import AlignedCells
from simulated_cells import N_GENES, simulated_cells

NO_SHIFT = np.zeros(N_GENES)


@pytest.fixture(scope="module")
def halves():
    reference = MatchedReference.fit(*simulated_cells(dict.fromkeys("ABCD", 80), 0), depth=1500.0, seed=0)
    return HalfClassifiers.fit(reference, seed=0)


def agreement(halves, counts, seed: int = 0, shuffled: bool = False) -> dict:
    expression = log_normalized(counts)
    given = halves.probabilities(expression, NO_SHIFT)
    if shuffled:
        order = np.random.default_rng(seed).permutation(len(given[0]))
        given = [p[order] for p in given]
    return halves.agreement(expression, given, seed)


@pytest.fixture(scope="module")
def query():
    return simulated_cells({"A": 60, "B": 60, "C": 60, "D": 60}, 1)[0]


def test_the_halves_see_different_genes(halves):
    assert (halves.genes.sum(axis=0) == 1).all()
    assert halves.genes.sum(axis=1).tolist() == [N_GENES / 2, N_GENES / 2]
    assert np.bincount(halves.fitted[1]).tolist() == np.bincount(halves.others[1]).tolist() == [40] * 4


def test_a_shift_of_the_cells_is_taken_off(halves, query):
    expression = log_normalized(query)
    shift = np.random.default_rng(0).normal(0, 0.3, N_GENES)
    moved = expression + np.tile(shift, (expression.shape[0], 1))
    for p, expected in zip(
        halves.probabilities(np.asarray(moved), shift), halves.probabilities(expression, NO_SHIFT), strict=True
    ):
        assert p == pytest.approx(expected, abs=1e-3)


def test_right_labels_reach_what_is_expected(halves, query):
    found = agreement(halves, query)
    assert found["way_back"] == pytest.approx(found["way_back_expected"], abs=0.05)
    assert found["way_back"] > 0.9
    assert found["halves"] == pytest.approx(found["halves_expected"], abs=0.05)


def test_the_way_back_fails_for_genes_under_wrong_names(halves, query):
    found = [agreement(halves, query[:, np.random.default_rng(seed).permutation(N_GENES)], seed) for seed in range(6)]
    assert abs(np.mean([each["way_back"] for each in found])) < 0.25
    assert np.mean([each["way_back_expected"] for each in found]) > 0.8
    assert np.mean([each["halves"] for each in found]) < 0.5


def test_the_way_back_fails_for_labels_of_other_cells(halves, query):
    found = [agreement(halves, query, seed, shuffled=True)["way_back"] for seed in range(3)]
    assert abs(np.mean(found)) < 0.2


def test_with_a_single_label_there_is_no_way_back(halves):
    found = agreement(halves, simulated_cells({"A": 100}, 2)[0])
    assert found["way_back"] is None
    assert found["way_back_expected"] is None
    assert found["halves"] > 0.8


def test_reference_cells_are_drawn_with_the_composition_of_the_labels(halves):
    expression = log_normalized(simulated_cells({"A": 90, "B": 30}, 2)[0])
    alike = halves._others_like(halves.probabilities(expression, NO_SHIFT), seed=0)
    given = np.sum(halves.probabilities(alike, NO_SHIFT), axis=0).argmax(axis=1)
    assert (given == 0).mean() == pytest.approx(0.75, abs=0.1)
    assert (given >= 2).mean() < 0.05


def test_agreement_of_the_sources_by_hand():
    # Two groups of cells far apart, of 20 cells each; in the second, kNN has another label.
    latent = np.vstack([np.zeros((20, 2)), np.full((20, 2), 100.0)]) + np.random.default_rng(0).normal(0, 1, (40, 2))
    a, b = np.tile([0.9, 0.1], (20, 1)), np.tile([0.1, 0.9], (20, 1))
    sources = {"classifier": np.vstack([a, b]), "knn": np.vstack([a, a]), "logistic": np.vstack([a, b])}
    cells = AlignedCells(None, latent, None, sources, sources["classifier"], np.full(40, "b"))
    everything = np.ones(40, dtype=bool)
    # kNN agrees in half of the cells, the regression on components in all.
    assert source_agreement(cells, everything, 0) == {"sources": 0.75, "coherence": 1.0}
    assert source_agreement(cells, np.arange(40) < 20, 0)["sources"] == 1.0
    assert {"sources", "coherence"} < set(AGREEMENT)
