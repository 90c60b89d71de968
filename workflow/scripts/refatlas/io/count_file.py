"""Raw counts of one file with its tables of cells and genes, and how columns that are not genes are
set apart.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pandas as pd
from scipy import sparse

from refatlas.errors import InputError, shown
from refatlas.io.matrix_rows import BLOCK_VALUES, Rows
from refatlas.io.watchdog import watchdog

GENES = "Gene Expression"


@dataclass
class CountFile:
    """Raw counts of one file, with its cell and gene tables.

    Attributes:
        location: where in the file the counts stand, as "X", "layers/counts", "raw/X", "matrix".
        cells: one row a cell, indexed by its name in the file.
        genes: one row a gene, indexed by its name in the file.
        rows: the counts, cells × genes.
        notes: what a user should know of how the file was read.
        proteins: what a protein_key may name, each with a function that reads it: a table of
            values, indexed by cell, a column a protein.
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
        except MemoryError:
            raise
        except Exception as error:
            raise unreadable(self.path, error) from error

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
            raise unreadable(self.path, error) from error


def unreadable(path: str, error: Exception) -> InputError:
    """Return the error for a file that a library fails on, in whatever way: those of h5py, anndata,
    zarr and isal have no common class.
    """
    reason = f"{type(error).__name__}: {shown(error, 300)}"
    return InputError(
        f"{path}: cannot be read as h5ad, h5mu, zarr, 10x h5 or 10x mtx ({reason}); is it complete? Write or download"
        " it again"
    )


def split_features(file: CountFile, kinds: pd.Series, names: pd.Index) -> CountFile:
    """Return a file whose columns are of several kinds with its genes as counts; every other kind
    may be named as proteins.

    Args:
        kinds: feature type of each column, as Cell Ranger writes it. names: of each column, for
            proteins.
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


def feature_names(ids: np.ndarray, names: np.ndarray) -> pd.Index:
    """Return the features' names, or their ids where a name stands twice."""
    names = pd.Index(names)
    return names.where(~names.duplicated(keep=False), pd.Index(ids))
