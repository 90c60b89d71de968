"""Raw counts of one file with its tables of cells and genes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from refatlas.errors import InputError, listed, shown
from refatlas.io.matrix_rows import BLOCK_VALUES, Rows
from refatlas.io.watchdog import watchdog

if TYPE_CHECKING:
    import anndata as ad

GENES = "Gene Expression"


@dataclass(repr=False)
class CountFile:
    """Raw counts of one file, with its tables of cells and genes; `open_counts` returns it.

    Attributes:
        path: of the file or folder.
        location: where in the file the counts are, such as "X", "layers/counts", "raw/X", "matrix".
        cells: one row per cell, indexed by its name in the file.
        genes: one row per gene, indexed by its name in the file.
        rows: the counts, cells × genes.
        notes: how the file was read.
        proteins: what a protein_key may name. Each value is a function that reads a table of
            counts, indexed by cell, with one column per protein.
    """

    path: str
    location: str
    cells: pd.DataFrame
    genes: pd.DataFrame
    rows: Rows
    notes: list[str] = field(default_factory=list)
    proteins: dict[str, Callable[[], pd.DataFrame]] = field(default_factory=dict)

    def __repr__(self) -> str:
        lines = [f"CountFile {self.path}", f"  {len(self.cells):,} cells × {len(self.genes):,} genes"]
        lines += [f"  counts in {self.location}", f"  cells: {listed(self.cells.columns, 20)}"]
        lines += [f"  genes: {listed(self.genes.index, 3)} (columns: {listed(self.genes.columns, 20)})"]
        lines += [f"  proteins: {listed(self.proteins)}"] if self.proteins else []
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])

    def blocks(self, n_values: int = BLOCK_VALUES) -> Iterator[tuple[int, sparse.csr_matrix]]:
        """Yield (first cell, CSR block of cells × genes).

        Args:
            n_values: most stored values of a block; a block has at least one cell.

        Raises:
            InputError: a part of the file cannot be read.
        """
        try:
            yield from self.rows.blocks(n_values)
        except MemoryError:
            raise
        except Exception as error:
            raise unreadable_error(self.path, error) from error

    def read_proteins(self, key: str) -> pd.DataFrame:
        """Return one of the tables that a protein_key may name.

        Raises:
            InputError: it cannot be read.
        """
        try:
            with watchdog():
                return self.proteins[key]()
        except (InputError, MemoryError):
            raise
        except Exception as error:
            raise unreadable_error(self.path, error) from error

    def to_anndata(self) -> "ad.AnnData":
        """Return all counts as an AnnData in memory: X is CSR of float32.

        For a file that is larger than memory, use `blocks`.

        Raises:
            InputError: a part of the file cannot be read.
        """
        import anndata as ad

        x = sparse.vstack([block for _, block in self.blocks()], format="csr").astype(np.float32)
        return ad.AnnData(x, obs=self.cells.copy(), var=self.genes.copy())


def unreadable_error(path: str, error: Exception) -> InputError:
    """Return the error for a file that a library fails to read, whatever the library's error.

    Errors of h5py, anndata, zarr and isal have no common class.
    """
    reason = f"{type(error).__name__}: {shown(error, 300)}"
    return InputError(
        f"{path}: cannot be read as h5ad, h5mu, zarr, 10x h5 or 10x mtx ({reason}); is it complete? Write or download"
        " it again"
    )


def split_features(file: CountFile, kinds: pd.Series, names: pd.Index) -> CountFile:
    """Return a file with only its genes as counts; every other feature type becomes proteins.

    Args:
        file: changed in place.
        kinds: feature type of each column, as Cell Ranger writes it.
        names: of each column, for proteins.
    """
    types, rows = kinds.to_numpy(), file.rows
    genes = np.flatnonzero(types == GENES)
    if len(genes) == rows.shape[1]:
        return file
    for kind in pd.unique(types[types != GENES]):
        columns = np.flatnonzero(types == kind)
        file.proteins[kind] = partial(_column_table, rows, columns, names[columns], file.cells.index)
    file.notes.append("features: " + ", ".join(f"{n} {kind}" for kind, n in kinds.value_counts().items()))
    file.genes = file.genes.iloc[genes]
    file.rows = Rows((rows.shape[0], len(genes)), lambda start, stop: rows.read(start, stop)[:, genes], rows.ends)
    return file


def _column_table(rows: Rows, columns: np.ndarray, names: pd.Index, cells: pd.Index) -> pd.DataFrame:
    values = [block[:, columns].toarray() for _, block in rows.blocks()]
    return pd.DataFrame(np.vstack(values), index=cells, columns=names)


def feature_names(ids: np.ndarray, names: np.ndarray) -> pd.Index:
    """Return the features' names, or their ids where a name is not unique."""
    index = pd.Index(names)
    return index.where(~index.duplicated(keep=False), pd.Index(ids))
