"""MatrixMarket files, read in blocks of lines and transposed through temporary files."""

import bz2
import lzma
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import pandas as pd
from isal import igzip
from scipy import sparse

from refatlas.errors import InputError, shown
from refatlas.io.matrix_rows import BLOCK_VALUES, Rows, Triplets, compressed_rows, temporary_array, transposed_rows
from refatlas.io.watchdog import watchdog

_OPENERS = {b"\x1f\x8b": igzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
# Columns of the Velocyto matrix of STARsolo before 2.7.9, after row and column.
VELOCYTO_COLUMNS = ("spliced", "unspliced", "ambiguous")

# A value takes at least a digit and a line's end, and gzip shortens a text by no more than 1,032 times. A file that is
# shorter than announced is refused before room for its values is taken.
LEAST_BYTES, MOST_COMPRESSED = 2, 1100


def open_binary(path: str) -> IO[bytes]:
    """Return a file open for reading, decompressed by what it is and not by its name."""
    with open(path, "rb") as file:
        head = file.read(6)
    opener: Any = next((opener for magic, opener in _OPENERS.items() if head.startswith(magic)), open)
    return opener(path, "rb")


@dataclass
class MtxHeader:
    """What stands before the values of a MatrixMarket file.

    Attributes:
        shape: numbers of rows and columns.
        n_values: announced number of values.
        n_lines: lines before the first value.
        is_array: whether all values are listed, column by column, without their places.
        names: of the columns of a line, after row and column.
    """

    shape: tuple[int, int]
    n_values: int
    n_lines: int
    is_array: bool
    names: tuple[str, ...]


def read_header(path: str) -> MtxHeader:
    """Return what stands before the values of a MatrixMarket file.

    Raises:
        InputError: it is none, or of a kind that holds no counts.
    """
    with open_binary(path) as file:
        banner, n_lines = _line(file), 1
        # STARsolo wrote a bare '%%' before 2.7.0c (STAR #556).
        words = ("%%MatrixMarket matrix coordinate real general" if banner == "%%" else banner).lower().split()
        if len(words) < 5 or words[0] != "%%matrixmarket" or words[1] != "matrix":
            raise InputError(
                f"{path}: begins with {shown(repr(banner[:60]))}; expected '%%MatrixMarket matrix coordinate"
                " integer general'"
            )
        _check_banner(path, words)
        sizes = _line(file)
        n_lines += 1
        while sizes.startswith("%") or (not sizes.strip() and n_lines < 1000):
            sizes, n_lines = _line(file), n_lines + 1
        n_columns = len(_line(file).split())
    is_array = words[2] == "array"
    shape, n_values = _sizes(path, sizes, is_array)
    return MtxHeader(shape, n_values, n_lines, is_array, _value_names(path, n_columns, is_array, n_values))


def _line(file: IO[bytes]) -> str:
    return file.readline().decode("utf-8", errors="backslashreplace").strip()


def _check_banner(path: str, words: list[str]) -> None:
    kind, values, symmetry = words[2:5]
    reasons = {
        kind not in ("coordinate", "array"): f"is a MatrixMarket file of unknown form {shown(repr(kind))}",
        values == "pattern": "is a MatrixMarket file of kind pattern, which lists where values are, but no values",
        values not in ("integer", "real", "double", "unsigned-integer", "pattern"): f"holds {shown(values)} numbers",
        symmetry != "general": f"is a {shown(symmetry)} matrix, which is none of cells and genes",
    }
    if reason := next((reason for holds, reason in reasons.items() if holds), ""):
        raise InputError(f"{path}: {reason}; give the counts as 'matrix coordinate integer general'")


def _sizes(path: str, line: str, is_array: bool) -> tuple[tuple[int, int], int]:
    words = line.split()
    if len(words) != (2 if is_array else 3) or not all(word.isdecimal() for word in words):
        raise InputError(
            f"{path}: cannot be read: its line of sizes is {shown(repr(line[:60]))}; expected the numbers of rows,"
            " columns and values; is it complete? Write or download it again"
        )
    n_rows, n_columns, *announced = map(int, words)
    return (n_rows, n_columns), announced[0] if announced else n_rows * n_columns


def _value_names(path: str, n_columns: int, is_array: bool, n_values: int) -> tuple[str, ...]:
    """Return the names of the values in a line."""
    expected = {1: ("value",)} if is_array else {3: ("value",), 5: VELOCYTO_COLUMNS}
    if n_values == 0 or n_columns == 0:
        return ("value",)
    if n_columns not in expected:
        raise InputError(
            f"{path}: its first line after the sizes has {n_columns} columns; expected row, column and value"
        )
    return expected[n_columns]


def read_mtx(path: str, header: MtxHeader, cells_first: bool, columns: tuple[str, ...] = ("value",)) -> Rows:
    """Return a MatrixMarket file by cells, in temporary files on disk.

    Args:
        header: of `read_header`.
        cells_first: whether its rows are cells.
        columns: names of the values that are summed.

    Raises:
        InputError: a line is no value of the matrix, or another number of lines is announced.
    """
    shape = header.shape if cells_first else header.shape[::-1]
    if header.n_values * LEAST_BYTES > os.path.getsize(path) * MOST_COMPRESSED:
        raise _wrong_number(path, header)
    cells, genes, values = (temporary_array(header.n_values, kind) for kind in (np.int32, np.int32, np.float64))
    filled, ascending, last = 0, True, -1
    for rows, cols, block in _blocks(path, header, columns):
        stop = filled + len(block)
        if stop > header.n_values:
            raise _wrong_number(path, header)
        part = slice(filled, stop)
        cells[part], genes[part], values[part] = (rows, cols, block) if cells_first else (cols, rows, block)
        if len(block):
            ascending = ascending and cells[filled] >= last and bool((np.diff(cells[part]) >= 0).all())
            last = int(cells[stop - 1])
        filled = stop
    if filled != header.n_values:
        raise _wrong_number(path, header)
    return _without_duplicates(_by_cells(cells, genes, values, shape, ascending))


def _wrong_number(path: str, header: MtxHeader) -> InputError:
    return InputError(
        f"{path}: its header announces {header.n_values} values, but it holds another number; is it complete? Write or"
        " download it again"
    )


def _blocks(path: str, header: MtxHeader, columns: tuple[str, ...]) -> Iterator[tuple[Any, Any, Any]]:
    """Yield rows, columns (both from 0) and values."""
    names = [*(() if header.is_array else ("row", "column")), *header.names]
    types = {name: np.int64 if name in ("row", "column") else np.float64 for name in names}
    if header.n_values == 0:
        return
    first = 0
    with open_binary(path) as file:
        for _ in range(header.n_lines):
            file.readline()
        chunks = pd.read_csv(
            file, sep=r"\s+", header=None, names=names, dtype=types, chunksize=BLOCK_VALUES, comment="%"
        )
        while (chunk := _next(chunks)) is not None:
            values = sum(chunk[name].to_numpy() for name in columns)
            if np.isnan(values).any():
                raise InputError(f"{path}: a line has no value; is it complete? Write or download it again")
            if header.is_array:
                order = np.arange(first, first + len(chunk))
                first += len(chunk)
                yield order % header.shape[0], order // header.shape[0], values
            else:
                rows, cols = chunk["row"].to_numpy() - 1, chunk["column"].to_numpy() - 1
                _require_inside(path, rows, cols, header)
                yield rows, cols, values


def _next(chunks: Any) -> pd.DataFrame | None:
    with watchdog():
        return next(chunks, None)


def _require_inside(path: str, rows: np.ndarray, columns: np.ndarray, header: MtxHeader) -> None:
    for what, found, n in (("row", rows, header.shape[0]), ("column", columns, header.shape[1])):
        outside = (found < 0) | (found >= n)
        if outside.any():
            number = int(found[outside][0]) + 1
            reason = "; numbers begin at 1 in this format: were they written from 0?" if number == 0 else ""
            raise InputError(
                f"{path}: {what} {number} is beyond its {n} {what}s{reason or '; is it complete? Write it again'}"
            )


def _by_cells(
    cells: np.ndarray, genes: np.ndarray, values: np.ndarray, shape: tuple[int, int], ascending: bool
) -> Rows:
    """Return values as rows; those that stand in the order of cells are not copied."""
    if ascending:
        ends = np.cumsum(np.bincount(cells, minlength=shape[0])) if len(cells) else np.zeros(shape[0], dtype=np.int64)
        return compressed_rows(shape, np.concatenate([[0], ends]), genes, values)

    def triplets(start: int) -> Triplets:
        part = slice(start, start + BLOCK_VALUES)
        return cells[part], genes[part], values[part]

    return transposed_rows(lambda: map(triplets, range(0, len(values), BLOCK_VALUES)), shape, np.float64)


def _without_duplicates(rows: Rows) -> Rows:
    """Return rows in which a gene that a cell has twice is summed, and zeros are left out."""

    def read(start: int, stop: int) -> sparse.csr_matrix:
        block = rows.read(start, stop)
        if block.has_canonical_format and (block.data != 0).all():
            return block
        # A copy: the arrays of the block may be those of the temporary file, which is read again.
        block = sparse.csr_matrix((block.data, block.indices, block.indptr), shape=block.shape, copy=True)
        block.sum_duplicates()
        block.eliminate_zeros()
        return block

    return Rows(rows.shape, read, rows.ends)
