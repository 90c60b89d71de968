"""Dense matrices of an h5ad, written block by block."""

import h5py
import numpy as np

from refatlas.io.anndata_file import GZIP

# Cells and genes of a chunk: 1 MB of float32.
CELLS, GENES = 256, 1024


class DenseWriter:
    """Writes X or a layer of an h5ad as float32, compressed, without holding it in memory.

    Args:
        group: the file, or its layers.
        name: of the matrix.
        shape: (n_cells, n_genes).
    """

    def __init__(self, group: h5py.Group, name: str, shape: tuple[int, int]) -> None:
        chunks = tuple(max(min(size, most), 1) for size, most in zip(shape, (CELLS, GENES), strict=True))
        self.values = group.create_dataset(name, shape, np.float32, chunks=chunks, **GZIP)
        self.values.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        self.n_written = 0

    def append(self, block: np.ndarray) -> None:
        """Write further rows."""
        self.values[self.n_written : self.n_written + len(block)] = block
        self.n_written += len(block)

    def finish(self) -> None:
        """Check that all rows were written.

        Raises:
            ValueError: rows are missing.
        """
        if self.n_written != self.values.shape[0]:
            raise ValueError(f"{self.n_written} rows were written for {self.values.shape[0]} cells")
