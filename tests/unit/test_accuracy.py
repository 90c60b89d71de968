"""Estimated accuracy: the confidence where the way back is usual, and less where it fails."""

import numpy as np
import pytest

from refatlas.transfer.accuracy import estimate_accuracy, relative_way_back, usual_way_back


def agreement(way_back: float | None, expected: float | None = 0.8) -> dict:
    return {"way_back": way_back, "way_back_expected": expected}


def test_the_way_back_is_relative_to_what_is_expected():
    assert relative_way_back(agreement(0.4)) == pytest.approx(np.log(0.5))
    assert relative_way_back(agreement(-0.3)) == relative_way_back(agreement(0.0)) == pytest.approx(np.log(0.05 / 0.8))
    assert relative_way_back(agreement(None)) is None
    assert relative_way_back(agreement(0.5, None)) is None


def test_the_usual_way_back_is_the_mean_of_batches_that_have_one():
    assert usual_way_back([agreement(0.8), agreement(0.4), agreement(None)]) == pytest.approx(np.log(0.5) / 2)
    assert usual_way_back([]) == usual_way_back([agreement(None)]) == 0.0


@pytest.mark.parametrize("way_back", [0.4, 0.6, 0.9, None])
def test_the_estimate_is_the_confidence_where_the_way_back_is_usual(way_back):
    found = estimate_accuracy(0.83, 500, agreement(way_back), usual=np.log(0.5))
    assert found.value == pytest.approx(0.83)
    assert found.way_back == (None if way_back is None else pytest.approx(0))
    assert estimate_accuracy(0.83, 500, None, usual=0.0).value == pytest.approx(0.83)


def test_the_estimate_falls_with_the_way_back_and_becomes_less_certain():
    found = [estimate_accuracy(0.9, 500, agreement(way_back), 0.0) for way_back in np.linspace(0.8, 0.05, 12)]
    values, widths = [each.value for each in found], [each.high - each.low for each in found]
    assert (np.diff(values) < 0).all()
    assert values[0] == pytest.approx(0.9)
    assert values[-1] < 0.7
    assert (np.diff(widths) > 0).all()
    assert all(each.confidence == 0.9 for each in found)


@pytest.mark.parametrize("confidence", [0.0, 0.05, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("n_cells", [0, 1, 30, 10_000])
@pytest.mark.parametrize("way_back", [0.8, 0.1, None])
def test_the_interval_holds_the_estimate(confidence, n_cells, way_back):
    found = estimate_accuracy(confidence, n_cells, agreement(way_back), 0.0)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.high - found.low > 0.05


def test_few_cells_widen_the_interval():
    few, many = (estimate_accuracy(0.8, n, agreement(0.8), 0.0) for n in (10, 10_000))
    assert few.value == many.value
    assert few.high - few.low > 1.5 * (many.high - many.low)
