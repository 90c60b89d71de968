"""Raw counts of one file with its tables of cells and genes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from refatlas.errors import InputError, listed
from refatlas.io.file_kind import unreadable_error
from refatlas.io.matrix_rows import BLOCK_VALUES, Rows
from refatlas.io.watchdog import watchdog

if TYPE_CHECKING:
    import anndata as ad


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
        spaces: embeddings of the cells, by their name in obsm. Each value is a function that reads one, shape
            (n_cells, n_dimensions).
        space_names: names of the columns of these, likewise. Each value is a function that returns None if there are
            none.
        places: the matrices that were looked at, each with its location, n_genes, mean_counts (of
            the sampled cells), taken and why.
    """

    path: str
    location: str
    cells: pd.DataFrame
    genes: pd.DataFrame
    rows: Rows
    notes: list[str] = field(default_factory=list)
    proteins: dict[str, Callable[[], pd.DataFrame]] = field(default_factory=dict)
    places: list[dict[str, Any]] = field(default_factory=list)
    spaces: dict[str, Callable[[], np.ndarray]] = field(default_factory=dict)
    space_names: dict[str, Callable[[], list[str] | None]] = field(default_factory=dict)

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
        return self._read(self.proteins[key])

    def read_space(self, key: str) -> np.ndarray:
        """Return an embedding of the cells, shape (n_cells, n_dimensions).

        Raises:
            InputError: it cannot be read.
        """
        return self._read(self.spaces[key])

    def names_of_space(self, key: str) -> list[str] | None:
        """Return the names of the columns of a matrix in obsm; None if it has none.

        Raises:
            InputError: it cannot be read.
        """
        return self._read(self.space_names[key])

    def _read[T](self, reader: Callable[[], T]) -> T:
        try:
            with watchdog():
                return reader()
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
