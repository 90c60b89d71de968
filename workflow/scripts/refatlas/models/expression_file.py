"""Files of normalised expression, written block by block."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from refatlas import __version__
from refatlas.io.anndata_file import anndata_file, write_facts, write_frame
from refatlas.io.dense_file import DenseWriter
from refatlas.io.plain_columns import plain_column
from refatlas.models.expression import CellBlocks, Decoder

UNIT = "mean of draws from the posterior, for 10,000 counts a cell"


def plain_frame(table: pd.DataFrame) -> pd.DataFrame:
    """Return obs or var with plain types alone."""
    return pd.DataFrame({name: plain_column(table[name]) for name in table}, index=table.index)


def write_normalized(path: str, decoder: Decoder, counts: str, genes: list[str], facts: Mapping[str, str]) -> int:
    """Write normalised expression of all cells in their own batches as h5ad; return the number of cells.

    Args:
        path: of the h5ad. decoder: of the model. counts: path of the cells' counts.
        genes: that are written, as in the counts. facts: for uns["refatlas"].
    """
    cells = CellBlocks(counts)
    columns = cells.var.index.get_indexer(genes)
    with anndata_file(path) as file:
        write_frame(file, "obs", plain_frame(cells.obs))
        write_frame(file, "var", plain_frame(cells.var.iloc[columns]))
        writer = DenseWriter(file, "X", (len(cells.obs), len(genes)))
        for start, block in cells.blocks(np.arange(len(cells.obs)), decoder.block):
            writer.append(decoder.decode(block, start)[:, columns])
        writer.finish()
        write_facts(file, {"version": __version__, "unit": UNIT, **facts})
    return len(cells.obs)
