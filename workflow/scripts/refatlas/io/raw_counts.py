"""Raw counts in h5ad, h5mu, zarr, loom, 10x h5 and mtx folders, read in blocks of cells.

Files that are not stored cell by cell (CSC matrices, mtx text) are transposed once into a temporary
file on disk.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from refatlas.errors import InputError, listed, shown
from refatlas.io.anndata_counts import open_anndata, open_mudata
from refatlas.io.count_file import CountFile
from refatlas.io.feature_kinds import taking_peaks
from refatlas.io.file_kind import file_kind, refusal, unreadable_error
from refatlas.io.folder_counts import find_counts, is_zarr
from refatlas.io.hdf5_kind import hdf5_kind, is_loom, tenx_groups
from refatlas.io.loom_counts import open_loom
from refatlas.io.metadata_table import add_metadata
from refatlas.io.mtx_counts import read_mtx_files
from refatlas.io.mtx_folders import MtxFiles, mtx_of_prefix
from refatlas.io.rounded_counts import round_counts
from refatlas.io.tenx_counts import open_10x_h5
from refatlas.io.unpacked import is_hdf5, open_mtx_zip, open_unpacked_hdf5, open_zarr_zip, open_zipped_hdf5
from refatlas.io.watchdog import watchdog


def open_row(row: Mapping[str, Any], counts_only: bool = False) -> CountFile:
    """Return the counts of the file that a row of a sheet names, opened with all the row's options.

    Args:
        row: of `load_sheets`.
        counts_only: as of `open_counts`; the metadata are then read only if they choose the cells.

    Raises:
        InputError: as of `open_counts`.
    """
    listed_cells = bool(row.get("listed_cells"))
    return open_counts(
        row["path"],
        row.get("layer"),
        row.get("metadata") if listed_cells or not counts_only else None,
        counts_only,
        genome=row.get("genome"),
        rounding=bool(row.get("round")),
        listed_cells=listed_cells,
        peaks=row.get("features") == "peaks",
    )


def open_counts(
    path: str | Path,
    layer: str | None = None,
    metadata: str | None = None,
    counts_only: bool = False,
    *,
    genome: str | None = None,
    rounding: bool = False,
    listed_cells: bool = False,
    peaks: bool = False,
) -> CountFile:
    """Return the counts of a file, opened but not read.

    Args:
        path: of an h5ad, h5mu, zarr, loom or 10x h5, of the folder of an mtx, or a prefix of its
            files. Files compressed by gzip or zip are unpacked into a temporary file.
        layer: "X", "raw" or a layer's name, or several with "+" between, which are summed; None for
            the place that holds the raw counts.
        metadata: path of a table of further cell columns, whose first column is the cell's name.
        counts_only: leave out an AnnData file's columns of cells and, if all columns are genes, of
            genes: the names of a million cells take longer to read than their counts.
        genome: the genome to take, of a file with several.
        rounding: round estimated counts.
        listed_cells: leave out cells that the metadata do not list.
        peaks: take peaks of open chromatin in place of genes.

    Raises:
        InputError: the file is unreadable, of no known format, empty, or has no such layer.
    """
    path, chooses = str(path), bool(metadata and listed_cells)
    try:
        with watchdog(), taking_peaks(peaks):
            file = _open(path, layer, counts_only and not chooses, genome)
    except (InputError, MemoryError):
        raise
    except Exception as error:
        raise unreadable_error(path, error) from error
    if metadata and (chooses or not counts_only):
        add_metadata(file, str(metadata), listed_cells)
    _check(file)
    return round_counts(file, rounding)


def _check(file: CountFile) -> None:
    """Raise an InputError if a file has no cells or no genes, or a column twice."""
    if 0 in file.rows.shape:
        raise InputError(
            f"{file.path}: {file.location} has {file.rows.shape[0]} cells and {file.rows.shape[1]} genes; need at least"
            " one of each"
        )
    for kind, table in (("cell", file.cells), ("gene", file.genes)):
        if table.columns.has_duplicates:
            raise InputError(
                f"{file.path}: {kind} column {shown(repr(table.columns[table.columns.duplicated()][0]))} occurs twice;"
                " names of columns must be unique"
            )


def _open(path: str, layer: str | None, counts_only: bool, genome: str | None) -> CountFile:
    if os.path.isdir(path) and is_zarr(path):
        return _open_zarr(path, layer, counts_only, genome)
    if os.path.isdir(path) or mtx_of_prefix(path):
        return _open_folder(path, layer, counts_only, genome)
    if is_hdf5(path):
        return _open_hdf5(path, path, layer, counts_only, genome)
    kind = file_kind(path)
    if kind.remedy:
        raise refusal(path, kind)
    if kind.detail == "zip zarr":
        return open_zarr_zip(path, lambda group: _open_group(group, path, layer, counts_only, genome))
    if kind.detail == "zip mtx":
        return open_mtx_zip(path, layer, genome)
    if kind.detail in ("compressed hdf5", "zip file"):
        unpack = open_zipped_hdf5 if kind.detail == "zip file" else open_unpacked_hdf5
        file = _open_stored(unpack(path), path, layer, counts_only, genome)
        file.notes.append(f"counts: {kind.name}, unpacked into a temporary file")
        return file
    from refatlas.io.text_counts import open_text

    return open_text(path, layer, genome)


def _open_folder(path: str, layer: str | None, counts_only: bool, genome: str | None) -> CountFile:
    """Return the counts of an mtx folder, or of the file that stands for a folder of results."""
    found = find_counts(path, genome)
    if isinstance(found, MtxFiles):
        return read_mtx_files(found, path, layer, genome)
    file = _open_hdf5(found, found, layer, counts_only, genome)
    file.path = path
    file.notes.insert(0, f"counts: found in {os.path.relpath(found, path)}")
    return file


def _open_hdf5(at: str, path: str, layer: str | None, counts_only: bool, genome: str | None) -> CountFile:
    import h5py

    with suppress(ImportError):
        # Filters that HDF5 does not have by itself, where they are installed.
        import hdf5plugin  # noqa: F401

    return _open_stored(h5py.File(at, "r"), path, layer, counts_only, genome)


def _open_stored(file: Any, path: str, layer: str | None, counts_only: bool, genome: str | None) -> CountFile:
    """Return the counts of an open HDF5 file.

    Names are looked for at the top level alone: an array there may have millions of rows.
    """
    if is_loom(file):
        return open_loom(file, path, layer, counts_only, genome)
    if tenx_groups(file) and not {"obs", "var"} & set(file):
        if layer is not None and layer not in ("matrix", "X"):
            raise InputError(f"{path}: layer {shown(repr(layer))} is not in the file; a 10x h5 has one matrix")
        return open_10x_h5(file, path, genome)
    kind = hdf5_kind(file.filename) if os.path.exists(file.filename) else None
    if kind and kind.remedy:
        raise refusal(path, kind)
    return _open_group(file, path, layer, counts_only, genome)


def _open_zarr(path: str, layer: str | None, counts_only: bool, genome: str | None) -> CountFile:
    import zarr

    return _open_group(zarr.open_group(path, mode="r"), path, layer, counts_only, genome)


def _open_group(group: Any, path: str, layer: str | None, counts_only: bool, genome: str | None) -> CountFile:
    """Return the counts of an AnnData, MuData or SpatialData in an open group of h5py or zarr."""
    named = {"genome": genome} if genome is not None else {}
    if "mod" in group:
        return open_mudata(group, path, layer, counts_only, **named)
    if "X" in group or "layers" in group or "raw" in group or "raw.X" in group:
        return open_anndata(group, path, layer, counts_only, **named)
    tables = group.get("tables", group.get("table"))
    names = [name for name in tables if "obs" in tables[name]] if hasattr(tables, "keys") else []
    if len(names) != 1:
        reason = f"holds {len(names)} tables, {listed(names)}; name one" if names else "holds no counts"
        raise InputError(f"{path}: {reason} (its top level holds {listed(group)}); give the group of an AnnData")
    file = _open_group(tables[names[0]], path, layer, counts_only, genome)
    file.notes.append(f"counts: of the table {names[0]!r} of a SpatialData")
    return file
