"""What an HDF5 file is, by the names at its top level. No array is read."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from refatlas.errors import listed, shown
from refatlas.io.foreign_files import FORMATS, FileKind, r_remedy

# Names that a top level has, what the file is, and what to do; the first that fits is taken.
_FOREIGN: tuple[tuple[frozenset[str], str, str], ...] = (
    (
        frozenset({"barcode_idx", "feature_idx", "count"}),
        "molecule_info.h5 of Cell Ranger, which lists molecules",
        "give filtered_feature_bc_matrix.h5 beside it",
    ),
    (
        frozenset({"barcode", "gene", "reads"}),
        "molecule_info.h5 of Cell Ranger, which lists molecules",
        "give filtered_gene_bc_matrices_h5.h5 beside it",
    ),
    (frozenset({"assays", "cell.names", "meta.data"}), "an h5Seurat file", "H5SEURAT"),
    (frozenset({"model_weights"}), "a model of Keras", FORMATS),
    (frozenset({"layers", "vars"}), "weights of Keras", FORMATS),
    (frozenset({"layer_names"}), "weights of Keras", FORMATS),
    (
        frozenset({"#refs#"}),
        "a MATLAB 7.3 file",
        "write it as h5ad, for example with h5py and anndata, with names of cells and genes",
    ),
    (frozenset({"AssayInfo", "Data"}), "an HDF5 file of BD Rhapsody", "give its MEX folder or h5ad"),
    (frozenset({"FragmentCounts", "Fragments"}), "an ArchR arrow file of fragments", "give the counts of genes"),
    (frozenset({"Fragments"}), "an ArchR arrow file of fragments", "give the counts of genes"),
    (frozenset({"cell_feature_matrix"}), "analysis results of Cell Ranger", "give filtered_feature_bc_matrix.h5"),
    (frozenset({"geneExp"}), "a gef file of Stereo-seq", "write it as h5ad with stereopy"),
    (frozenset({"cellBin"}), "a cgef file of Stereo-seq", "write it as h5ad with stereopy"),
    (frozenset({"chunks", "clustering"}), "a cloupe file of Loupe", "give filtered_feature_bc_matrix.h5"),
)
_TENX = {"barcodes", "indptr", "indices", "data", "shape"}


def hdf5_kind(path: str) -> FileKind:
    """Return what an HDF5 file is, and what to do if it is no file of counts.

    Raises:
        OSError: the library cannot open the file for a reason other than damage.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return _kind_of(file, path)
    except (OSError, RuntimeError, KeyError) as error:
        if isinstance(error, PermissionError):
            raise
        return FileKind(*_damage(path, error))


def _damage(path: str, error: Exception) -> tuple[str, str]:
    """Return what a file is that begins as HDF5 and cannot be opened, and what to do."""
    reason = shown(error, 300)
    if "unable to lock" in reason.lower():
        return f"an HDF5 file that is open elsewhere ({reason})", "close it there, or set HDF5_USE_FILE_LOCKING=FALSE"
    size = f"{os.path.getsize(path):,} bytes"
    return f"a damaged or truncated HDF5 file ({size}; {reason})", "is it complete? Write or download it again"


def _kind_of(file: Any, path: str) -> FileKind:
    for told in (_counts_kind, _foreign_kind):
        if kind := told(file, path):
            return kind
    if any(name in file for name in ("X", "layers", "raw")):
        # Its reader says which part of an AnnData is missing.
        return FileKind("an h5ad file", "", "hdf5")
    return FileKind(f"an HDF5 file without counts (its top level holds {listed(file)})", FORMATS)


def is_loom(file: Any) -> bool:
    """Return whether an open HDF5 file is a loom file, of any version."""
    return all(name in file for name in ("matrix", "row_attrs", "col_attrs")) and hasattr(file["matrix"], "dtype")


def tenx_groups(file: Any) -> list[str]:
    """Return the top-level groups that are 10x matrices.

    A name is looked for in groups alone: in an array, it would be compared with every value.
    """
    return [name for name in file if _is_group(file, name) and set(file[name]) >= _TENX]


def _is_group(file: Any, name: str) -> bool:
    import h5py

    return file.get(name, getclass=True) is h5py.Group


def _counts_kind(file: Any, path: str) -> FileKind | None:
    """Return the kind of a file that is read."""
    kinds: tuple[tuple[str, Callable[[], Any]], ...] = (
        ("a loom file", lambda: is_loom(file)),
        ("an h5mu file", lambda: _is_group(file, "mod")),
        ("an h5ad file", lambda: "obs" in file and "var" in file and any(n in file for n in ("X", "layers", "raw.X"))),
        ("a 10x h5 file", lambda: tenx_groups(file)),
    )
    return next((FileKind(name, "", "hdf5") for name, holds in kinds if holds()), None)


def _foreign_kind(file: Any, path: str) -> FileKind | None:
    names = set(file) | set(file.attrs)
    for needed, what, remedy in _FOREIGN:
        if needed <= names:
            return FileKind(what, r_remedy(path, remedy) if remedy == "H5SEURAT" else remedy)
    if "_NCProperties" in names or any(name.startswith("_nc") for name in names):
        return FileKind("a NetCDF file", FORMATS)
    if "MATLAB_class" in names or any(
        "MATLAB_class" in found.attrs for name in list(file)[:20] if (found := file.get(name)) is not None
    ):
        return FileKind("a MATLAB 7.3 file", "write it as h5ad, with names of cells and genes")
    if {"assay001", "assays.h5"} & names or Path(path).name in ("assays.h5", "se.h5"):
        return FileKind("the assays of an R object (HDF5Array)", r_remedy(Path(path).parent.name, "LOADED"))
    return None
