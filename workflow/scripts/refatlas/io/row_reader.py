"""Rows of counts that stay in their file, read in any order while training goes on."""

from collections.abc import Iterator
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import anndata as ad
import h5py
import numpy as np
from scipy import sparse

from refatlas.io.hdf5_reader import range_reader

# Rows that are read at once, and rows that are faster to read than to skip.
BLOCK, GAP = 256, 24


def on_disk(matrix: Any) -> bool:
    """Return whether a matrix of counts is one that stays in its file."""
    return isinstance(matrix, ad.abc.CSRDataset)


class RowReader:
    """Rows of a CSR matrix that stays in its file, read without anndata and the HDF5 library.

    The start of each row is kept in memory. Other threads run while chunks are decompressed.
    """

    # One reader for each open matrix: to read where the rows start takes seconds for a large one.
    _readers: ClassVar[WeakKeyDictionary] = WeakKeyDictionary()

    def __init__(self, group: h5py.Group) -> None:
        self.starts, self.n_columns = group["indptr"][:].astype(np.int64), int(group.attrs["shape"][1])
        self.arrays = [(group[name].dtype, range_reader(group[name])) for name in ("data", "indices")]

    @classmethod
    def of(cls, matrix: Any) -> "RowReader":
        """Return the reader of a matrix, which is made once."""
        if matrix not in cls._readers:
            cls._readers[matrix] = cls(matrix.group)
        return cls._readers[matrix]

    def take(self, rows: np.ndarray) -> sparse.csr_matrix:
        """Return rows as stored; rows near each other are read together, at most BLOCK at once.

        Args:
            rows: indices, not descending.
        """
        separate = (np.diff(rows) > GAP) | (np.diff(rows // BLOCK) > 0)
        lengths = self.starts[rows + 1] - self.starts[rows]
        ends = np.concatenate([[0], np.cumsum(lengths)])
        found = [np.empty(ends[-1], dtype=dtype) for dtype, _ in self.arrays]
        for part in np.split(np.arange(len(rows)), np.flatnonzero(separate) + 1) if len(rows) else ():
            first, last = self.starts[rows[part[0]]], self.starts[rows[part[-1]] + 1]
            block = [read(first, last) for _, read in self.arrays]
            for run in np.split(part, np.flatnonzero(np.diff(rows[part]) != 1) + 1):
                into, begin = slice(ends[run[0]], ends[run[-1] + 1]), self.starts[rows[run[0]]] - first
                for values, stored in zip(found, block, strict=True):
                    values[into] = stored[begin : begin + into.stop - into.start]
        return sparse.csr_matrix((*found, ends), shape=(len(rows), self.n_columns))


def take_rows(matrix: Any, rows: np.ndarray) -> sparse.csr_matrix:
    """Return rows of a matrix in memory or on disk, in any order, as stored."""
    if not on_disk(matrix):
        return matrix[rows]
    order = np.argsort(rows, kind="stable")
    found = RowReader.of(matrix).take(rows[order])
    return found if (order[1:] > order[:-1]).all() else found[np.argsort(order)]


def row_blocks(matrix: Any, size: int = 4096) -> Iterator[sparse.csr_matrix]:
    """Yield all rows of a matrix in memory or on disk in their order, `size` at a time."""
    for start in range(0, max(matrix.shape[0], 1), size):
        yield matrix[start : start + size]
