"""Raw counts in 10x h5 files."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

from refatlas.errors import InputError, listed, shown
from refatlas.io.count_file import CountFile
from refatlas.io.feature_kinds import feature_names, split_features
from refatlas.io.folder_counts import droplets_note
from refatlas.io.hdf5_kind import tenx_groups
from refatlas.io.matrix_rows import compressed_rows
from refatlas.io.mtx_counts import open_mtx

__all__ = ["open_10x_h5", "open_mtx"]


def open_10x_h5(stored: h5py.File, path: str, genome: str | None = None) -> CountFile:
    """Return the counts of an open 10x h5, of Cell Ranger 2 or later.

    Args:
        genome: of the sheet. In Cell Ranger 2, each genome is a group of its own.

    Raises:
        InputError: it is no 10x h5, or has several genomes and none is named.
    """
    name, chosen = _group_of(tenx_groups(stored), path, genome)
    matrix = stored[name]
    n_genes, n_cells = (int(n) for n in matrix["shape"][:])
    genes, kinds, names = _read_genes(matrix, path)
    cells = pd.DataFrame(index=pd.Index(_text(matrix["barcodes"]), dtype=object))
    if (n_cells, n_genes) != (len(cells), len(genes)):
        raise InputError(
            f"{path}: {name} is {n_genes} genes × {n_cells} cells, but the file names {len(genes)} genes and"
            f" {len(cells)} cells; write or download it again"
        )
    rows = compressed_rows((n_cells, n_genes), matrix["indptr"][:], matrix["indices"], matrix["data"])
    notes = [f"counts: {name} of a 10x h5", *droplets_note(path)]
    if chosen:
        notes[0] += f"; genome {genome}, as set in the sheet, of {listed(tenx_groups(stored))}"
    file = CountFile(path, name, cells, genes, rows, notes)
    return split_features(file, kinds, names, None if chosen else genome)


def _group_of(groups: list[str], path: str, genome: str | None) -> tuple[str, bool]:
    """Return the group with the matrix, and whether the sheet's genome chose it."""
    if genome in groups:
        return str(genome), True
    if len(groups) == 1 and (genome is None or groups[0] == "matrix"):
        return groups[0], False
    if genome is None:
        raise InputError(
            f"{path}: a 10x h5 with the counts of {len(groups)} genomes, {listed(groups)}; set genome in the sheet to"
            " the one to take"
        )
    raise InputError(f"{path}: genome {shown(repr(genome))} is not in the file; it has {listed(groups)}")


def _text(array: Any) -> np.ndarray:
    return np.asarray(array.asstr(errors="replace")[:], dtype=object)


def _read_genes(matrix: h5py.Group, path: str) -> tuple[pd.DataFrame, pd.Series | None, pd.Index]:
    """Return the genes by id with their symbols, kinds of features, and the name of each for proteins."""
    if "features" not in matrix:
        ids = _text(matrix["genes"])
        symbols = _text(matrix["gene_names"]) if "gene_names" in matrix else ids
        return pd.DataFrame({"gene_symbols": symbols}, index=pd.Index(ids)), None, feature_names(ids, symbols)
    features = matrix["features"]
    if "probe_region" in features or "raw_probe" in Path(path).name:
        raise InputError(
            f"{path}: holds counts of probes, not of genes; give sample_filtered_feature_bc_matrix.h5 beside it"
        )
    ids = _text(features["id"])
    symbols = _text(features["name"]) if "name" in features else ids
    genes = pd.DataFrame({"gene_symbols": symbols}, index=pd.Index(ids))
    if "genome" in features and len(features["genome"]) == len(ids):
        genes["genome"] = _text(features["genome"])
    kinds = pd.Series(_text(features["feature_type"]), index=genes.index) if "feature_type" in features else None
    return genes, kinds, feature_names(ids, symbols)
