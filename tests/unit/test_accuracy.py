"""Estimated accuracy: the confidence where the way back is usual, and less where it fails."""

import numpy as np
import pytest

from refatlas.transfer.accuracy import UsualWayBack, estimate_accuracy, relative_way_back, usual_way_back


def agreement(way_back: float | None, expected: float | None = 0.8) -> dict:
    return {"way_back": way_back, "way_back_expected": expected}


def test_the_way_back_is_relative_to_what_is_expected():
    assert relative_way_back(agreement(0.4)) == pytest.approx(np.log(0.5))
    assert relative_way_back(agreement(-0.3)) == relative_way_back(agreement(0.0)) == pytest.approx(np.log(0.05 / 0.8))
    assert relative_way_back(agreement(None)) is None
    assert relative_way_back(agreement(0.5, None)) is None


def test_the_usual_way_back_is_the_mean_of_batches_that_have_one():
    found = usual_way_back([agreement(0.8), agreement(0.3, 0.6), agreement(None)])
    assert found.relative == pytest.approx(np.log(0.5) / 2)
    assert found.expected == pytest.approx(0.7)
    assert usual_way_back([]) == usual_way_back([agreement(None)]) == UsualWayBack(0.0, 0.0)


@pytest.mark.parametrize(
    ("found", "largest", "tested"),
    [
        (agreement(0.8), 0.5, True),
        (agreement(0.8), 0.89, True),
        # Nearly all cells have one label.
        (agreement(0.8), 0.9, False),
        # Reference cells of such a composition teach nothing either.
        (agreement(0.2, 0.19), 0.5, False),
        (agreement(0.2, 0.21), 0.5, True),
        (agreement(None), 0.5, False),
        (None, 0.5, False),
    ],
)
def test_labels_are_tested_only_where_the_way_back_can_tell_wrong_from_right(found, largest, tested):
    usual = UsualWayBack(0.0, 0.4)
    estimate = estimate_accuracy(0.95, 500, found, usual, largest)
    assert estimate.tested == tested
    assert (estimate.high - estimate.low > 0.2) == (not tested)


def test_a_way_back_that_fails_counts_also_where_one_that_succeeds_says_nothing():
    failing, fine = (
        estimate_accuracy(0.95, 500, agreement(found, 0.3), UsualWayBack(0.0, 0.8)) for found in (0.05, 0.3)
    )
    assert not failing.tested
    assert not fine.tested
    assert failing.value < fine.value == pytest.approx(0.95)


@pytest.mark.parametrize("way_back", [0.4, 0.6, 0.9, None])
def test_the_estimate_is_the_confidence_where_the_way_back_is_usual(way_back):
    found = estimate_accuracy(0.83, 500, agreement(way_back), UsualWayBack(np.log(0.5)))
    assert found.value == pytest.approx(0.83)
    assert found.way_back == (None if way_back is None else pytest.approx(0))
    assert estimate_accuracy(0.83, 500, None, UsualWayBack()).value == pytest.approx(0.83)


def test_the_estimate_falls_with_the_way_back_and_becomes_less_certain():
    found = [
        estimate_accuracy(0.9, 500, agreement(way_back), UsualWayBack()) for way_back in np.linspace(0.8, 0.05, 12)
    ]
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
    found = estimate_accuracy(confidence, n_cells, agreement(way_back), UsualWayBack())
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.high - found.low > 0.05


def test_few_cells_widen_the_interval():
    few, many = (estimate_accuracy(0.8, n, agreement(0.8), UsualWayBack()) for n in (10, 10_000))
    assert few.value == many.value
    assert few.high - few.low > 1.5 * (many.high - many.low)
