"""What the values of a matrix are: counts, nearly counts, estimated counts, or values made from counts."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

COUNTS = "counts"
NEARLY = "nearly counts"
ESTIMATED = "estimated counts"
LOGGED = "log-transformed"
NORMALISED = "normalised"
SCALED = "scaled"
NOT_FINITE = "not finite"
ZEROS = "zeros"
UNCLEAR = "fractional"

# Sums of a few single-precision values are off by less; no method estimates counts this close to integers.
TOLERANCE = 1e-3
# Largest log1p of a count that a gene of one cell may have: log2 of 2^20.
MAX_LOGGED = 20.0
# Totals of normalised cells differ by rounding alone; those of counts by tens of per cent.
SAME_TOTALS = 1e-3
# Share of a cell's values that are multiples of its smallest value, where counts were divided by a size factor.
MULTIPLES = 0.95
# A cell with fewer values tells little of what its values are.
MIN_VALUES = 5


def off_integers(values: np.ndarray) -> np.ndarray:
    """Return how far each value is from the next integer, NaN for one that is not finite."""
    wide = values.astype(np.float64) if values.dtype.kind == "f" else values
    with np.errstate(invalid="ignore"):
        return np.abs(wide - np.rint(wide))


def kind_of_values(block: sparse.csr_matrix) -> str:
    """Return what the values of some cells seem to be, one of the words of this module.

    Args:
        block: cells × genes.
    """
    values = block.data[block.data != 0]
    if len(values) == 0:
        return ZEROS
    if not np.isfinite(values).all():
        return NOT_FINITE
    off = off_integers(values)
    if values.min() < -TOLERANCE:
        return SCALED
    if not off.any():
        return COUNTS
    # Values that are all near zero, such as shares of a total, are no counts.
    if (off <= TOLERANCE).all() and values.max() > 0.5:
        return NEARLY
    return _kind_of_fractions(block, off)


@dataclass
class _Cells:
    """The values of cells that have fractions, and enough values, as an array for each cell."""

    values: list[np.ndarray]

    @classmethod
    def of(cls, block: sparse.csr_matrix, n_cells: int = 100) -> "_Cells":
        parts = [part[part > 0] for part in np.split(block.data.astype(np.float64), block.indptr[1:-1])]
        found = [part for part in parts if len(part) >= MIN_VALUES and (off_integers(part) > TOLERANCE).any()]
        return cls(found[:n_cells])

    def share_of_multiples(self) -> float:
        """Return the median over cells of the share of values that are multiples of the smallest."""
        shares = []
        for part in self.values:
            ratio = part / part.min()
            shares.append(float((np.abs(ratio - np.rint(ratio)) <= 1e-3 * np.maximum(ratio, 1)).mean()))
        return float(np.median(shares)) if shares else 0.0

    def have_same_totals(self) -> bool:
        totals = np.array([part.sum() for part in self.values])
        return len(totals) > 1 and bool(np.ptp(totals) <= SAME_TOTALS * totals.mean())

    def begin_with_fractions(self) -> bool:
        """Return whether the smallest values are fractions: everything is a multiple of 1."""
        smallest = np.array([part.min() for part in self.values])
        return bool((off_integers(smallest) > TOLERANCE).mean() > 0.5) if len(smallest) else False


def _kind_of_fractions(block: sparse.csr_matrix, off: np.ndarray) -> str:
    """Return the kind of values of which some are fractions and none is negative."""
    cells, largest = _Cells.of(block), float(block.data.max())
    if largest <= MAX_LOGGED:
        for back in (np.expm1, lambda x: np.exp2(x) - 1, lambda x: 10**x - 1):
            unlogged = _Cells([back(part) for part in cells.values])
            if unlogged.have_same_totals() or unlogged.share_of_multiples() >= MULTIPLES:
                return LOGGED
    if cells.have_same_totals() or (cells.begin_with_fractions() and cells.share_of_multiples() >= MULTIPLES):
        return NORMALISED
    # Most estimated counts stay integers, or are large; log-transformed values never are.
    if largest > MAX_LOGGED or (off <= TOLERANCE).mean() > 0.5:
        return ESTIMATED
    return UNCLEAR
