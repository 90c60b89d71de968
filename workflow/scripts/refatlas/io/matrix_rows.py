"""Matrices of counts that are read by ranges of cells.

Compressed (CSR), dense, or transposed once into a temporary file.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike
from scipy import sparse

from refatlas.io.exhaustion import report_full_disk
from refatlas.io.hdf5_reader import range_reader
from refatlas.io.watchdog import watchdog

BLOCK_VALUES = 1_000_000

Shape = tuple[int, int]
# Cells, genes and values of equal length.
Triplets = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass
class Rows:
    """A matrix of cells × features that can be read by ranges of cells.

    Attributes:
        shape: number of cells and of features.
        read: function of (start, stop) that returns these cells as CSR.
        ends: stored values up to and including each cell, shape (n_cells,); blocks are cut by them.
    """

    shape: Shape
    read: Callable[[int, int], sparse.csr_matrix]
    ends: np.ndarray

    def blocks(self, n_values: int = BLOCK_VALUES) -> Iterator[tuple[int, sparse.csr_matrix]]:
        """Yield (first cell, CSR block) of at most `n_values` stored values each, or of one cell.

        The next block is read while the caller works on the last.
        """
        with ThreadPoolExecutor(1) as reader:
            waiting: tuple[int, Future] | None = None
            for start, stop in self._ranges(n_values):
                coming = start, reader.submit(self.read, start, stop)
                if waiting:
                    yield waiting[0], _result(waiting[1])
                waiting = coming
            if waiting:
                yield waiting[0], _result(waiting[1])

    def _ranges(self, n_values: int) -> Iterator[tuple[int, int]]:
        start = 0
        while start < self.shape[0]:
            before = self.ends[start - 1] if start else 0
            stop = max(int(np.searchsorted(self.ends, before + n_values, side="right")), start + 1)
            yield start, stop
            start = stop


def _result(coming: Future) -> Any:
    with watchdog():
        return coming.result()


def matrix_format(element: Any) -> str:
    """Return how a stored matrix is written: "csr", "csc" or "dense".

    Args:
        element: group or array of an AnnData file, of h5py or zarr.

    Raises:
        ValueError: it is no matrix that can be read.
    """
    encoding = _text(element.attrs.get("encoding-type", element.attrs.get("h5sparse_format", "")))
    if encoding in ("csr_matrix", "csc_matrix", "csr", "csc"):
        return encoding[:3]
    if len(getattr(element, "shape", None) or ()) == 2:
        return "dense"
    if encoding in ("", "dict", "sparse_matrix") and all(
        name in getattr(element, "keys", list)() for name in ("data", "indices", "indptr")
    ):
        return _undeclared_format(element)
    raise ValueError(f"a matrix of encoding {encoding!r} is not supported; write it with a recent anndata")


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _undeclared_format(element: Any) -> str:
    """Return whether a sparse matrix without encoding is stored by rows or columns, by its shape."""
    shape, n = matrix_shape(element), element["indptr"].shape[0] - 1
    if shape[0] != shape[1] and n in shape:
        return "csr" if n == shape[0] else "csc"
    raise ValueError("a sparse matrix does not say whether it is stored by cells or genes; write it with anndata")


def matrix_shape(element: Any) -> Shape:
    """Return the number of cells and of genes of a stored matrix.

    Raises:
        ValueError: a sparse matrix does not say its shape.
    """
    shape = getattr(element, "shape", None)
    for name in ("shape", "h5sparse_shape"):
        if shape is None and name in element.attrs:
            shape = element.attrs[name]
    if shape is None and hasattr(element, "keys") and "shape" in element:
        shape = element["shape"][:]
    if shape is None or len(shape) != 2:
        raise ValueError("a sparse matrix does not say its shape; write it with a recent anndata")
    return int(shape[0]), int(shape[1])


def open_matrix(element: Any, sample: bool = False) -> Rows:
    """Return a stored matrix by rows.

    Args:
        element: group or array of an AnnData file, of h5py or zarr.
        sample: for a look at some values; a CSC matrix is then not transposed.

    Raises:
        ValueError: it is no matrix of numbers.
    """
    written = matrix_format(element)
    if written == "dense":
        return _dense_rows(element)
    n_cells, n_genes = matrix_shape(element)
    shape = (n_cells, n_genes) if written == "csr" else (n_genes, n_cells)
    stored = compressed_rows(shape, element["indptr"][:], element["indices"], element["data"])
    if written == "csr" or sample:
        return stored
    dtype = _computable(np.zeros(0, element["data"].dtype)).dtype
    return transposed_rows(lambda: _triplets_of_columns(stored), (n_cells, n_genes), dtype)


def summed_rows(parts: list[Rows]) -> Rows:
    """Return the sum of matrices of one shape, by rows.

    Raises:
        ValueError: their shapes differ.
    """
    if len({part.shape for part in parts}) > 1:
        raise ValueError(f"matrices of different shapes {[part.shape for part in parts]} cannot be added")

    def read(start: int, stop: int) -> sparse.csr_matrix:
        # In double precision, as `summable` says; parts may be of several types.
        total = parts[0].read(start, stop).astype(np.float64)
        for part in parts[1:]:
            total = total + part.read(start, stop).astype(np.float64)
        return sparse.csr_matrix(total)

    return Rows(parts[0].shape, read, np.sum([part.ends for part in parts], axis=0))


def _triplets_of_columns(columns: Rows) -> Iterator[Triplets]:
    """Yield cells, genes and values of a matrix that is stored gene by gene."""
    for start, block in columns.blocks():
        genes = np.repeat(np.arange(start, start + block.shape[0]), np.diff(block.indptr))
        yield block.indices, genes, block.data


def compressed_rows(shape: Shape, indptr: np.ndarray, indices: Any, data: Any) -> Rows:
    """Return a CSR matrix by rows.

    Args:
        indices, data: arrays in memory or in a file.

    Raises:
        ValueError: the arrays are no CSR matrix of numbers.
    """
    indptr = np.asarray(indptr, dtype=np.int64)
    if len(indptr) != shape[0] + 1 or indptr[-1] != data.shape[0] or indices.shape[0] != data.shape[0]:
        raise ValueError(f"a sparse matrix of {shape[0]} rows has an index of {len(indptr)} and {data.shape[0]} values")
    if indptr[0] != 0 or (indptr[1:] < indptr[:-1]).any():
        raise ValueError("the rows of a sparse matrix do not follow each other")
    _require_numbers(data)
    read_data, read_indices = range_reader(data), range_reader(indices)

    def read(start: int, stop: int) -> sparse.csr_matrix:
        first, last = int(indptr[start]), int(indptr[stop])
        values = _computable(read_data(first, last))
        block = sparse.csr_matrix((stop - start, shape[1]), dtype=values.dtype)
        block.data, block.indices, block.indptr = (
            values,
            _positions(read_indices(first, last)),
            indptr[start : stop + 1] - first,
        )
        # Compiled functions that take a block do not check it, and would write beyond their arrays.
        if last > first and not (block.indices.min() >= 0 and block.indices.max() < shape[1]):
            raise ValueError(f"a value of a sparse matrix is beyond its {shape[1]} columns")
        return block

    return Rows(shape, read, indptr[1:])


def _require_numbers(array: Any) -> None:
    if array.dtype.kind not in "biuf":
        raise ValueError(f"a matrix of {array.dtype} holds no counts")


def _computable(values: np.ndarray) -> np.ndarray:
    """Return values in a type that scipy and numba can add up: not bool, half precision or foreign byte order."""
    if values.dtype.kind == "b":
        return values.astype(np.uint8)
    if values.dtype.kind == "f" and values.dtype.itemsize not in (4, 8):
        return values.astype(np.float32 if values.dtype.itemsize < 4 else np.float64)
    return values if values.dtype.isnative else values.astype(values.dtype.newbyteorder("="))


def summable(block: sparse.csr_matrix) -> sparse.csr_matrix:
    """Return a block whose values can be added up: the sum of two small integers may exceed their type."""
    is_small = block.dtype.kind in "iu" and block.dtype.itemsize < 8
    return block.astype(np.int64) if is_small else block


def _positions(indices: np.ndarray) -> np.ndarray:
    """Return columns as signed integers; R writes those of large matrices as doubles."""
    if indices.dtype.kind == "i" and indices.dtype.isnative and indices.dtype.itemsize >= 4:
        return indices
    if indices.dtype.kind == "f" and (indices != np.rint(indices)).any():
        raise ValueError("the columns of a sparse matrix are no integers")
    return indices.astype(np.int64)


def _dense_rows(array: Any) -> Rows:
    _require_numbers(array)
    n_cells, n_genes = (int(n) for n in array.shape)
    return Rows(
        (n_cells, n_genes),
        lambda start, stop: sparse.csr_matrix(_computable(np.asarray(array[start:stop]))),
        np.arange(1, n_cells + 1, dtype=np.int64) * n_genes,
    )


def transposed_rows(triplets: Callable[[], Iterator[Triplets]], shape: Shape, dtype: DTypeLike) -> Rows:
    """Return values in any order as rows, through a temporary file on disk.

    Args:
        triplets: yields (cells, genes, values), a chunk at a time; called twice.

    Raises:
        InputError: the disk is full.
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


def temporary_array(length: int, dtype: DTypeLike) -> np.ndarray:
    """Return an array in a temporary file, which is removed with the array.

    Raises:
        InputError: the disk is full.
    """
    if length == 0:
        return np.zeros(0, dtype=dtype)
    folder = tempfile.gettempdir()
    with (
        report_full_disk(Path(folder) / "temporary file", "set TMPDIR to a folder with more room"),
        tempfile.TemporaryFile(prefix="refatlas-") as file,
    ):
        # Reserved first: writing to a mapped file on a full disk would kill the process.
        os.posix_fallocate(file.fileno(), 0, int(length) * np.dtype(dtype).itemsize)
        return np.memmap(file, dtype=dtype, mode="w+", shape=(int(length),))
