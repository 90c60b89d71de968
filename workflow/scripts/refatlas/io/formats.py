"""The files that a path in a sheet stands for. Light: Snakemake imports it at every start."""

import os
from functools import lru_cache
from pathlib import Path

from refatlas.errors import InputError, shown
from refatlas.io.file_kind import FileKind, file_kind, quick_kind
from refatlas.io.folder_counts import GenomeNeededError, find_counts, is_zarr
from refatlas.io.mtx_folders import MtxFiles, mtx_of_prefix

# The names that Cell Ranger gives to the files of a folder.
MTX_FILES = ("matrix.mtx.gz", "features.tsv.gz", "barcodes.tsv.gz")
SUFFIXES = (".h5ad", ".h5mu", ".h5", ".zarr", ".loom", ".gz", ".zip")
# HDF5 files that are looked into at planning, for their names say that they are no counts.
SUSPECT = ("molecule_info", ".h5seurat", ".cloupe", ".arrow")


def is_readable_path(path: str) -> bool:
    """Return whether a path is a file, a folder, or the prefix of the three files of an mtx."""
    return os.path.isfile(path) or os.path.isdir(path) or mtx_of_prefix(path) is not None


def input_files(path: str) -> list[str]:
    """Return the files that a path stands for, those of a folder that change when it changes.

    For a path that does not exist yet: the files of a 10x mtx folder, unless its suffix is that of
    a file.
    """
    if os.path.isfile(path):
        return [path]
    if os.path.isdir(path) and is_zarr(path):
        return zarr_files(path) or [path]
    if not os.path.isdir(path) and mtx_of_prefix(path) is None:
        return [path] if path.endswith(SUFFIXES) else [str(Path(path) / name) for name in MTX_FILES]
    try:
        found = find_counts(path)
    except GenomeNeededError:
        # The sheet says which: files of all genomes count as inputs.
        return sorted(str(file) for file in Path(path).rglob("*") if file.suffix in (".mtx", ".tsv", ".gz"))
    except InputError:
        return [str(Path(path) / name) for name in MTX_FILES]
    return found.paths() if isinstance(found, MtxFiles) else [found]


def require_readable(path: str, where: str) -> None:
    """Raise an InputError if a path that exists is of a kind that is not read.

    Files in HDF5 are looked into when they are read: at planning, their name must do.

    Args:
        where: begin of the message: the place in the sheet.
    """
    if os.path.isfile(path):
        kind = _planned_kind(path)
        if kind.remedy:
            raise InputError(f"{where} {shown(repr(path), 300)} is {kind.name}; {kind.remedy}")
    elif os.path.isdir(path) and not is_zarr(path):
        try:
            find_counts(path)
        except GenomeNeededError:
            return
        except InputError as error:
            raise InputError(f"{where} {error}") from None


@lru_cache(maxsize=100_000)
def _planned_kind(path: str) -> FileKind:
    try:
        looked = file_kind if any(part in Path(path).name.lower() for part in SUSPECT) else quick_kind
        return looked(path)
    except OSError:
        # Its reader says what is wrong.
        return FileKind("a file")


def zarr_files(path: str) -> list[str]:
    """Return the metadata files of a zarr, which change whenever an array is written.

    Returns none for what is no folder, and leaves out arrays in whose names Snakemake would look
    for placeholders.
    """
    found = (
        str(Path(folder) / name)
        for folder, _, names in os.walk(path)
        for name in names
        if name in ("zarr.json", ".zarray", ".zattrs", ".zgroup")
    )
    return sorted(file for file in found if not set("{}<>") & set(file))
