"""Prediction sets: limits by hand, and coverage of every label on exchangeable cells."""

import numpy as np
import pytest
from test_calibration import probabilities

from refatlas.transfer.conformal import RARE, fit_sets, prediction_sets

ALPHA, N_RARE, N_COMMON = 0.1, 5, 5000


def test_limits_by_hand():
    # Nineteen and more cells of label 0: of 19 cells, (19 + 1) * 0.1 = 2 may fall below the limit or on it.
    own = np.linspace(0.05, 0.95, 19)
    p = np.stack([own, 1 - own], axis=1)
    assert fit_sets(p, np.zeros(19, dtype=int), 0.1).tolist() == pytest.approx([0.1, 0.1])
    assert fit_sets(p[:9], np.zeros(9, dtype=int), 0.05).tolist() == [0.0, 0.0]


def test_rare_labels_share_one_limit_and_frequent_ones_have_their_own():
    # Thirty cells of label 0, ten of label 1, nine of label 2, none of label 3.
    own = np.concatenate([np.arange(1, 31) / 31, np.arange(1, 11) / 100, np.arange(1, 10) / 50])
    truth = np.repeat([0, 1, 2], [30, 10, 9])
    p = np.zeros((49, 4))
    p[np.arange(49), truth] = own
    limits = fit_sets(p, truth, 0.1)
    assert RARE > 10
    # Of 30 cells, 3 may fall out; of the other 19, whose least are 0.01 and 0.02, 2 may.
    assert limits.tolist() == pytest.approx([3 / 31, 0.02, 0.02, 0.02])


def test_the_most_probable_label_is_always_in_the_set():
    p = np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3]])
    limits = np.array([0.9, 0.2, 0.2])
    assert prediction_sets(p, limits, ALPHA).tolist() == [[True, True, False], [False, True, True]]


def test_a_cell_whose_label_misses_its_limit_has_the_labels_that_reach_one_less_alpha_together():
    # Labels that are told apart well have high limits, which a cell between them reaches for none.
    p = np.array([[0.30, 0.28, 0.22, 0.20], [0.85, 0.06, 0.05, 0.04], [0.95, 0.02, 0.02, 0.01], [0.5, 0.4, 0.1, 0.0]])
    found = prediction_sets(p, np.full(4, 0.99), ALPHA)
    assert found.sum(axis=1).tolist() == [4, 2, 1, 2]
    assert found[1].tolist() == [True, True, False, False]
    # A label with a low limit of its own is in the set besides.
    assert prediction_sets(p[1:2], np.array([0.99, 0.99, 0.99, 0.01]), ALPHA).tolist() == [[True, True, False, True]]
    # A cell like the held-out ones of its label has the labels that reach their limits, and no others.
    assert prediction_sets(p[:1], np.array([0.29, 0.99, 0.99, 0.99]), ALPHA).tolist() == [[True, False, False, False]]


def test_the_given_label_is_in_the_set_though_another_is_more_probable():
    p = np.array([[0.40, 0.35, 0.25]])
    found = prediction_sets(p, np.array([0.3, 0.9, 0.9]), ALPHA, np.array([1]))
    assert found.tolist() == [[True, True, False]]


def drawn(random: np.random.Generator, n_rare: int, n_common: int) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities of five rare labels that are hard to tell, and of a common one that is easy."""
    truth = np.concatenate([np.repeat(np.arange(N_RARE), n_rare), np.full(n_common, N_RARE)])
    own = np.where(truth < N_RARE, random.beta(2, 2, len(truth)), random.beta(20, 1, len(truth)))
    p = np.tile(((1 - own) / N_RARE)[:, None], (1, N_RARE + 1))
    p[np.arange(len(truth)), truth] = own
    return p, truth


@pytest.mark.parametrize("n_cells", [10, 20, 50, 100, 500])
def test_rare_labels_beside_a_common_one_are_covered(n_cells):
    random, covered = np.random.default_rng(n_cells), []
    tested, truth = drawn(random, 500, 500)
    for _ in range(20):
        limits = fit_sets(*drawn(random, n_cells, N_COMMON), ALPHA)
        # Without the rule that the most probable label is in the set, which would hide what limits lack.
        inside = (tested >= limits)[np.arange(len(truth)), truth]
        covered.append([inside[truth == label].mean() for label in range(N_RARE + 1)])
    coverage = np.mean(covered, axis=0)
    assert coverage[:N_RARE].min() >= 0.85
    assert coverage[:N_RARE].mean() == pytest.approx(1 - ALPHA, abs=0.03)
    assert coverage[N_RARE] == pytest.approx(1 - ALPHA, abs=0.03)


def test_every_label_of_a_miscalibrated_source_is_covered():
    p, truth = probabilities(6000, sharpness=1.7)
    inside = prediction_sets(p[3000:], fit_sets(p[:3000], truth[:3000], ALPHA), ALPHA)
    covered = inside[np.arange(3000), truth[3000:]]
    assert all(0.86 < covered[truth[3000:] == label].mean() < 0.94 for label in range(4))
