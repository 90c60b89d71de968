"""Estimated accuracy of the labels of a batch, without any known label of it.

The estimate starts from the calibrated confidence, which is right as long as the batch is like the
held-out ones, and is lowered if the way back fails: if the labels of the batch do not teach what the
reference's own labels are (see `label_agreement`). How much, and how far the estimate errs, was fitted
once to the development half of the benchmark of trust (measurements/trust/fit_accuracy.py), and is
the same for every reference.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from refatlas.transfer.label_agreement import Agreement

# By fit_accuracy.py: change of the log odds for each unit of the logarithm of the way back, relative to what is usual.
COEFFICIENT = 0.65
# Standard deviation of the error of an estimate that is not lowered, and its growth for each unit of lowered log odds.
ERROR, ERROR_BY_LOSS = 0.045, 0.1
# The same where the labels are not tested: labels that are all the same agree, right or wrong. It is set, not fitted.
ERROR_UNKNOWN = 0.15
# Labels are not tested where one of them has this share of the cells or more, or where similar reference cells teach
# less than this share of what held-out batches teach. Such a way back is noise: a query of one type that the reference
# lacks teaches as much as one of a type that it has. Set, not fitted.
ONE_LABEL, LEAST_EXPECTED = 0.9, 0.5
# Lower values of the way back are chance.
LEAST_WAY_BACK = 0.05
# So many standard deviations on either side hold 90 % of a normal distribution.
QUANTILE = 1.645
# Confidences beyond these have no log odds that could be estimated.
LEAST, MOST = 0.01, 0.995


@dataclass
class Estimate:
    """An estimated accuracy with its interval of 90 %.

    Attributes:
        value: estimated share of right labels among the cells whose type the reference has.
        low, high: ends of the interval.
        confidence: mean calibrated confidence, from which the estimate starts.
        way_back: logarithm of the way back relative to what is usual, at most 0; None if unknown.
        tested: whether the way back can tell wrong labels from right ones. If not, `value` may be the confidence alone.
    """

    value: float
    low: float
    high: float
    confidence: float
    way_back: float | None
    tested: bool


@dataclass
class UsualWayBack:
    """What is usual for the way back in held-out batches.

    Attributes:
        relative: mean of `relative_way_back`; 0 without any batch.
        expected: mean of what similar reference cells reach; 0 without any batch.
    """

    relative: float = 0.0
    expected: float = 0.0


def relative_way_back(agreement: Agreement) -> float | None:
    """Return the logarithm of the way back relative to what similar reference cells reach; None with a single label."""
    found, expected = agreement["way_back"], agreement["way_back_expected"]
    if found is None or expected is None:
        return None
    return float(np.log(max(found, LEAST_WAY_BACK) / max(expected, LEAST_WAY_BACK)))


def usual_way_back(batches: Iterable[Agreement]) -> UsualWayBack:
    """Return what is usual for the way back, by the agreement of labels in held-out batches."""
    known = [
        (relative, batch["way_back_expected"] or 0.0)
        for batch in batches
        if (relative := relative_way_back(batch)) is not None
    ]
    return UsualWayBack(*np.mean(known, axis=0).tolist()) if known else UsualWayBack()


def estimate_accuracy(
    confidence: float, n_cells: int, agreement: Agreement | None, usual: UsualWayBack, largest: float = 0.0
) -> Estimate:
    """Return the estimated accuracy of the labels of one batch.

    Args:
        confidence: mean calibrated confidence of its cells.
        n_cells: number of these cells.
        agreement: measures of its labels; None for a batch that is too small for them.
        usual: from `usual_way_back`.
        largest: share of the cells that have the most frequent label.
    """
    relative = relative_way_back(agreement) if agreement else None
    gap = None if relative is None else min(relative - usual.relative, 0.0)
    expected = (agreement["way_back_expected"] if agreement else None) or 0.0
    tested = gap is not None and largest < ONE_LABEL and expected >= LEAST_EXPECTED * usual.expected
    # A way back that fails lowers the estimate also where one that succeeds would say nothing.
    change = COEFFICIENT * (gap or 0.0)
    value = float(expit(logit(np.clip(confidence, LEAST, MOST)) + change))
    sampling = value * (1 - value) / max(n_cells, 1)
    error = ERROR - ERROR_BY_LOSS * change if tested else max(ERROR_UNKNOWN, ERROR - ERROR_BY_LOSS * change)
    half = QUANTILE * float(np.sqrt(error**2 + sampling))
    return Estimate(value, max(value - half, 0.0), min(value + half, 1.0), confidence, gap, tested)
