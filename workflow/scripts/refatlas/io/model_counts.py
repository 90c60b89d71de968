"""The kept cells × selected genes that models see, as h5ad: written once by the build rules, read
by every model.

X is CSR: data of the smallest unsigned integers that hold them, indices, both in chunks of 8,192
values, shuffled and gzipped: about a sixth of the bytes of float32 and
int32, readable by any anndata, and in any order of rows.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from scipy import sparse

from refatlas.io.atomic import atomic_path

CHUNK = 8192
COPIED = 128 * CHUNK
PACKED = {"compression": "lzf"}
OBS_BYTES = 300


class MatrixWriter:
    """Writes the X of an h5ad block by block, never whole in memory; values as the smallest
    unsigned integers that hold all of them.

    Attributes:
        n_values: how many were written.
    """

    def __init__(self, file: h5py.File, n_columns: int) -> None:
        file.pop("X", None)
        self.group, self.n_columns, self.n_values, self.lengths = (
            file.create_group("X"),
            n_columns,
            0,
            [np.zeros(1, dtype=np.int64)],
        )
        self._make("data", np.uint8)
        self._make("indices", np.int32)

    def append(self, block: sparse.csr_matrix) -> None:
        """Write further rows."""
        self._widen(block.data)
        end = self.n_values + block.nnz
        for name, values in (("data", block.data), ("indices", block.indices)):
            self.group[name].resize((end,))
            self.group[name][self.n_values : end] = values
        self.n_values = end
        self.lengths.append(np.diff(block.indptr).astype(np.int64))

    def finish(self, n_rows: int) -> None:
        """Write where each row begins.

        Raises:
            ValueError: other rows were written than there should be.
        """
        starts = np.concatenate(self.lengths).cumsum()
        if len(starts) != n_rows + 1:
            raise ValueError(f"{len(starts) - 1} rows of counts were written for {n_rows} cells")
        self._make("indptr", np.int32 if self.n_values < 2**31 else np.int64, len(starts))
        self.group["indptr"][:] = starts
        self.group.attrs.update(
            {"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": np.array([n_rows, self.n_columns])}
        )

    def _make(self, name: str, dtype, length: int = 0) -> h5py.Dataset:
        return self.group.create_dataset(
            name,
            (length,),
            dtype,
            maxshape=(None,),
            chunks=(CHUNK,),
            compression="gzip",
            compression_opts=1,
            shuffle=True,
        )

    def _widen(self, values: np.ndarray) -> None:
        """Write anew, as a wider type, what was written, if these values do not fit the type so
        far.
        """
        small = np.min_scalar_type(int(values.max(initial=0)))
        old = self.group["data"]
        dtype = np.promote_types(old.dtype, small if np.array_equal(values.astype(small), values) else np.float32)
        if dtype == old.dtype:
            return
        wide = self._make("wide", dtype, len(old))
        for start in range(0, len(old), COPIED):
            wide[start : start + COPIED] = old[start : start + COPIED]
        del self.group["data"]
        self.group.move("wide", "data")


class CountsWriter(MatrixWriter):
    """Writes counts of the selected genes, and proteins beside them."""

    def __init__(self, file: h5py.File, n_columns: int) -> None:
        super().__init__(file, n_columns)
        self.file = file

    def add_proteins(self, proteins: pd.DataFrame) -> None:
        """Write counts of `refatlas.proteins` to obsm["proteins"], with their names in
        uns["protein_names"]; nothing, if there are none.
        """
        if proteins.shape[1]:
            # An array with names apart: a protein's name may hold a "/", which a data frame in an
            # h5ad may not.
            ad.io.write_elem(self.file["obsm"], "proteins", proteins.to_numpy(dtype=np.float32), dataset_kwargs=PACKED)
            ad.io.write_elem(self.file["uns"], "protein_names", proteins.columns.to_numpy(dtype=str).astype(object))


@contextmanager
def counts_writer(
    path: str, obs: pd.DataFrame, genes: pd.DataFrame, measured: np.ndarray | None = None
) -> Iterator[CountsWriter]:
    """Yield what writes the counts of the selected genes as h5ad, whole or not at all; text columns
    become categories, missing labels stay missing.

    Args:
        obs: of the cells, whose rows are appended in this order. measured: whether the file has
            each gene, rather than zeros in its place; all, if not given.
    """
    obs, genes = obs.copy(), genes[genes["selected"]]
    for name in obs.columns:
        if obs[name].dtype == object:
            obs[name] = obs[name].astype("category")
    var = pd.DataFrame(
        {"symbol": genes["symbol"].fillna(genes.index.to_series()).astype(str)}, index=genes.index.astype(str)
    )
    var["measured"] = True if measured is None else measured
    var.index.name = None
    obs.index.name = None
    with atomic_path(path) as part:
        ad.AnnData(obs=obs, var=var).write_h5ad(part, **PACKED)
        with h5py.File(part, "a") as file:
            writer = CountsWriter(file, len(var))
            yield writer
            writer.finish(len(obs))


def write_matrix(file: h5py.File, matrix: sparse.csr_matrix) -> None:
    """Write a matrix that is in memory as the X of an h5ad."""
    writer = MatrixWriter(file, matrix.shape[1])
    writer.append(matrix)
    writer.finish(matrix.shape[0])


def read_counts(path: str, from_disk: bool = False) -> ad.AnnData:
    """Return counts that `counts_writer` wrote, as float32; if `from_disk`, X stays in the file, of
    which parts are read, as stored, when they are asked for.
    """
    if not from_disk:
        counts = ad.read_h5ad(path)
        counts.X = counts.X.astype(np.float32)
        return counts
    file = h5py.File(path, "r")
    return ad.AnnData(
        ad.io.sparse_dataset(file["X"]), **{name: ad.io.read_elem(file[name]) for name in ("obs", "var", "obsm", "uns")}
    )


def sharing(counts: ad.AnnData) -> ad.AnnData:
    """Return an AnnData with the same matrix, and columns of cells that can be changed without
    changing those of the other.
    """
    return ad.AnnData(
        counts.X, obs=counts.obs.copy(), var=counts.var.copy(), obsm=dict(counts.obsm), uns=dict(counts.uns)
    )


def memory_mb(path: str) -> float:
    """Return how many MB counts that `counts_writer` wrote take when loaded: values of 4 bytes,
    positions of 4, or of 8 beyond 2^31 values, and OBS_BYTES a cell.
    """
    with h5py.File(path, "r") as file:
        n_values, n_cells = len(file["X/data"]), len(file["X/indptr"]) - 1
    return (n_values * (8 if n_values < 2**31 else 12) + n_cells * OBS_BYTES) / 1e6


def protein_names(path: str | None) -> list[str]:
    """Return the proteins in counts that `counts_writer` wrote; none without a file, or where
    nothing measured any.
    """
    if path is None:
        return []
    with h5py.File(path, "r") as file:
        return list(file["uns/protein_names"].asstr()[:]) if "uns/protein_names" in file else []
