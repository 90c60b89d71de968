"""Checks of a query: limits by hand, and how seldom a sound query exceeds any."""

import numpy as np
import pytest
from scipy.stats import t

from refatlas.evaluate.checks import CHECKS, FALSE_ALARMS, all_checks, beyond, checked, limits, value_of

BY_NAME = {check.measure: check for check in CHECKS}


def test_a_measure_of_several_models_is_their_mean():
    measures = {"mixing:m": 0.5, "mixing:n": 0.7, "mixing:o": None, "depth": 0.1}
    assert value_of(measures, "mixing:") == pytest.approx(0.6)
    assert value_of(measures, "depth") == 0.1
    assert value_of(measures, "doublets") is None
    assert value_of({"mixing:o": None}, "mixing:") is None


def test_with_few_batches_limits_are_a_margin_beyond_the_worst():
    assert limits(BY_NAME["confidence"], [0.9, 0.85]) == (pytest.approx(0.8), None)
    assert limits(BY_NAME["doublets"], [0.3, 0.35]) == (None, pytest.approx(0.45))
    # Of a log ratio to the reference, 0 is usual in any case.
    assert limits(BY_NAME["depth"], [0.5, 0.4]) == pytest.approx((-1.0, 1.5))


def test_without_held_out_batches_limits_are_fixed():
    assert limits(BY_NAME["confidence"], []) == (pytest.approx(0.65), None)
    assert limits(BY_NAME["deviance_ratio:"], []) == (None, None)
    # Held-out batches have all genes, and cannot show what is usual.
    assert limits(BY_NAME["gene_overlap"], [0.2, 0.3, 0.1]) == limits(BY_NAME["gene_overlap"], [])


def test_with_batches_that_vary_limits_are_those_of_a_prediction_interval():
    values = [0.5, 0.9, 0.7]
    half = t.ppf(1 - FALSE_ALARMS / len(CHECKS), 2) * 0.2 * np.sqrt(4 / 3)
    assert limits(BY_NAME["confidence"], values)[0] == pytest.approx(0.7 - half)
    assert 0.7 - half < 0.5 - BY_NAME["confidence"].margin
    # With two batches, their spread says too little.
    assert limits(BY_NAME["confidence"], values[:2])[0] == pytest.approx(0.45)
    # With batches that are alike, the margin is wider.
    assert limits(BY_NAME["confidence"], [0.9, 0.9, 0.9])[0] == pytest.approx(0.85)


def test_the_fewer_batches_the_wider_the_limits():
    low = [limits(BY_NAME["confidence"], [0.8, 0.9] * n)[0] for n in (2, 4, 40)]
    assert low[0] < low[1] < low[2]


@pytest.mark.parametrize("n_batches", [3, 5, 10])
def test_a_sound_query_seldom_has_any_unusual_measure(n_batches):
    random = np.random.default_rng(n_batches)
    free = [check.measure.replace(":", ":m") for check in CHECKS if not check.fixed]
    usual = {check.measure: check.usual for check in CHECKS if check.fixed}

    def batch() -> dict:
        # Batches that vary more than the margins.
        return {**usual, **{name: random.normal(0, 5) for name in free}}

    alarms = [
        any(found["unusual"] for found in all_checks(batch(), [batch() for _ in range(n_batches)])) for _ in range(400)
    ]
    assert np.mean(alarms) <= 1.5 * FALSE_ALARMS


def test_a_check_by_hand():
    found = checked(BY_NAME["confidence"], {"confidence": 0.6}, [{"confidence": 0.9}, {"confidence": 0.8}, {}])
    assert found["unusual"]
    assert (found["check"], found["value"], found["usual"], found["held_out"]) == (
        "confidence",
        0.6,
        [0.75, None],
        [0.9, 0.8],
    )
    assert found["meaning"]
    assert found["remedy"]
    assert checked(BY_NAME["confidence"], {}, []) is None


def test_values_on_a_limit_are_usual():
    assert not beyond(0.5, 0.5, None)
    assert beyond(0.49, 0.5, None)
    assert beyond(0.6, None, 0.5)
    assert not beyond(9.9, None, None)
