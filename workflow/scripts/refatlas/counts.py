"""Raw counts in the files that people have (h5ad, h5mu, zarr, 10x h5, 10x mtx), read in blocks of cells and never whole.

Files that are not stored cell by cell (CSC matrices, mtx text) are transposed once into a temporary file on disk.
"""

import csv
import gzip
import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from refatlas.apart import watched
from refatlas.chunks import fast_reader
from refatlas.errors import InputError, listed, shown
from refatlas.files import is_mtx, mtx_files
from refatlas.limits import full_disk_is_said

BLOCK_VALUES = 1_000_000
GENES = "Gene Expression"
RNA = "rna"
LIKELY_LAYERS = ("counts", "raw_counts", "count", "raw", "umi", "UMI", "umis")


@dataclass
class Rows:
    """A matrix of cells × features that can be read by ranges of cells.

    Attributes:
        read: function of (start, stop) that returns these cells as CSR.
        ends: stored values up to and including each cell, shape (n_cells,), from which blocks are cut.
    """

    shape: tuple[int, int]
    read: Callable[[int, int], sparse.csr_matrix]
    ends: np.ndarray

    def blocks(self, n_values: int = BLOCK_VALUES) -> Iterator[tuple[int, sparse.csr_matrix]]:
        """Yield (first cell, CSR block) of at most `n_values` stored values each, or of one cell; the next block is read while the caller has the last."""
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
    with watched():
        return coming.result()


@dataclass
class CountFile:
    """Raw counts of one file, with its cell and gene tables.

    Attributes:
        location: where in the file the counts stand, as "X", "layers/counts", "raw/X", "matrix".
        cells: one row a cell, indexed by its name in the file.
        genes: one row a gene, indexed by its name in the file.
        rows: the counts, cells × genes.
        notes: what a user should know of how the file was read.
        proteins: what a protein_key may name, each with a function that reads it: a table of values, indexed by cell, a column a protein.
    """

    path: str
    location: str
    cells: pd.DataFrame
    genes: pd.DataFrame
    rows: Rows
    notes: list[str] = field(default_factory=list)
    proteins: dict[str, Callable[[], pd.DataFrame]] = field(default_factory=dict)

    def blocks(self, n_values: int = BLOCK_VALUES) -> Iterator[tuple[int, sparse.csr_matrix]]:
        """Yield (first cell, CSR block of cells × genes).

        Raises:
            InputError: a part of the file cannot be read.
        """
        try:
            yield from self.rows.blocks(n_values)
        except Exception as error:
            raise unreadable(self.path, error) from error

    def read_proteins(self, key: str) -> pd.DataFrame:
        """Return one of the tables that a protein_key may name.

        Raises:
            InputError: it cannot be read.
        """
        try:
            with watched():
                return self.proteins[key]()
        except InputError:
            raise
        except Exception as error:
            raise unreadable(self.path, error) from error


def open_counts(path: str, layer: str | None = None, metadata: str | None = None, counts_only: bool = False) -> CountFile:
    """Return the counts of a file, opened but not read.

    Args:
        layer: "X", "raw" or a layer's name; None looks for integers in X, then in the layers, then in raw.
        metadata: table of further cell columns, whose first column is the cell's name.
        counts_only: leaves out what an AnnData file says of its cells and, where all columns are genes, of these: the names of a million cells take longer to read than their counts.

    Raises:
        InputError: the file is unreadable, of no known format, empty, or has no such layer.
    """
    try:
        with watched():
            file = _open(path, layer, counts_only)
    except InputError:
        raise
    except Exception as error:
        raise unreadable(path, error) from error
    if 0 in file.rows.shape:
        raise InputError(f"{path}: {file.location} has {file.rows.shape[0]} cells and {file.rows.shape[1]} genes; need at least one of each")
    if metadata:
        _add_metadata(file, metadata)
    for kind, table in (("cell", file.cells), ("gene", file.genes)):
        if table.columns.has_duplicates:
            raise InputError(f"{path}: {kind} column {shown(repr(table.columns[table.columns.duplicated()][0]))} stands twice; columns must be unique")
    return file


def unreadable(path: str, error: Exception) -> InputError:
    """Return the error for a file that a library fails on, in whatever way: those of h5py, anndata, zarr and isal have no common class."""
    reason = f"{type(error).__name__}: {shown(error, 300)}"
    return InputError(f"{path}: cannot be read as h5ad, h5mu, zarr, 10x h5 or 10x mtx ({reason}); is it complete? Write or download it again")


def _open(path: str, layer: str | None, counts_only: bool = False) -> CountFile:
    if os.path.isdir(path):
        return _open_mtx(path) if is_mtx(path) else _open_zarr(path, layer, counts_only)
    import h5py

    file = h5py.File(path, "r")
    if "mod" in file:
        return _open_mudata(file, path, layer, counts_only)
    if "X" in file or "layers" in file or "raw" in file:
        return _open_anndata(file, path, layer, counts_only)
    return _open_10x_h5(file, path)


def _open_zarr(path: str, layer: str | None, counts_only: bool) -> CountFile:
    import zarr

    return _open_anndata(zarr.open_group(path, mode="r"), path, layer, counts_only)


def _table(element, unread: int | None) -> pd.DataFrame:
    """Return a stored table of cells or genes; where it is not wanted, one of `unread` rows without columns or names."""
    if unread is not None:
        return pd.DataFrame(index=pd.RangeIndex(unread))
    from anndata.io import read_elem

    table = read_elem(element)
    return table.set_axis(table.index.astype(str))


def _open_anndata(group, path: str, layer: str | None, counts_only: bool) -> CountFile:
    candidates = _locations(group)
    location, note = _choose_location(group, candidates, path, layer)
    rows = _rows_of(group[location])
    described = group["raw/var" if location == "raw/X" else "var"]
    cells = _table(group["obs"], None if not counts_only else rows.shape[0])
    genes = _table(described, None if not counts_only or "feature_types" in described else rows.shape[1])
    if rows.shape != (len(cells), len(genes)):
        raise InputError(f"{path}: {location} is {rows.shape[0]} × {rows.shape[1]}, but the file names {len(cells)} cells and {len(genes)} genes")
    proteins = {key: partial(_obsm_table, group, path, key, cells.index) for key in group.get("obsm", ())}
    file = CountFile(path, location, cells, genes, rows, note, proteins)
    kinds = genes["feature_types"].astype(str) if "feature_types" in genes else pd.Series(GENES, index=genes.index)
    return _split_features(file, kinds, genes.index) if (kinds == GENES).any() else file


def _open_mudata(file, path: str, layer: str | None, counts_only: bool) -> CountFile:
    """Return the RNA of an h5mu; cell columns of the whole stand beside the RNA's own, every other modality may hold proteins."""
    from anndata.io import read_elem

    if RNA not in file["mod"]:
        raise InputError(f"{path}: no modality {RNA!r} in the file; it has {listed(file['mod'])}; rename the one that holds the counts of RNA")
    found = _open_anndata(file["mod"][RNA], path, layer, counts_only)
    found.location = f"mod/{RNA}/{found.location}"
    found.notes[0] = f"{found.notes[0]} (modality {RNA!r})"
    shared = read_elem(file["obs"]) if "obs" in file and not counts_only else pd.DataFrame(index=found.cells.index)
    found.cells = found.cells.join(shared.set_axis(shared.index.astype(str))[shared.columns.difference(found.cells.columns, sort=False)])
    found.proteins |= {key: partial(_modality_table, file["mod"][key]) for key in file["mod"] if key != RNA and "X" in file["mod"][key]}
    return found


def _obsm_table(group, path: str, key: str, cells: pd.Index) -> pd.DataFrame:
    """Return an obsm with its columns' names, which for a plain array stand in uns."""
    from anndata.io import read_elem

    values = read_elem(group["obsm"][key])
    if isinstance(values, pd.DataFrame):
        return values.set_axis(cells)
    values = values.toarray() if sparse.issparse(values) else np.asarray(values)
    uns = group.get("uns", {})
    usual = (f"{key}_names", f"{key}_columns", "protein_names", "proteins", "adt_names")
    named = [read_elem(uns[name]) for name in usual if name in uns]
    fitting = [names for names in named if np.ndim(names) == 1 and values.ndim == 2 and len(names) == values.shape[1]]
    if not fitting:
        raise InputError(
            f"{path}: obsm {key!r} of shape {values.shape} has no names of proteins; make it a data frame, or put their names into uns[{usual[0]!r}] (uns has {listed(uns, 20)})"
        )
    return pd.DataFrame(values, index=cells, columns=[str(name) for name in fitting[0]])


def _modality_table(group) -> pd.DataFrame:
    """Return a modality's X; its cells may be others than the RNA's."""
    from anndata.io import read_elem

    values = read_elem(group["X"])
    values = values.toarray() if sparse.issparse(values) else np.asarray(values)
    return pd.DataFrame(values, index=read_elem(group["obs"]).index.astype(str), columns=read_elem(group["var"]).index.astype(str))


def _locations(group) -> list[str]:
    """Return where an AnnData file may hold counts, the likeliest first."""
    layers = list(group["layers"]) if "layers" in group else []
    layers.sort(key=lambda name: (name not in LIKELY_LAYERS, name))
    places = ["X"] if "X" in group else []
    places += [f"layers/{name}" for name in layers]
    # Some writers leave an empty array named raw where there is none.
    return places + (["raw/X"] if "raw" in group and hasattr(group["raw"], "keys") and "X" in group["raw"] else [])


def _choose_location(group, candidates: list[str], path: str, layer: str | None) -> tuple[str, list[str]]:
    if layer is not None:
        wanted = layer if layer in candidates else {"raw": "raw/X"}.get(layer, f"layers/{layer}")
        wanted = f"layers/{layer}" if wanted not in candidates else wanted
        if wanted not in candidates:
            raise InputError(f"{path}: layer {layer!r} is not in the file; it has {listed(candidates)}")
        return wanted, [f"counts: {wanted}, as asked for"]
    for location in candidates:
        if _seem_counts(_rows_of(group[location], sample=True)):
            return location, [f"counts: {location}, the first of {listed(candidates)} with integers only"]
    if not candidates:
        raise InputError(f"{path}: no X, layers or raw in the file; counts are missing")
    return candidates[0], [f"counts: {candidates[0]}, though nothing in the file seems to hold counts"]


def _seem_counts(rows: Rows, n_values: int = 200_000) -> bool:
    """Tell whether the first values of a matrix, and some from its middle, are integers and not negative."""
    middle = rows.shape[0] // 2
    for start in {0, middle}:
        stop = max(start + 1, int(np.searchsorted(rows.ends, (rows.ends[start] if start else 0) + n_values)))
        values = rows.read(start, min(stop, rows.shape[0])).data
        if not (np.isfinite(values).all() and (values >= 0).all() and (values == np.rint(values)).all()):
            return False
    return True


def _rows_of(element, sample: bool = False) -> Rows:
    """Return a stored matrix by rows; `sample` looks at a CSC matrix's values without transposing it."""
    encoding = element.attrs.get("encoding-type", "array")
    if encoding == "csr_matrix" or (encoding == "csc_matrix" and sample):
        shape = tuple(int(n) for n in element.attrs["shape"])
        return _compressed_rows(shape if encoding == "csr_matrix" else shape[::-1], element["indptr"][:], element["indices"], element["data"])
    if encoding == "csc_matrix":
        n_cells, n_genes = (int(n) for n in element.attrs["shape"])
        columns = _compressed_rows((n_genes, n_cells), element["indptr"][:], element["indices"], element["data"])
        return transposed(
            lambda: (((block.indices, np.repeat(np.arange(start, start + block.shape[0]), np.diff(block.indptr)), block.data)) for start, block in columns.blocks()),
            (n_cells, n_genes),
            element["data"].dtype,
        )
    if len(getattr(element, "shape", ())) != 2:
        raise ValueError(f"a matrix of encoding {encoding!r} is not supported; write it with a recent anndata")
    return _dense_rows(element)


def _compressed_rows(shape: tuple[int, int], indptr: np.ndarray, indices, data) -> Rows:
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
        block.data, block.indices, block.indptr = read_data(first, last), read_indices(first, last), indptr[start : stop + 1] - first
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
    return Rows(shape, lambda start, stop: sparse.csr_matrix(array[start:stop]), np.arange(1, shape[0] + 1, dtype=np.int64) * shape[1])


def transposed(triplets: Callable[[], Iterator[tuple]], shape: tuple[int, int], dtype) -> Rows:
    """Return values that come in any order as rows, through a temporary file on disk.

    Args:
        triplets: called twice; yields (cells, genes, values) of equal length, a chunk at a time.
    """
    lengths = np.zeros(shape[0], dtype=np.int64)
    for cells, _, _ in triplets():
        lengths += np.bincount(cells, minlength=shape[0])
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    indices, data = _on_disk(indptr[-1], np.int32), _on_disk(indptr[-1], dtype)
    free = indptr[:-1].copy()
    for cells, genes, values in triplets():
        order = np.argsort(cells, kind="stable")
        cells, here = cells[order], np.bincount(cells, minlength=shape[0])
        places = free[cells] + np.arange(len(cells)) - (np.cumsum(here) - here)[cells]
        indices[places], data[places] = genes[order], values[order]
        free += here
    return _compressed_rows(shape, indptr, indices, data)


def _on_disk(length: int, dtype) -> np.ndarray:
    if length == 0:
        return np.zeros(0, dtype=dtype)
    folder = tempfile.gettempdir()
    with full_disk_is_said(Path(folder) / "temporary file", "set TMPDIR to a folder with more room"), tempfile.TemporaryFile(prefix="refatlas-") as file:
        # Writing to a mapped file on a full disk would kill the process, without a word.
        os.posix_fallocate(file.fileno(), 0, int(length) * np.dtype(dtype).itemsize)
        return np.memmap(file, dtype=dtype, mode="w+", shape=(int(length),))


def _split_features(file: CountFile, kinds: pd.Series, names: pd.Index) -> CountFile:
    """Return a file whose columns are of several kinds with its genes as counts; every other kind may be named as proteins.

    Args:
        kinds: feature type of each column, as Cell Ranger writes it. names: of each column, for proteins.
    """
    kinds, rows = kinds.to_numpy(), file.rows
    genes = np.flatnonzero(kinds == GENES)
    if len(genes) == rows.shape[1]:
        return file
    for kind in pd.unique(kinds[kinds != GENES]):
        columns = np.flatnonzero(kinds == kind)
        file.proteins[kind] = partial(_column_table, rows, columns, names[columns], file.cells.index)
    file.notes.append("features: " + ", ".join(f"{n} {kind}" for kind, n in pd.Series(kinds).value_counts().items()))
    file.genes = file.genes.iloc[genes]
    file.rows = Rows((rows.shape[0], len(genes)), lambda start, stop: rows.read(start, stop)[:, genes], rows.ends)
    return file


def _column_table(rows: Rows, columns: np.ndarray, names: pd.Index, cells: pd.Index) -> pd.DataFrame:
    values = [block[:, columns].toarray() for _, block in rows.blocks()]
    return pd.DataFrame(np.vstack(values), index=cells, columns=names)


def _feature_names(ids: np.ndarray, names: np.ndarray) -> pd.Index:
    """Return the features' names, or their ids where a name stands twice."""
    names = pd.Index(names)
    return names.where(~names.duplicated(keep=False), pd.Index(ids))


def _open_10x_h5(file, path: str) -> CountFile:
    names = [name for name in file if "barcodes" in file[name] and "indptr" in file[name]]
    if len(names) != 1:
        raise InputError(f"{path}: neither an AnnData file nor a 10x matrix (its top level holds {listed(file)}); give an h5ad, h5mu, zarr, 10x h5 or the folder of a 10x mtx")
    matrix = file[names[0]]
    n_genes, n_cells = (int(n) for n in matrix["shape"][:])
    cells = pd.DataFrame(index=pd.Index(matrix["barcodes"].asstr()[:]))
    rows = _compressed_rows((n_cells, n_genes), matrix["indptr"][:], matrix["indices"], matrix["data"])
    notes = [f"counts: {names[0]} of a 10x h5"]
    if "features" not in matrix:
        genes = pd.DataFrame({"gene_symbols": matrix["gene_names"].asstr()[:]}, index=matrix["genes"].asstr()[:])
        return CountFile(path, names[0], cells, genes, rows, notes)
    ids, symbols, kinds = (matrix["features"][name].asstr()[:] for name in ("id", "name", "feature_type"))
    file = CountFile(path, names[0], cells, pd.DataFrame({"gene_symbols": symbols}, index=ids), rows, notes)
    return _split_features(file, pd.Series(kinds), _feature_names(ids, symbols))


def _open_mtx(folder: str) -> CountFile:
    files = mtx_files(folder)
    missing = [Path(file).name for file in files.values() if not os.path.exists(file)]
    if missing:
        raise InputError(
            f"{folder}: {listed(missing)} not found; a 10x mtx folder holds matrix.mtx, features.tsv (or genes.tsv) and barcodes.tsv, gzipped or not; it has {listed(sorted(os.listdir(folder)))}"
        )
    as_it_is = {"sep": "\t", "header": None, "dtype": str, "keep_default_na": False, "quoting": csv.QUOTE_NONE}
    features = pd.read_csv(files["features"], **as_it_is)
    barcodes = pd.read_csv(files["barcodes"], usecols=[0], **as_it_is)[0]
    kinds = features[2] if features.shape[1] > 2 else pd.Series(GENES, index=features.index)
    ids = features[0].to_numpy()
    symbols = features[1].to_numpy() if features.shape[1] > 1 else ids
    rows = _mtx_rows(files["matrix"], len(barcodes), len(features))
    file = CountFile(folder, "matrix", pd.DataFrame(index=pd.Index(barcodes)), pd.DataFrame({"gene_symbols": symbols}, index=ids), rows, ["counts: matrix of a 10x mtx folder"])
    return _split_features(file, kinds, _feature_names(ids, symbols))


def _mtx_rows(path: str, n_cells: int, n_genes: int) -> Rows:
    """Return a MatrixMarket file of genes × cells by cells."""
    opener = gzip.open if path.endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8") as file:
        header, skipped = file.readline(), 1
        if "coordinate" not in header:
            raise InputError(f"{path}: begins with {header.strip()[:60]!r}; expected a MatrixMarket coordinate file")
        line = file.readline()
        while line.startswith("%"):
            line, skipped = file.readline(), skipped + 1
    shape = tuple(int(n) for n in line.split())
    if shape[:2] != (n_genes, n_cells):
        raise InputError(f"{path}: {shape[0]} × {shape[1]}, but the folder lists {n_genes} features and {n_cells} barcodes; are the three files of one run?")
    genes, cells, values = (_on_disk(shape[2], kind) for kind in (np.int32, np.int32, np.float64))
    filled = 0
    for chunk in pd.read_csv(path, sep=r"\s+", header=None, skiprows=skipped + 1, chunksize=BLOCK_VALUES, names=["gene", "cell", "value"]):
        stop = filled + len(chunk)
        if stop > shape[2]:
            break
        genes[filled:stop], cells[filled:stop], values[filled:stop] = chunk["gene"] - 1, chunk["cell"] - 1, chunk["value"]
        filled = stop
    if filled != shape[2]:
        raise InputError(f"{path}: its header says {shape[2]} values, but it holds another number; is it complete? Write or download it again")
    steps = range(0, filled, BLOCK_VALUES)
    return transposed(lambda: ((cells[i : i + BLOCK_VALUES], genes[i : i + BLOCK_VALUES], values[i : i + BLOCK_VALUES]) for i in steps), (n_cells, n_genes), np.float64)


def _add_metadata(file: CountFile, metadata: str) -> None:
    """Give a file's cells the columns of a table, which stand above columns of the same name in the file."""
    try:
        table, cells = _read_metadata(metadata), file.cells
    except Exception as error:
        raise InputError(f"{metadata}: cannot be read as a table ({type(error).__name__}: {shown(error, 300)}); give csv, tsv or parquet, text in UTF-8") from error
    if table.index.has_duplicates:
        raise InputError(f"{metadata}: cell {table.index[table.index.duplicated()][0]!r} stands twice in the first column; cells must be unique")
    unknown = cells.index[~cells.index.isin(table.index)]
    if len(unknown):
        raise InputError(
            f"{metadata}: {len(unknown)} of the {len(cells)} cells of {file.path} are not in its first column ({listed(unknown, 3)}; it has {listed(table.index, 3)}); add them, or remove them from the counts"
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
