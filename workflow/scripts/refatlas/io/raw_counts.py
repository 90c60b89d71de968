"""Raw counts in h5ad, h5mu, zarr, 10x h5 and 10x mtx, read in blocks of cells.

Files that are not stored cell by cell (CSC matrices, mtx text) are transposed once into a temporary
file on disk.
"""

import os
from pathlib import Path

import pandas as pd

from refatlas.errors import InputError, listed, shown
from refatlas.io.anndata_counts import open_anndata, open_mudata, open_zarr
from refatlas.io.count_file import CountFile, unreadable_error
from refatlas.io.formats import is_mtx
from refatlas.io.tenx_counts import open_10x_h5, open_mtx
from refatlas.io.watchdog import watchdog


def open_counts(
    path: str | Path, layer: str | None = None, metadata: str | None = None, counts_only: bool = False
) -> CountFile:
    """Return the counts of a file, opened but not read.

    Args:
        path: of an h5ad, h5mu, zarr, 10x h5 or folder of a 10x mtx.
        layer: "X", "raw" or a layer's name; None for the first of X, the layers and raw whose
            values are integers.
        metadata: path of a table of further cell columns, whose first column is the cell's name.
        counts_only: leave out an AnnData file's columns of cells and, if all columns are genes, of
            genes: the names of a million cells take longer to read than their counts.

    Raises:
        InputError: the file is unreadable, of no known format, empty, or has no such layer.
    """
    path = str(path)
    try:
        with watchdog():
            file = _open(path, layer, counts_only)
    except (InputError, MemoryError):
        raise
    except Exception as error:
        raise unreadable_error(path, error) from error
    if 0 in file.rows.shape:
        raise InputError(
            f"{path}: {file.location} has {file.rows.shape[0]} cells and {file.rows.shape[1]} genes; need at least one"
            " of each"
        )
    if metadata:
        _add_metadata(file, str(metadata))
    for kind, table in (("cell", file.cells), ("gene", file.genes)):
        if table.columns.has_duplicates:
            raise InputError(
                f"{path}: {kind} column {shown(repr(table.columns[table.columns.duplicated()][0]))} occurs twice;"
                " names of columns must be unique"
            )
    return file


def _open(path: str, layer: str | None, counts_only: bool = False) -> CountFile:
    if os.path.isdir(path):
        return open_mtx(path) if is_mtx(path) else open_zarr(path, layer, counts_only)
    import h5py

    file = h5py.File(path, "r")
    if "mod" in file:
        return open_mudata(file, path, layer, counts_only)
    if "X" in file or "layers" in file or "raw" in file:
        return open_anndata(file, path, layer, counts_only)
    return open_10x_h5(file, path)


def _add_metadata(file: CountFile, metadata: str) -> None:
    """Add the columns of a table to a file's cells; they replace columns of the same name."""
    try:
        table, cells = _read_metadata(metadata), file.cells
    except MemoryError:
        raise
    except Exception as error:
        raise InputError(
            f"{metadata}: cannot be read as a table ({type(error).__name__}: {shown(error, 300)}); give csv, tsv or"
            " parquet, text in UTF-8"
        ) from error
    if table.index.has_duplicates:
        raise InputError(
            f"{metadata}: cell {table.index[table.index.duplicated()][0]!r} occurs twice in the first column; names of"
            " cells must be unique"
        )
    unknown = cells.index[~cells.index.isin(table.index)]
    if len(unknown):
        raise InputError(
            f"{metadata}: {len(unknown)} of the {len(cells)} cells of {file.path} are not in its first column"
            f" ({listed(unknown, 3)}; it has {listed(table.index, 3)}); add them, or remove them from the counts"
        )
    both = cells.columns.intersection(table.columns)
    if len(both):
        file.notes.append(f"metadata: {listed(both)} taken from {metadata} instead of the file")
    file.cells = cells.drop(columns=both).join(table)


def _read_metadata(metadata: str) -> pd.DataFrame:
    """Return a table indexed by cell; text stays text, so that "01" is not 1."""
    if metadata.endswith(".parquet"):
        table = pd.read_parquet(metadata)
        table = table.set_index(table.columns[0]) if isinstance(table.index, pd.RangeIndex) else table
    else:
        separator = "," if metadata.removesuffix(".gz").endswith(".csv") else "\t"
        table = pd.read_csv(metadata, sep=separator, dtype=str)
        table = table.set_index(table.columns[0])
    table.index = table.index.astype(str)
    return table
