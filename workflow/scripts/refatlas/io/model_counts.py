"""The counts that models see: cells × selected genes, as h5ad.

X is CSR. Its data have the smallest unsigned integer type that holds all values. Data and indices
are in chunks of 8,192 values, shuffled and gzipped: about a sixth of the bytes of float32 and int32.
Any anndata can read it, in any order of rows.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from numpy.typing import DTypeLike
from scipy import sparse

from refatlas.io.atomic import atomic_path
from refatlas.io.cell_tables import label_columns, with_labels_of

CHUNK = 8192
# Values that are copied at once when data are widened.
COPIED = 128 * CHUNK
COMPRESSION: Literal["lzf"] = "lzf"


class MatrixWriter:
    """Writes the X of an h5ad block by block, without holding it in memory.

    Args:
        file: open for writing.
        n_columns: of the matrix.
        dtype: of the values; None for the smallest unsigned integers that hold them all.

    Attributes:
        n_values: number of values written so far.
        n_columns: of the matrix.
    """

    def __init__(self, file: h5py.File, n_columns: int, dtype: DTypeLike | None = None) -> None:
        file.pop("X", None)
        self.group, self.n_columns, self.n_values = file.create_group("X"), n_columns, 0
        self.lengths, self.widens = [np.zeros(1, dtype=np.int64)], dtype is None
        self._make("data", np.uint8 if dtype is None else dtype)
        self._make("indices", np.int32)

    def append(self, block: sparse.csr_matrix) -> None:
        """Write further rows."""
        if self.widens:
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
            ValueError: another number of rows was written.
        """
        starts = np.concatenate(self.lengths).cumsum()
        if len(starts) != n_rows + 1:
            raise ValueError(f"{len(starts) - 1} rows of counts were written for {n_rows} cells")
        self._make("indptr", np.int32 if self.n_values < 2**31 else np.int64, len(starts))
        self.group["indptr"][:] = starts
        self.group.attrs.update(
            {"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": np.array([n_rows, self.n_columns])}
        )

    def _make(self, name: str, dtype: DTypeLike, length: int = 0) -> h5py.Dataset:
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
        """Convert the data written so far to a wider type, if these values need one."""
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
    """Writes counts of the selected genes, and of proteins beside them."""

    def __init__(self, file: h5py.File, n_columns: int) -> None:
        super().__init__(file, n_columns)
        self.file = file

    def add_proteins(self, proteins: pd.DataFrame) -> None:
        """Write counts of proteins to obsm["proteins"], and their names to uns["protein_names"].

        Args:
            proteins: cells × proteins; without columns, nothing is written.
        """
        if proteins.shape[1]:
            # Not a data frame: its columns' names could not contain a "/" in an h5ad.
            values = proteins.to_numpy(dtype=np.float32)
            ad.io.write_elem(self.file["obsm"], "proteins", values, dataset_kwargs={"compression": COMPRESSION})
            names = proteins.columns.to_numpy(dtype=str).astype(object)
            ad.io.write_elem(self.file["uns"], "protein_names", names)


@contextmanager
def counts_writer(
    path: str | Path, obs: pd.DataFrame, genes: pd.DataFrame, measured: np.ndarray | None = None
) -> Iterator[CountsWriter]:
    """Yield a writer of the selected genes' counts as h5ad; the file is written atomically.

    Text columns become categories; missing labels stay missing.

    Args:
        obs: of the cells, in the order in which their rows are appended.
        genes: genes.parquet, with the columns selected and symbol.
        measured: for each selected gene, whether the file has it (if not, its counts are zeros);
            None if it has all.
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
        ad.AnnData(obs=obs, var=var).write_h5ad(part, compression=COMPRESSION)
        with h5py.File(part, "a") as file:
            writer = CountsWriter(file, len(var))
            yield writer
            writer.finish(len(obs))


def write_matrix(file: h5py.File, matrix: sparse.csr_matrix) -> None:
    """Write a matrix that is in memory as the X of an h5ad."""
    writer = MatrixWriter(file, matrix.shape[1])
    writer.append(matrix)
    writer.finish(matrix.shape[0])


def write_labelled_link(path: str | Path, cells: pd.DataFrame, labelled: str | Path) -> int:
    """Write an h5ad with the labels of `cells` that links to the counts of another; return how many cells have one.

    Both files must stay in one folder. The counts are not copied: they can be larger than everything else.

    Args:
        path: of counts that `counts_writer` wrote.
        cells: with label, label_2 …, indexed by cell.
        labelled: path of the new file.
    """
    with h5py.File(path, "r") as stored:
        obs: Any = ad.io.read_elem(stored["obs"])
    obs = with_labels_of(obs, cells)
    for name in label_columns(obs):
        obs[name] = obs[name].astype("category")
    with atomic_path(labelled) as part, h5py.File(part, "w") as file, h5py.File(path, "r") as stored:
        file.attrs.update(dict(stored.attrs))
        for name in stored:
            if name != "obs":
                file[name] = h5py.ExternalLink(Path(path).name, f"/{name}")
        ad.io.write_elem(file, "obs", obs, dataset_kwargs={"compression": COMPRESSION})
    return int(obs["label"].notna().sum())


def read_counts(path: str | Path, from_disk: bool = False) -> ad.AnnData:
    """Return counts that `counts_writer` wrote.

    Args:
        from_disk: whether X stays in the file, with the type stored there; otherwise it is float32
            in memory.
    """
    if not from_disk:
        counts = ad.read_h5ad(path)
        x: Any = counts.X
        counts.X = x.astype(np.float32)
        return counts
    file = h5py.File(path, "r")
    parts: dict[str, Any] = {name: ad.io.read_elem(file[name]) for name in ("obs", "var", "obsm", "uns")}
    return ad.AnnData(ad.io.sparse_dataset(file["X"]), **parts)


def shallow_copy(counts: ad.AnnData) -> ad.AnnData:
    """Return an AnnData with the same matrix, but its own obs, var, obsm and uns."""
    return ad.AnnData(
        counts.X, obs=counts.obs.copy(), var=counts.var.copy(), obsm=dict(counts.obsm), uns=dict(counts.uns)
    )


def protein_names(path: str | Path | None) -> list[str]:
    """Return the proteins in counts that `counts_writer` wrote; none for no file."""
    if path is None:
        return []
    with h5py.File(path, "r") as file:
        return list(file["uns/protein_names"].asstr()[:]) if "uns/protein_names" in file else []
