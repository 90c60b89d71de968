"""What models without a network share: they are a few arrays, saved without code."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from refatlas.models.interface import Training
from refatlas.models.typed_counts import cell_column, count_matrix

if TYPE_CHECKING:
    from anndata import AnnData


class ArrayModel:
    """A model that is arrays by name, among them batches.

    Attributes:
        arrays: of the model.
        training: a record without epochs.
    """

    def __init__(self, arrays: dict[str, np.ndarray], training: Training | None = None) -> None:
        self.arrays = arrays
        self.training = training or Training()

    @classmethod
    def load(cls, file: Path, counts: "AnnData | None" = None) -> Self:
        """Return the model saved in a file; loading runs no code of the file."""
        with np.load(file, allow_pickle=False) as arrays:
            return cls(dict(arrays))

    def save(self, file: Path) -> None:
        """Write the model's arrays to one file, atomically."""
        from refatlas.io.atomic import atomic_path

        arrays: dict[str, Any] = self.arrays
        with atomic_path(str(file)) as part, part.open("wb") as stream:
            np.savez(stream, **arrays)

    def with_batches_of(self, counts: "AnnData", note: str) -> Self:
        """Return the same model, which knows the batches of a query too."""
        batches = np.union1d(self.arrays["batches"], batches_of(counts))
        return type(self)({**self.arrays, "batches": batches}, Training(notes=[note]))

    def batches(self) -> list[str]:
        """Return the batches that the model knows."""
        return [str(b) for b in self.arrays["batches"]]


def batches_of(counts: "AnnData") -> np.ndarray:
    """Return the names of the batches of cells, sorted."""
    found: np.ndarray = np.unique(cell_column(counts, "batch").to_numpy(dtype=str))
    return found


def drawn_rows(n_cells: int, max_cells: int, seed: int) -> np.ndarray:
    """Return the rows of at most so many cells, drawn at random, in order."""
    found: np.ndarray = np.sort(np.random.default_rng(seed).permutation(n_cells)[:max_cells])
    return found


def at_depth(log_expression: np.ndarray, counts: "AnnData") -> np.ndarray:
    """Return log-normalised expression as counts at each cell's own depth, shape (n_cells, n_genes)."""
    values = np.expm1(np.clip(log_expression, 0, None))
    depth = np.asarray(count_matrix(counts).sum(axis=1))
    found: np.ndarray = values / np.maximum(values.sum(axis=1, keepdims=True), 1e-12) * depth
    return found
