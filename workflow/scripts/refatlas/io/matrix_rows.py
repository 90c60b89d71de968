"""Matrices of counts that are read by ranges of cells: compressed, dense, or transposed once into a
temporary file.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import sparse

from refatlas.io.exhaustion import report_full_disk
from refatlas.io.hdf5_reader import fast_reader
from refatlas.io.watchdog import watchdog

BLOCK_VALUES = 1_000_000


@dataclass
class Rows:
    """A matrix of cells × features that can be read by ranges of cells.

    Attributes:
        read: function of (start, stop) that returns these cells as CSR.
        ends: stored values up to and including each cell, shape (n_cells,), from which blocks are
            cut.
    """

    shape: tuple[int, int]
    read: Callable[[int, int], sparse.csr_matrix]
    ends: np.ndarray

    def blocks(self, n_values: int = BLOCK_VALUES) -> Iterator[tuple[int, sparse.csr_matrix]]:
        """Yield (first cell, CSR block) of at most `n_values` stored values each, or of one cell;
        the next block is read while the caller has the last.
        """
        with ThreadPoolExecutor(1) as reader:
            waiting = None
            for start, stop in self._ranges(n_values):
                coming = start, reader.submit(self.read, start, stop)
                if waiting:
                    yield waiting[0], _waited_for(waiting[1])
                waiting = coming
            if waiting:
                yield waiting[0], _waited_for(waiting[1])

    def _ranges(self, n_values: int) -> Iterator[tuple[int, int]]:
        start = 0
        while start < self.shape[0]:
            before = self.ends[start - 1] if start else 0
            stop = max(int(np.searchsorted(self.ends, before + n_values, side="right")), start + 1)
            yield start, stop
            start = stop


def _waited_for(coming: Future):
    with watchdog():
        return coming.result()


def rows_of(element, sample: bool = False) -> Rows:
    """Return a stored matrix by rows; `sample` looks at a CSC matrix's values without transposing
    it.
    """
    encoding = element.attrs.get("encoding-type", "array")
    if encoding == "csr_matrix" or (encoding == "csc_matrix" and sample):
        shape = tuple(int(n) for n in element.attrs["shape"])
        return compressed_rows(
            shape if encoding == "csr_matrix" else shape[::-1],
            element["indptr"][:],
            element["indices"],
            element["data"],
        )
    if encoding == "csc_matrix":
        n_cells, n_genes = (int(n) for n in element.attrs["shape"])
        columns = compressed_rows((n_genes, n_cells), element["indptr"][:], element["indices"], element["data"])
        return transposed(
            lambda: (
                (
                    (
                        block.indices,
                        np.repeat(np.arange(start, start + block.shape[0]), np.diff(block.indptr)),
                        block.data,
                    )
                )
                for start, block in columns.blocks()
            ),
            (n_cells, n_genes),
            element["data"].dtype,
        )
    if len(getattr(element, "shape", ())) != 2:
        raise ValueError(f"a matrix of encoding {encoding!r} is not supported; write it with a recent anndata")
    return _dense_rows(element)


def compressed_rows(shape: tuple[int, int], indptr: np.ndarray, indices, data) -> Rows:
    indptr = np.asarray(indptr, dtype=np.int64)
    if len(indptr) != shape[0] + 1 or indptr[-1] != data.shape[0] or indices.shape[0] != data.shape[0]:
        raise ValueError(f"a sparse matrix of {shape[0]} rows has an index of {len(indptr)} and {data.shape[0]} values")
    if indptr[0] != 0 or (indptr[1:] < indptr[:-1]).any():
        raise ValueError("the rows of a sparse matrix do not follow each other")
    _require_numbers(data)
    read_data, read_indices = fast_reader(data), fast_reader(indices)

    def read(start: int, stop: int) -> sparse.csr_matrix:
        first, last = int(indptr[start]), int(indptr[stop])
        block = sparse.csr_matrix((stop - start, shape[1]), dtype=data.dtype)
        block.data, block.indices, block.indptr = (
            read_data(first, last),
            read_indices(first, last),
            indptr[start : stop + 1] - first,
        )
        # What computes on a block does not look, and would write beside its arrays.
        if last > first and not (block.indices.min() >= 0 and block.indices.max() < shape[1]):
            raise ValueError(f"a value of a sparse matrix is beyond its {shape[1]} columns")
        return block

    return Rows(shape, read, indptr[1:])


def _require_numbers(array) -> None:
    if array.dtype.kind not in "biuf":
        raise ValueError(f"a matrix of {array.dtype} holds no counts")


def _dense_rows(array) -> Rows:
    _require_numbers(array)
    shape = tuple(int(n) for n in array.shape)
    return Rows(
        shape,
        lambda start, stop: sparse.csr_matrix(array[start:stop]),
        np.arange(1, shape[0] + 1, dtype=np.int64) * shape[1],
    )


def transposed(triplets: Callable[[], Iterator[tuple]], shape: tuple[int, int], dtype) -> Rows:
    """Return values that come in any order as rows, through a temporary file on disk.

    Args:
        triplets: called twice; yields (cells, genes, values) of equal length, a chunk at a time.
    """
    lengths = np.zeros(shape[0], dtype=np.int64)
    for cells, _, _ in triplets():
        lengths += np.bincount(cells, minlength=shape[0])
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    indices, data = temporary_array(indptr[-1], np.int32), temporary_array(indptr[-1], dtype)
    free = indptr[:-1].copy()
    for cells, genes, values in triplets():
        order = np.argsort(cells, kind="stable")
        cells, here = cells[order], np.bincount(cells, minlength=shape[0])
        places = free[cells] + np.arange(len(cells)) - (np.cumsum(here) - here)[cells]
        indices[places], data[places] = genes[order], values[order]
        free += here
    return compressed_rows(shape, indptr, indices, data)


def temporary_array(length: int, dtype) -> np.ndarray:
    if length == 0:
        return np.zeros(0, dtype=dtype)
    folder = tempfile.gettempdir()
    with (
        report_full_disk(Path(folder) / "temporary file", "set TMPDIR to a folder with more room"),
        tempfile.TemporaryFile(prefix="refatlas-") as file,
    ):
        # Writing to a mapped file on a full disk would kill the process, without a word.
        os.posix_fallocate(file.fileno(), 0, int(length) * np.dtype(dtype).itemsize)
        return np.memmap(file, dtype=dtype, mode="w+", shape=(int(length),))
