"""Calibration of one source and pooling of several: worked out by hand, or compared with libraries."""

import json

import numpy as np
import pytest

from refatlas.transfer.calibration import (
    MIN_BIAS_CELLS,
    MIN_LABEL_CELLS,
    calibrated,
    fit_biases,
    fit_calibrator,
    fit_temperature,
    half_balanced,
    left_out,
    log_loss,
    pool,
    temper,
    temper_to,
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


def test_a_temperature_keeps_the_most_probable_label():
    p, _ = probabilities(300)
    found = calibrated(p, {"method": "temperature", "temperature": 3.0, "floor": 0.2})
    assert found.sum(axis=1) == pytest.approx(np.ones(300))
    assert (found.argmax(axis=1) == p.argmax(axis=1)).all()


BIASES = np.log([1.0, 1.0, 1.0, 8.0])


def biased(p: np.ndarray, biases: np.ndarray) -> np.ndarray:
    raised = p * np.exp(biases)
    return raised / raised.sum(axis=1, keepdims=True)


def test_biases_undo_that_a_label_is_given_too_often():
    p, truth = probabilities(4000, sharpness=1.0)
    wrong = biased(p, BIASES)
    how = fit_biases(wrong, truth)
    found = np.array(how["biases"])
    assert found - found[0] == pytest.approx(-BIASES, abs=0.3)
    assert calibrated(wrong, how).mean(axis=0) == pytest.approx(np.bincount(truth) / len(truth), abs=0.01)
    assert log_loss(calibrated(wrong, how), truth) < log_loss(p, truth) + 0.01
    assert log_loss(calibrated(wrong, fit_temperature(wrong, truth)), truth) > log_loss(p, truth) + 0.1
    assert calibrated(wrong, json.loads(json.dumps(how))).sum(axis=1) == pytest.approx(np.ones(4000))


def test_biases_of_few_cells_are_drawn_to_zero():
    p, truth = probabilities(2000)
    many, few = (np.abs(fit_biases(biased(p, BIASES)[:n], truth[:n])["biases"]).max() for n in (2000, 50))
    assert 0 < few < 0.7 < 1 < many


@pytest.mark.parametrize("n_cells", [0, MIN_LABEL_CELLS - 1])
def test_a_label_with_hardly_any_held_out_cell_keeps_its_probability(n_cells):
    p, truth = probabilities(20_000)
    counted = np.cumsum(truth == 2) <= n_cells
    kept = (truth != 2) | counted
    how = fit_biases(biased(p[kept], BIASES), truth[kept])
    found = np.array(how["biases"])
    assert found[2] == 0
    # Those of the others are right among each other, and their mean is that of the label without cells.
    assert (found - found[0])[[1, 3]] == pytest.approx([0, -BIASES[3]], abs=0.2)
    assert found.mean() == pytest.approx(0, abs=1e-3)
    wrong, rare = biased(p, BIASES), truth == 2
    recall = (calibrated(wrong, how)[rare].argmax(axis=1) == 2).mean()
    assert recall >= (wrong[rare].argmax(axis=1) == 2).mean() - 0.02


def test_without_two_labels_of_enough_cells_a_temperature_is_fitted():
    p, truth = probabilities(400)
    of_one = truth == 1
    assert fit_biases(p[of_one], truth[of_one])["method"] == "temperature"


def test_biases_are_chosen_if_they_are_better_in_other_groups():
    p, truth = probabilities(1500)
    groups = np.repeat(["a", "b", "c"], 500)
    assert fit_calibrator(biased(p, BIASES), truth, groups)["method"] == "biases"
    assert (
        fit_calibrator(p[: MIN_BIAS_CELLS - 1], truth[: MIN_BIAS_CELLS - 1], groups[: MIN_BIAS_CELLS - 1])["method"]
        == "temperature"
    )
    assert fit_calibrator(biased(p, BIASES), truth, np.full(1500, "a"))["method"] == "temperature"


def test_biases_of_one_group_that_others_do_not_have_are_not_learned():
    p, truth = probabilities(900)
    groups = np.repeat(["a", "b", "c"], 300)
    each = {"a": BIASES, "b": BIASES[::-1], "c": np.roll(BIASES, 1)}
    wrong = np.vstack([biased(p[groups == group], biases) for group, biases in each.items()])
    assert fit_calibrator(wrong, truth, groups)["method"] == "temperature"


@pytest.mark.parametrize("wanted", [0.45, 0.6, 0.85])
def test_probabilities_are_tempered_to_a_mean_confidence(wanted):
    p, _ = probabilities(500)
    found = temper_to(p, wanted)
    assert found.max(axis=1).mean() == pytest.approx(wanted, abs=0.005)
    assert (found.argmax(axis=1) == p.argmax(axis=1)).all()
    assert found.sum(axis=1) == pytest.approx(np.ones(500))


@pytest.mark.parametrize(("wanted", "reached"), [(0.01, 0.25), (1.0, 0.9)])
def test_a_confidence_that_cannot_be_reached_is_approached(wanted, reached):
    p, _ = probabilities(500)
    found = temper_to(p, wanted)
    assert found.max(axis=1).mean() == pytest.approx(reached, abs=0.1)
    assert (found.argmax(axis=1) == p.argmax(axis=1)).all()


def test_labels_count_by_the_square_root_of_their_cells():
    weights = half_balanced(np.repeat([0, 1], [100, 4]))
    assert (weights[:100].sum(), weights[100:].sum()) == pytest.approx((10, 2))


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
