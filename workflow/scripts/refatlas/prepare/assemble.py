"""The kept cells x selected genes of users' files, block by block."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy import sparse

from refatlas.io.count_file import CountFile
from refatlas.prepare.genes import match_selected, take_genes


def selected_counts(
    file: CountFile, keep: np.ndarray, genes: pd.DataFrame, table: pd.DataFrame
) -> Iterator[sparse.csr_matrix]:
    """Yield the kept cells of a file × the selected genes in their order, block by block; genes
    that the file lacks are empty columns.

    Args:
        keep: of each cell, shape (n_cells,). genes: genes.parquet of the split. table: the file's
            genes, of `gene_table`.
    """
    rows, n_genes = match_selected(genes, table), int(genes["selected"].sum())
    for start, block in file.blocks():
        wanted = keep[start : start + block.shape[0]]
        if wanted.any():
            yield take_genes(block[wanted], rows, n_genes)


def describe_cells(cells: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Return dataset, batch and labels of the kept cells of all datasets; datasets without labels
    have missing ones.
    """
    kept = pd.concat([c[c["keep"]].assign(dataset=name) for name, c in cells.items()])
    labels = sorted((column for column in kept.columns if column.startswith("label")), key=lambda c: (len(c), c))
    for column in labels:
        kept[column] = kept[column].astype(object).where(kept[column].notna(), None)
    return kept[["dataset", "batch", *labels]]
