"""Expression as a model of scvi-tools sees it: without noise and depth, and as if cells were of another batch.

Cells are read from their file and decoded block by block, so that memory does not grow with their number. Importing
it takes 10 to 30 s.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import torch

from refatlas.io.atomic import read_json
from refatlas.io.model_counts import read_counts
from refatlas.io.row_reader import take_rows
from refatlas.models.model_files import load_model

# Counts of a cell that values are for, and most values that are decoded at once.
CELL_COUNTS, AT_ONCE = 1e4, 2e7
# Cells of a minibatch, and of a block.
MINIBATCH, LARGEST, SMALLEST = 512, 4096, 64


class Decoder:
    """Decodes cells by a trained model of type scvi, scanvi, drvi or totalvi.

    Args:
        file: model.pt, of the reference or of a query.
        counts: path of the counts that it was trained on or mapped to.
        n_samples: draws from the posterior of each cell that values are the mean of.
        seed: of the draws.

    Attributes:
        block: number of cells that are decoded at once.
    """

    def __init__(self, file: str, counts: str, n_samples: int, seed: int) -> None:
        self.kind = read_json(Path(file).with_name("model.json"))["type"]
        cells = CellBlocks(counts)
        self.block = int(np.clip(AT_ONCE // (n_samples * len(cells.var)), SMALLEST, LARGEST))
        self.model = load_model(self.kind, file, cells.take(np.arange(min(self.block, len(cells.obs)))))
        self.n_samples, self.seed = n_samples, seed

    def decode(self, cells: ad.AnnData, start: int, batch: str | None = None) -> np.ndarray:
        """Return normalised expression for 10,000 counts a cell, shape (n_cells, n_genes), float32.

        Args:
            cells: counts of a block. start: a number of the block, which decides the draws.
            batch: that the cells are decoded as; None for their own.
        """
        torch.manual_seed(self.seed + start)
        tools, cells = self.model.model, self.model.registered(cells)
        options: dict[str, Any] = {"n_samples": self.n_samples, "batch_size": MINIBATCH, "return_numpy": True}
        if self.kind == "totalvi":
            # Of proteins, one alone: they are not asked for.
            options["protein_list"] = tools.protein_state_registry.column_names[:1]
        found = tools.get_normalized_expression(cells, transform_batch=batch, **options)
        # Otherwise the model would keep every block that it has seen.
        tools.deregister_manager()
        values = found[0] if self.kind == "totalvi" else found
        return (values * CELL_COUNTS).astype(np.float32)


class CellBlocks:
    """Counts of cells that stay in their file.

    Attributes:
        obs, var: of the cells and genes.
    """

    def __init__(self, path: str) -> None:
        self.counts = read_counts(path, from_disk=True)
        self.obs: pd.DataFrame = self.counts.obs
        self.var: pd.DataFrame = self.counts.var

    def take(self, rows: np.ndarray) -> ad.AnnData:
        """Return these cells, with counts in memory as float32."""
        x = take_rows(self.counts.X, rows).astype(np.float32)
        proteins = {name: np.asarray(values)[rows] for name, values in self.counts.obsm.items()}
        return ad.AnnData(x, obs=self.obs.iloc[rows].copy(), var=self.var, obsm=proteins, uns=dict(self.counts.uns))

    def rows_of(self, batch: str | None) -> np.ndarray:
        """Return the rows of a batch, None for all."""
        if batch is None:
            return np.arange(len(self.obs))
        return np.flatnonzero((self.obs["batch"].astype(str) == batch).to_numpy())

    def blocks(self, rows: np.ndarray, size: int) -> Iterator[tuple[int, ad.AnnData]]:
        """Yield the cells of some rows, `size` at a time, each with the number of cells before it."""
        for start in range(0, len(rows), size):
            yield start, self.take(rows[start : start + size])


def thinned(cells: ad.AnnData, share: float, seed: int) -> ad.AnnData:
    """Return cells of which every count is kept with a probability: what shallower sequencing would have found."""
    x: Any = cells.X
    x = x.copy()
    x.data = np.random.default_rng(seed).binomial(x.data.astype(np.int64), share).astype(np.float32)
    return ad.AnnData(x, obs=cells.obs.copy(), var=cells.var, obsm=dict(cells.obsm), uns=dict(cells.uns))
