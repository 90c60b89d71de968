"""Counts that are integers up to an error of calculation, or that a sheet asks to be rounded."""

import numpy as np
from scipy import sparse

from refatlas.errors import InputError
from refatlas.io.count_file import CountFile
from refatlas.io.matrix_rows import Rows
from refatlas.io.matrix_sample import RANGE_CELLS, ranges
from refatlas.io.value_kinds import LOGGED, NEARLY, NORMALISED, SCALED, TOLERANCE, kind_of_values, off_integers
from refatlas.numba_cache import cached_njit


def round_counts(file: CountFile, rounding: bool = False) -> CountFile:
    """Return a file whose values next to an integer are that integer, with a note where there are any.

    Args:
        file: changed in place.
        rounding: round all values, as the sheet's `round` asks; negative values stay.

    Raises:
        InputError: all are to be rounded, but the values are no estimated counts.
    """
    sample = _sample(file.rows)
    kind = kind_of_values(sample)
    if rounding and kind in (LOGGED, NORMALISED, SCALED):
        raise InputError(
            f"{file.path}: {file.location} seems to be {kind}, and rounding would not give counts;"
            " leave round empty, and name the layer with the counts in the sheet's column layer"
        )
    rounded = rounded_rows(file.rows, rounding=rounding)
    file.notes += _notes(sample, rounding) if rounding or kind == NEARLY else []
    file.rows = rounded
    return file


def _sample(rows: Rows) -> sparse.csr_matrix:
    """Return some cells, from the first to the last."""
    return sparse.vstack([rows.read(*part) for part in ranges(rows.shape[0], RANGE_CELLS)], format="csr")


def _notes(sample: sparse.csr_matrix, rounding: bool) -> list[str]:
    if sample.data.dtype.kind != "f":
        return []
    values = sample.data[np.isfinite(sample.data) & (sample.data != 0)]
    off = off_integers(values)
    changed = off > 0 if rounding else (off > 0) & (off <= TOLERANCE)
    if not changed.any():
        return ["counts: rounded to integers, as set in the sheet; no sampled value changed"] if rounding else []
    reason = "rounded to integers, as set in the sheet" if rounding else "next to integers, and rounded"
    return [
        f"counts: {reason}; {changed.sum():,} of {len(values):,} sampled values are no integers, by at most"
        f" {off[changed].max():.1g}"
    ]


def rounded_rows(rows: Rows, tolerance: float = TOLERANCE, rounding: bool = False) -> Rows:
    """Return rows whose values within `tolerance` of an integer are that integer.

    Values near zero become zero only in cells with a value of at least a half: small shares of a
    total are no counts. Other values stay as they are, and so do blocks of integers.

    Args:
        rounding: round every finite value that is not negative, too.
    """

    def read(start: int, stop: int) -> sparse.csr_matrix:
        block = rows.read(start, stop)
        if block.data.dtype.kind == "f" and _any_fraction(block.data):
            block.data = _rounded(block, tolerance, rounding)
        return block

    return Rows(rows.shape, read, rows.ends)


@cached_njit()
def _any_fraction(values):
    found = 0
    for value in values:
        found += value != np.floor(value)
    return found > 0


def _rounded(block: sparse.csr_matrix, tolerance: float, rounding: bool) -> np.ndarray:
    values, off = block.data, off_integers(block.data)
    near = off <= tolerance
    if rounding:
        near |= np.isfinite(values) & (values > 0)
    else:
        largest = np.repeat(np.asarray(block.max(axis=1).todense()).ravel(), np.diff(block.indptr))
        near &= (np.abs(values) > 0.5) | (largest > 0.5)
    # Zero is added so that none of them becomes -0.
    return np.where(near, np.rint(values) + 0.0, values)
