"""Rows of counts that stay in their file, read in any order while training goes on."""

from collections.abc import Iterator
from typing import ClassVar
from weakref import WeakKeyDictionary

import anndata as ad
import h5py
import numpy as np
from scipy import sparse

from refatlas.io.hdf5_reader import fast_reader

# Rows that are read at once, and rows that it is quicker to read than to skip.
BLOCK, GAP = 256, 24


def on_disk(matrix) -> bool:
    """Return whether a matrix of counts is one that stays in its file."""
    return isinstance(matrix, ad.abc.CSRDataset)


class RowReader:
    """Rows of a matrix that stays in its file, read past anndata and the HDF5 library: where each
    row begins is kept in memory, and training goes on while chunks are unpacked.
    """

    _of: ClassVar[WeakKeyDictionary] = WeakKeyDictionary()

    def __init__(self, group: h5py.Group) -> None:
        self.starts, self.n_columns = group["indptr"][:].astype(np.int64), int(group.attrs["shape"][1])
        self.arrays = [(group[name].dtype, fast_reader(group[name])) for name in ("data", "indices")]

    @classmethod
    def of(cls, matrix) -> "RowReader":
        """Return those of a matrix, made once."""
        if matrix not in cls._of:
            cls._of[matrix] = cls(matrix.group)
        return cls._of[matrix]

    def take(self, rows: np.ndarray) -> sparse.csr_matrix:
        """Return rows, ascending or equal, as stored; near ones are read together, at most BLOCK at
        once.
        """
        apart = (np.diff(rows) > GAP) | (np.diff(rows // BLOCK) > 0)
        lengths = self.starts[rows + 1] - self.starts[rows]
        ends = np.concatenate([[0], np.cumsum(lengths)])
        found = [np.empty(ends[-1], dtype=dtype) for dtype, _ in self.arrays]
        for part in np.split(np.arange(len(rows)), np.flatnonzero(apart) + 1) if len(rows) else ():
            first, last = self.starts[rows[part[0]]], self.starts[rows[part[-1]] + 1]
            block = [read(first, last) for _, read in self.arrays]
            for run in np.split(part, np.flatnonzero(np.diff(rows[part]) != 1) + 1):
                into, begin = slice(ends[run[0]], ends[run[-1] + 1]), self.starts[rows[run[0]]] - first
                for values, stored in zip(found, block, strict=True):
                    values[into] = stored[begin : begin + into.stop - into.start]
        return sparse.csr_matrix((*found, ends), shape=(len(rows), self.n_columns))


def take_rows(matrix, rows: np.ndarray) -> sparse.csr_matrix:
    """Return rows in any order, as stored."""
    if not on_disk(matrix):
        return matrix[rows]
    order = np.argsort(rows, kind="stable")
    found = RowReader.of(matrix).take(rows[order])
    return found if (order[1:] > order[:-1]).all() else found[np.argsort(order)]


def row_blocks(matrix, size: int = 4096) -> Iterator[sparse.csr_matrix]:
    """Yield all rows of a matrix in their order, `size` at a time, whether it is in memory or in a
    file.
    """
    for start in range(0, max(matrix.shape[0], 1), size):
        yield matrix[start : start + size]
