"""Some cells of a stored matrix, always the same ones, read in a time that does not grow with the matrix."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from refatlas.io.matrix_rows import Rows, matrix_format, matrix_shape, open_matrix
from refatlas.io.value_kinds import COUNTS, NEARLY, NOT_FINITE, SCALED, ZEROS, kind_of_values

# Ranges of cells, from the first to the last, and cells of each.
N_RANGES, RANGE_CELLS = 10, 20
# Further stored values of a sparse matrix in each range: sampled cells may be empty.
RANGE_VALUES = 20_000
# A matrix stored by genes with at most so many values is read whole.
WHOLE_VALUES = 5_000_000
# A matrix whose sample is all zeros is searched that far for another value.
SEARCHED_VALUES = 100_000_000


@dataclass
class Sample:
    """Sampled values of a matrix.

    Attributes:
        block: the sampled cells, cells × sampled genes.
        genes: position of each sampled gene in the matrix.
        kind: what the values seem to be, of `value_kinds`.
        mean_counts: mean sum of a cell.
        largest: largest value.
        n_stored: number of stored values of a sparse matrix, None for a dense one.
    """

    block: sparse.csr_matrix
    genes: np.ndarray
    kind: str
    mean_counts: float
    largest: float
    n_stored: int | None = None


def sample_matrix(element: Any) -> Sample:
    """Return a sample of a stored matrix.

    Raises:
        ValueError: it is no matrix of numbers.
    """
    shape, rows = matrix_shape(element), open_matrix(element, sample=True)
    cells = ranges(shape[0], RANGE_CELLS)
    if matrix_format(element) == "csc":
        block, genes, values = _sample_columns(rows, np.concatenate([np.arange(*part) for part in cells]))
    else:
        block, genes = sparse.vstack([rows.read(*part) for part in cells], format="csr"), np.arange(shape[1])
        values = block.data
    n_stored = int(rows.ends[-1]) if len(rows.ends) else 0
    is_dense = matrix_format(element) == "dense"
    if not is_dense:
        values = np.concatenate([values, *_further_values(element, n_stored)])
    if not values.any():
        values = _first_values(rows)
    kind = _merged(kind_of_values(block), kind_of_values(_one_row(values)))
    if block.nnz and len(genes) == shape[1]:
        mean = block.sum(dtype=np.float64) / block.shape[0]
    else:
        mean = values.mean(dtype=np.float64) * n_stored / shape[0] if len(values) else 0.0
    return Sample(block, genes, kind, float(mean), float(values.max(initial=0)), None if is_dense else n_stored)


def ranges(length: int, size: int) -> list[tuple[int, int]]:
    """Return ranges from the first to the last of so many cells or values; all of them if they are few."""
    if length <= N_RANGES * size:
        return [(0, length)]
    return [(int(start), int(start) + size) for start in np.linspace(0, length - size, N_RANGES)]


def _sample_columns(columns: Rows, cells: np.ndarray) -> tuple[sparse.csr_matrix, np.ndarray, np.ndarray]:
    """Return sampled cells × genes, these genes, and all their values, of a matrix stored by genes."""
    n_stored, n_genes = int(columns.ends[-1]) if len(columns.ends) else 0, columns.shape[0]
    chosen = [(0, n_genes)]
    if n_stored > WHOLE_VALUES:
        # As many genes as hold the values of a range, at least one.
        size = max(1, min(n_genes, int(n_genes * WHOLE_VALUES / n_stored)) // N_RANGES)
        chosen = ranges(n_genes, size)
    found = sparse.vstack([columns.read(*part) for part in chosen], format="csr")
    genes = np.concatenate([np.arange(*part) for part in chosen])
    return sparse.csr_matrix(found[:, cells].T), genes, found.data


def _further_values(element: Any, n_stored: int) -> list[np.ndarray]:
    return [np.asarray(element["data"][start:stop]) for start, stop in ranges(n_stored, RANGE_VALUES)]


def _first_values(rows: Rows) -> np.ndarray:
    """Return the values of the first block of a matrix that are not all zeros."""
    seen = 0
    for _, block in rows.blocks():
        if block.data.any():
            return block.data
        seen += block.nnz
        if seen > SEARCHED_VALUES:
            break
    return np.zeros(0)


def _one_row(values: np.ndarray) -> sparse.csr_matrix:
    n = len(values)
    wide = values.astype(np.float32) if values.dtype == np.float16 else values
    return sparse.csr_matrix((wide, np.arange(n), [0, n]), shape=(1, max(n, 1)))


def _merged(of_cells: str, of_values: str) -> str:
    """Return the kind of a matrix, from that of sampled cells and that of further values."""
    for kind in (NOT_FINITE, SCALED):
        if kind in (of_cells, of_values):
            return kind
    if ZEROS in (of_cells, of_values):
        return of_values if of_cells == ZEROS else of_cells
    if {of_cells, of_values} <= {COUNTS, NEARLY}:
        return NEARLY if NEARLY in (of_cells, of_values) else COUNTS
    return of_values if of_cells in (COUNTS, NEARLY) else of_cells
