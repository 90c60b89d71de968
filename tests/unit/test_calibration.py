"""Calibration, pooling and prediction sets: worked out by hand, or compared with libraries."""

import numpy as np
import pandas as pd
import pytest

from refatlas.transfer.calibration import (
    calibrated,
    fit_calibrator,
    fit_pool,
    fit_sets,
    fit_temperature,
    left_out,
    log_loss,
    pool,
    prediction_sets,
    temper,
)


def probabilities(n: int, n_labels: int = 4, sharpness: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return over- or underconfident probabilities, and labels drawn from the true ones."""
    random = np.random.default_rng(seed)
    p = random.dirichlet(np.full(n_labels, 0.4), n)
    truth = np.array([random.choice(n_labels, p=row) for row in p])
    raised = np.maximum(p, 1e-12) ** sharpness
    return raised / raised.sum(axis=1, keepdims=True), truth


def test_temperature_undoes_overconfidence():
    p, truth = probabilities(4000, sharpness=2.5)
    how = fit_temperature(p, truth)
    assert how["temperature"] == pytest.approx(2.5, rel=0.1)
    assert how["floor"] < 0.01


def test_temperature_equals_scikit_learn():
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.frozen import FrozenEstimator

    class Given(ClassifierMixin, BaseEstimator):
        classes_ = np.arange(4)

        def fit(self, x, y):
            return self

        def __sklearn_is_fitted__(self):
            return True

        def predict_proba(self, x):
            return x

        def predict(self, x):
            return x.argmax(axis=1)

    p, truth = probabilities(3000, sharpness=2.0)
    expected = CalibratedClassifierCV(FrozenEstimator(Given()), method="temperature").fit(p, truth).predict_proba(p)
    ours = calibrated(p, fit_temperature(p, truth))
    assert log_loss(ours, truth) <= log_loss(expected, truth) + 1e-3
    assert np.abs(ours - expected).mean() < 0.01


def test_a_floor_raises_probabilities_of_zero():
    assert temper(np.array([[1.0, 0.0]]), 1.0, 0.1) == pytest.approx(np.array([[0.95, 0.05]]))
    assert temper(np.array([[0.8, 0.2]]), 2.0, 0.0) == pytest.approx(np.array([[2 / 3, 1 / 3]]))


@pytest.mark.parametrize(
    "how",
    [
        {"method": "isotonic", "x": [0.2, 0.9], "y": [0.1, 0.6]},
        {"method": "temperature", "temperature": 3.0, "floor": 0.2},
    ],
)
def test_calibrated_rows_sum_to_one_and_keep_their_most_probable_label(how):
    p, _ = probabilities(300)
    found = calibrated(p, how)
    assert found.sum(axis=1) == pytest.approx(np.ones(300))
    rows = np.arange(300)
    assert (found[rows, p.argmax(axis=1)] >= found.max(axis=1) - 1e-12).all()


def test_few_cells_get_a_temperature_and_many_may_get_a_curve():
    p, truth = probabilities(200)
    assert fit_calibrator(p, truth, np.repeat(["a", "b"], 100))["method"] == "temperature"
    # A source whose accuracy falls with its confidence, which no temperature can correct.
    random = np.random.default_rng(0)
    top = random.uniform(0.5, 1.0, 3000)
    p = np.stack([top, 1 - top], axis=1)
    truth = np.where(random.random(3000) < np.where(top > 0.75, 0.55, 0.95), 0, 1)
    how = fit_calibrator(p, truth, np.repeat(["a", "b", "c"], 1000))
    assert how["method"] == "isotonic"


def test_parts_are_batches_or_thirds():
    assert [mask.tolist() for mask in left_out(np.array(["a", "b", "a"]))] == [
        [True, False, True],
        [False, True, False],
    ]
    assert sum(mask.sum() for mask in left_out(np.array(["a"] * 10))) == 10
    many = np.repeat(np.arange(40).astype(str), 3)
    assert len(left_out(many)) == 6
    assert np.sum(left_out(many), axis=0).tolist() == [1] * len(many)


def test_pool_by_hand():
    sources = [np.array([[0.8, 0.2]]), np.array([[0.5, 0.5]])]
    assert pool(sources, np.array([1.0, 1.0])) == pytest.approx(np.array([[0.8, 0.2]]))
    assert pool(sources, np.array([0.5, 1.0])) == pytest.approx(np.array([[2 / 3, 1 / 3]]))


def test_the_pool_trusts_the_source_that_knows():
    good, truth = probabilities(1000)
    useless = np.random.default_rng(1).dirichlet(np.ones(4), 1000)
    weights = fit_pool([good, useless], truth)
    assert weights[0] > 0.7
    assert weights[1] < 0.1


def test_sets_cover_every_label_as_promised():
    p, truth = probabilities(6000, sharpness=1.7)
    limits = fit_sets(p[:3000], truth[:3000], alpha=0.1)
    inside = prediction_sets(p[3000:], limits)
    covered = pd.Series(inside[np.arange(3000), truth[3000:]]).groupby(truth[3000:]).mean()
    assert covered.between(0.86, 0.94).all()
    assert inside.any(axis=1).all()


def test_limits_of_sets_by_hand():
    # Nine cells of label 0: the smallest of their probabilities is the limit at alpha 0.1, because
    # (9 + 1) * 0.1 = 1.
    p = np.stack([np.linspace(0.1, 0.9, 9), 1 - np.linspace(0.1, 0.9, 9)], axis=1)
    assert fit_sets(p, np.zeros(9, dtype=int), 0.1, prior=0)[0] == pytest.approx(0.1)
    assert fit_sets(p, np.zeros(9, dtype=int), 0.05, prior=0)[0] == 0.0


def test_a_rare_label_takes_most_of_its_limit_from_all_cells():
    # Ninety cells of label 0 with 0.01 … 0.90, ten of label 1 with 0.001 … 0.010, which alone would
    # put label 1 into every set.
    own = np.concatenate([np.arange(1, 91) / 100, np.arange(1, 11) / 1000])
    truth = np.repeat([0, 1], [90, 10])
    p = np.where((truth == 0)[:, None], np.stack([own, 1 - own], axis=1), np.stack([1 - own, own], axis=1))
    alone, joined = fit_sets(p, truth, 0.2, prior=0)[1], fit_sets(p, truth, 0.2, prior=100)[1]
    assert alone == pytest.approx(0.002)
    # Of (110 + 1) * 0.2 = 22.2 cells, the ten own ones take 2 each, and two of the others 1 each.
    assert joined == pytest.approx(0.02)
