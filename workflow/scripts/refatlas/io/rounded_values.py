"""What the integers of some cells say against being counts: normalised values may have been rounded."""

from enum import IntEnum

import numpy as np
from scipy import sparse

from refatlas.io.value_kinds import MIN_VALUES, off_integers

# Share of cells whose smallest value is 1; less means that counts were multiplied.
MIN_WITH_ONES = 0.5
# Fewer cells may have about the same total by chance.
MIN_CELLS = 10
# Largest difference of totals, as a share of their mean, after values of a few counts each were rounded.
ROUNDED_TOTALS = 0.1
# Sums to which programs scale cells: of CP10K, of CP100K, and of CPM and TPM.
USUAL_SUMS = (1e4, 1e5, 1e6)


class Doubt(IntEnum):
    """How far integers are from counts."""

    NONE = 0
    SOME = 1
    ROUNDED = 2


def has_ones(block: sparse.csr_matrix) -> bool:
    """Return whether most cells have a value of 1, as raw counts do."""
    smallest = np.array([float(part.min()) for part in _cells(block)])
    return not len(smallest) or float(np.mean(off_integers(smallest) + smallest < 1.5)) >= MIN_WITH_ONES


def doubt_of(block: sparse.csr_matrix) -> tuple[Doubt, str]:
    """Return how far integers are from being counts, and why.

    Counts that were drawn down to one total have ones, and exactly this total. Rounded values have
    about the same totals. Reads of a few genes may lack ones, but have different totals.

    Args:
        block: cells × all genes.
    """
    totals = np.array([part.sum(dtype=np.float64) for part in _cells(block) if len(part) >= MIN_VALUES])
    if len(totals) < MIN_CELLS:
        return Doubt.NONE, ""
    near = bool(np.ptp(totals) <= ROUNDED_TOTALS * totals.mean())
    if not has_ones(block):
        if near:
            return Doubt.ROUNDED, f"normalised and rounded: all cells have about {totals.mean():,.0f} in sum, and no 1"
        return Doubt.SOME, "hardly any cell has a value of 1, as if counts were multiplied or normalised"
    usual = next((usual for usual in USUAL_SUMS if abs(totals.mean() / usual - 1) <= ROUNDED_TOTALS / 2), None)
    if near and usual and np.unique(totals, return_counts=True)[1].max() <= 0.5 * len(totals):
        # Totals of counts vary at least as those of a Poisson distribution, unless they were drawn down to one total.
        # If they lost genes after that, none is beyond it.
        is_sure = totals.std() < 0.5 * np.sqrt(usual) and totals.max() > usual
        reason = f"normalised and rounded, it seems: all cells have about {usual:,.0f} in sum"
        return Doubt.ROUNDED if is_sure else Doubt.SOME, reason
    return Doubt.NONE, ""


def _cells(block: sparse.csr_matrix) -> list[np.ndarray]:
    """Return the values above zero of each cell that has any."""
    cells = [part[part > 0] for part in np.split(block.data, block.indptr[1:-1])]
    return [part for part in cells if len(part)]
