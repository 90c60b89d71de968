"""Raw counts in loom files (genes × cells), of version 2 and 3 of the format and before.

Source of the format: linnarssonlab.org/loompy/format.
"""

import re
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np
import pandas as pd
from scipy import sparse

from refatlas.errors import InputError, listed
from refatlas.io.count_file import CountFile
from refatlas.io.count_places import Choice, choose_place
from refatlas.io.feature_kinds import kind_column, split_features
from refatlas.io.matrix_rows import BLOCK_VALUES, Rows, Triplets, summed_rows, transposed_rows
from refatlas.io.watchdog import watchdog

# Names of attributes as tools write them, the likeliest first.
GENE_NAMES = (
    *("Gene", "gene", "gene_names", "gene_name", "GeneName", "var_names", "Genes", "genes", "gene_symbols", "symbol"),
    *("Symbol", "target_name", "Accession", "accession", "gene_ids", "gene_id", "ensembl_ids", "ensembl_id", "id"),
)
CELL_NAMES = (
    *("CellID", "CellId", "Cell_ID", "cell_id", "obs_names", "barcode", "Barcode", "barcodes", "cell_names", "cell"),
    *("CellName", "cell_name", "Cell", "cells", "index"),
)
# The matrix itself, as a sheet and as an AnnData name it.
MATRIX, X = re.compile(r"\bmatrix\b"), re.compile(r"\bX\b")
# A stripe of cells as wide as the chunks is decompressed at once. If it needs more bytes, the matrix is transposed.
MAX_STRIPE_BYTES = 200_000_000


def open_loom(
    file: h5py.File, path: str, layer: str | None, counts_only: bool = False, genome: str | None = None
) -> CountFile:
    """Return the counts of an open loom file.

    Args:
        layer: "matrix" or a layer's name, or several with "+" between; None for the one that holds
            all counts.
        counts_only: leave out the columns of cells.
        genome: of the sheet, for genes of several genomes.

    Raises:
        InputError: there are no counts or names of genes, or the layer is not there.
    """
    names, choice = _choose(file, path, layer)
    notes = choice.notes
    n_genes, n_cells = file["matrix"].shape
    genes = _table(file["row_attrs"], n_genes, GENE_NAMES)
    if isinstance(genes.index, pd.RangeIndex):
        raise InputError(
            f"{path}: a loom file without names of genes; its row attributes are {listed(file['row_attrs'])}; call one"
            " Gene"
        )
    cells = (
        pd.DataFrame(index=pd.RangeIndex(n_cells)) if counts_only else _table(file["col_attrs"], n_cells, CELL_NAMES)
    )
    if not counts_only and isinstance(cells.index, pd.RangeIndex):
        cells.index = cells.index.astype(str)
        notes.append(f"cells: the file has no names of cells ({listed(file['col_attrs'])}); they are numbered from 0")
    rows = summed_rows([_loom_rows(file[name]) for name in names]) if len(names) > 1 else _loom_rows(file[names[0]])
    found = CountFile(path, "+".join(names), cells, genes, rows, notes, places=choice.places)
    return split_features(found, kind_column(genes), genes.index, genome)


class _Turned:
    """A stored array of genes × cells as one of cells × genes, for the choice among several."""

    def __init__(self, array: h5py.Dataset) -> None:
        self.array, self.shape, self.dtype = array, array.shape[::-1], array.dtype
        self.attrs: dict[str, Any] = {}

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, cells: slice) -> np.ndarray:
        return np.asarray(self.array[:, cells]).T


def _choose(file: h5py.File, path: str, layer: str | None) -> tuple[list[str], Choice]:
    """Return where in the file the counts are, and the choice as of an AnnData whose X is the matrix.

    Raises:
        InputError: there is no such layer, or nothing decides.
    """
    layers = file.get("layers", {})
    turned = {name: _Turned(layers[name]) for name in layers if name and len(layers[name].shape) == 2}
    group = {"X": _Turned(file["matrix"]), "layers": turned} | {f"layers/{name}": turned[name] for name in turned}
    wanted = None if layer is None else MATRIX.sub(lambda found: "X", layer.removeprefix("layers/"))
    try:
        choice = choose_place(group, path, wanted, file["matrix"].shape[1])
    except InputError as error:
        raise InputError(f"{path}{X.sub('matrix', str(error).removeprefix(path))}") from None
    places = [X.sub("matrix", place) for place in choice.location.split("+")]
    choice.notes = [X.sub("matrix", note) for note in choice.notes]
    choice.notes[0] += " (of a loom file)"
    choice.places = [{**place, "location": X.sub("matrix", place["location"])} for place in choice.places]
    return places, choice


def _table(attributes: Any, length: int, index_names: tuple[str, ...]) -> pd.DataFrame:
    """Return the one-dimensional attributes as columns, indexed by the names; by numbers if there are none."""
    columns = {}
    for name in attributes:
        array = attributes[name]
        if isinstance(array, h5py.Dataset) and array.shape in ((length,), (length, 1)):
            columns[name] = _column(array)
    table = pd.DataFrame(columns, index=pd.RangeIndex(length))
    for name in index_names:
        if name in columns:
            return table.set_axis(pd.Index(columns[name].astype(str), dtype=object))
    return table


def _column(array: h5py.Dataset) -> np.ndarray:
    is_text = h5py.check_string_dtype(array.dtype) is not None or array.dtype.kind == "S"
    values = array.asstr(errors="replace")[...] if is_text else array[...]
    return np.asarray(values, dtype=object if is_text else None).reshape(-1)


def _loom_rows(array: Any) -> Rows:
    """Return a dense array of genes × cells by cells.

    Chunks are decompressed once where a stripe of cells as wide as they are fits into memory.
    """
    if len(array.shape) != 2 or array.dtype.kind not in "biuf":
        raise ValueError(f"an array of {array.dtype} of shape {array.shape} holds no counts")
    n_genes, n_cells = (int(n) for n in array.shape)
    width = array.chunks[1] if array.chunks else n_cells
    if n_genes * width * array.dtype.itemsize > MAX_STRIPE_BYTES:
        return transposed_rows(lambda: _triplets(array), (n_cells, n_genes), _plain_type(array.dtype))
    last: dict[int, sparse.csr_matrix] = {}

    def stripe(number: int) -> sparse.csr_matrix:
        if number not in last:
            block = np.asarray(array[:, number * width : (number + 1) * width])
            last.clear()
            last[number] = sparse.csr_matrix(block.T.astype(_plain_type(block.dtype), copy=False))
        return last[number]

    def read(start: int, stop: int) -> sparse.csr_matrix:
        parts = []
        for number in range(start // width, -(-stop // width)):
            first = number * width
            parts.append(stripe(number)[max(start - first, 0) : stop - first])
        return sparse.vstack(parts, format="csr") if len(parts) > 1 else parts[0]

    return Rows((n_cells, n_genes), read, np.arange(1, n_cells + 1, dtype=np.int64) * n_genes)


def _plain_type(dtype: np.dtype) -> np.dtype:
    """Return a type that sparse matrices can have: half precision cannot."""
    return np.dtype(np.float32) if dtype == np.float16 else np.dtype(dtype).newbyteorder("=")


def _triplets(array: Any) -> Iterator[Triplets]:
    """Yield cells, genes and values, a range of genes at a time."""
    n_genes, n_cells = array.shape
    step = max(1, BLOCK_VALUES // max(1, n_cells))
    if array.chunks:
        step = max(array.chunks[0], step // array.chunks[0] * array.chunks[0])
    for start in range(0, n_genes, step):
        with watchdog():
            block = np.asarray(array[start : start + step])
        genes, cells = np.nonzero(block)
        yield cells, genes + start, block[genes, cells]
