"""Raw counts in 10x h5 files and 10x mtx folders."""

import csv
import gzip
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

from refatlas.errors import InputError, listed
from refatlas.io.count_file import GENES, CountFile, feature_names, split_features
from refatlas.io.formats import mtx_files
from refatlas.io.matrix_rows import BLOCK_VALUES, Rows, Triplets, compressed_rows, temporary_array, transposed_rows


def open_10x_h5(stored: h5py.File, path: str) -> CountFile:
    """Return the counts of an open 10x h5, of Cell Ranger 2 or later.

    Raises:
        InputError: it is no 10x h5.
    """
    names = [name for name in stored if "barcodes" in stored[name] and "indptr" in stored[name]]
    if len(names) != 1:
        raise InputError(
            f"{path}: neither an AnnData file nor a 10x matrix (its top level holds {listed(stored)}); give an h5ad,"
            " h5mu, zarr, 10x h5 or the folder of a 10x mtx"
        )
    matrix = stored[names[0]]
    n_genes, n_cells = (int(n) for n in matrix["shape"][:])
    cells = pd.DataFrame(index=pd.Index(matrix["barcodes"].asstr()[:]))
    rows = compressed_rows((n_cells, n_genes), matrix["indptr"][:], matrix["indices"], matrix["data"])
    notes = [f"counts: {names[0]} of a 10x h5"]
    if "features" not in matrix:
        genes = pd.DataFrame({"gene_symbols": matrix["gene_names"].asstr()[:]}, index=matrix["genes"].asstr()[:])
        return CountFile(path, names[0], cells, genes, rows, notes)
    ids, symbols, kinds = (matrix["features"][name].asstr()[:] for name in ("id", "name", "feature_type"))
    file = CountFile(path, names[0], cells, pd.DataFrame({"gene_symbols": symbols}, index=ids), rows, notes)
    return split_features(file, pd.Series(kinds), feature_names(ids, symbols))


def open_mtx(folder: str) -> CountFile:
    """Return the counts of a 10x mtx folder, transposed into a temporary file.

    Raises:
        InputError: a file is missing, or the three do not fit each other.
    """
    files = mtx_files(folder)
    missing = [Path(file).name for file in files.values() if not os.path.exists(file)]
    if missing:
        raise InputError(
            f"{folder}: {listed(missing)} not found; a 10x mtx folder holds matrix.mtx, features.tsv (or genes.tsv) and"
            f" barcodes.tsv, gzipped or not; it has {listed(sorted(os.listdir(folder)))}"
        )
    as_written: dict[str, Any] = {
        "sep": "\t",
        "header": None,
        "dtype": str,
        "keep_default_na": False,
        "quoting": csv.QUOTE_NONE,
    }
    features = pd.read_csv(files["features"], **as_written)
    barcodes = pd.read_csv(files["barcodes"], usecols=[0], **as_written)[0]
    kinds = features[2] if features.shape[1] > 2 else pd.Series(GENES, index=features.index)
    ids = features[0].to_numpy()
    symbols = features[1].to_numpy() if features.shape[1] > 1 else ids
    rows = _mtx_rows(files["matrix"], len(barcodes), len(features))
    file = CountFile(
        folder,
        "matrix",
        pd.DataFrame(index=pd.Index(barcodes)),
        pd.DataFrame({"gene_symbols": symbols}, index=ids),
        rows,
        ["counts: matrix of a 10x mtx folder"],
    )
    return split_features(file, kinds, feature_names(ids, symbols))


def _mtx_rows(path: str, n_cells: int, n_genes: int) -> Rows:
    """Return a MatrixMarket file of genes × cells by cells."""
    size, n_header_lines = _mtx_header(path)
    if size[:2] != (n_genes, n_cells):
        raise InputError(
            f"{path}: {size[0]} × {size[1]}, but the folder lists {n_genes} features and {n_cells} barcodes; are the"
            " three files of one run?"
        )
    genes, cells, values = (temporary_array(size[2], kind) for kind in (np.int32, np.int32, np.float64))
    filled = 0
    for chunk in pd.read_csv(
        path, sep=r"\s+", header=None, skiprows=n_header_lines, chunksize=BLOCK_VALUES, names=["gene", "cell", "value"]
    ):
        stop = filled + len(chunk)
        if stop > size[2]:
            break
        genes[filled:stop], cells[filled:stop], values[filled:stop] = (
            chunk["gene"] - 1,
            chunk["cell"] - 1,
            chunk["value"],
        )
        filled = stop
    if filled != size[2]:
        raise InputError(
            f"{path}: its header announces {size[2]} values, but it holds another number; is it complete? Write or"
            " download it again"
        )

    def triplets(start: int) -> Triplets:
        part = slice(start, start + BLOCK_VALUES)
        return cells[part], genes[part], values[part]

    return transposed_rows(lambda: map(triplets, range(0, filled, BLOCK_VALUES)), (n_cells, n_genes), np.float64)


def _mtx_header(path: str) -> tuple[tuple[int, ...], int]:
    """Return rows, columns and number of values of a MatrixMarket file, and its header lines."""
    opener: Any = gzip.open if path.endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8") as file:
        header, n_lines = file.readline(), 1
        if "coordinate" not in header:
            raise InputError(f"{path}: begins with {header.strip()[:60]!r}; expected a MatrixMarket coordinate file")
        line = file.readline()
        while line.startswith("%"):
            line, n_lines = file.readline(), n_lines + 1
    return tuple(int(n) for n in line.split()), n_lines + 1
