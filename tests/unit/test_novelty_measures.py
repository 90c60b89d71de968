"""Novelty measures: larger for a type that the reference lacks, and smoothed within batches."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from refatlas.prepare.normalization import log_normalized
from refatlas.transfer.matched_reference import MatchedReference
from refatlas.transfer.novelty_measures import (
    MEASURES,
    MIN_NEIGHBORHOOD_CELLS,
    NEIGHBORS,
    _mahalanobis,
    novelty_measures,
    smoothed,
)
from refatlas.transfer.query_match import aligned
from simulated_cells import N_GENES, simulated_cells

STRENGTH = 1.5


@pytest.fixture(scope="module")
def reference():
    counts, labels = simulated_cells(dict.fromkeys("ABCD", 80), 0, strength=STRENGTH)
    return MatchedReference.fit(counts, labels, depth=1500.0, seed=0)


def measures_of(reference, counts, batches) -> pd.DataFrame:
    none = [(batches == name, np.zeros(N_GENES)) for name in np.unique(batches)]
    return novelty_measures(reference, aligned(reference, log_normalized(counts), batches, none))


@pytest.mark.parametrize("measure", MEASURES)
def test_cells_of_an_unseen_type_have_larger_values(reference, measure):
    counts, types = simulated_cells({"A": 60, "B": 60, "C": 60, "E": 40}, 1, strength=STRENGTH)
    found = measures_of(reference, counts, np.full(len(types), "b"))
    assert list(found) == list(MEASURES)
    # Within the noise of these few cells, a close type is hardly further away.
    assert roc_auc_score(types == "E", found[measure]) > (0.65 if measure == "distance" else 0.9)


def test_neighbourhoods_of_small_batches_say_nothing(reference):
    counts, _ = simulated_cells({"A": 60, "B": 60}, 1, strength=STRENGTH)
    batches = np.repeat(["large", "small"], [MIN_NEIGHBORHOOD_CELLS, 120 - MIN_NEIGHBORHOOD_CELLS])
    batches[-1] = "large"
    found = measures_of(reference, counts, batches)
    assert found.loc[batches == "small", "neighborhood_shift"].isna().all()
    assert found.loc[batches == "large", "neighborhood_shift"].notna().all()
    assert found.drop(columns="neighborhood_shift").notna().all(axis=None)


def test_distances_to_labels_by_their_definition(reference):
    latent = np.random.default_rng(0).normal(0, 2, (5, reference.latent.shape[1]))
    nearest, background = _mahalanobis(reference, latent)
    means = np.stack([reference.latent[reference.codes == k].mean(axis=0) for k in range(4)])
    residuals = reference.latent - means[reference.codes]

    def squared(covariance, differences):
        width = len(covariance)
        inverse = np.linalg.inv(covariance + 1e-3 * np.trace(covariance) / width * np.eye(width))
        return np.einsum("ij,jk,ik->i", differences, inverse, differences)

    within, n = residuals.T @ residuals / len(residuals), len(residuals)
    expected = np.min([squared(within, latent - mean) for mean in means], axis=0)
    assert nearest == pytest.approx(expected, rel=1e-3)
    away = reference.latent - reference.latent.mean(axis=0)
    assert background == pytest.approx(squared(away.T @ away / n, latent - reference.latent.mean(axis=0)), rel=1e-3)


def test_values_are_averaged_with_those_of_the_nearest_cells_by_hand():
    latent = np.repeat([[0.0], [50.0]], NEIGHBORS, axis=0) + np.arange(2 * NEIGHBORS)[:, None] / 100
    values = np.concatenate([np.arange(NEIGHBORS), np.zeros(NEIGHBORS)])
    found = smoothed(pd.DataFrame({"x": values}), latent, np.full(2 * NEIGHBORS, "b"))
    assert found["x"].tolist() == pytest.approx((values + np.repeat([(NEIGHBORS - 1) / 2, 0], NEIGHBORS)) / 2)


def test_cells_are_not_averaged_over_batches_and_small_ones_not_at_all():
    n = 2 * NEIGHBORS
    batches = np.repeat(["low", "high", "small"], [n, n, n - 1])
    values = pd.DataFrame({"x": np.concatenate([np.zeros(n), np.ones(n), np.arange(n - 1)])})
    found = smoothed(values, np.random.default_rng(0).normal(size=(len(batches), 2)), batches)["x"]
    assert found[batches == "low"].eq(0).all()
    assert found[batches == "high"].eq(1).all()
    assert found[batches == "small"].tolist() == list(range(n - 1))
