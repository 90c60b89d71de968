"""Sums of the raw counts of all genes over the cells of each pseudobulk sample, streamed from the users' files."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from refatlas.prepare.genes import match_genes, merge_genes
from refatlas.prepare.variable_genes import DatasetStream


class CountedFile(NamedTuple):
    """A file whose cells are summed.

    Attributes:
        row: of the sheet.
        cells: cells.parquet, in the order of the file, with batch and keep.
        genes: its genes.parquet, one row per column of the counts.
        samples: number of the pseudobulk sample of each cell, -1 for one that takes no part.
    """

    row: Mapping[str, Any]
    cells: pd.DataFrame
    genes: pd.DataFrame
    samples: np.ndarray


class Pseudobulk(NamedTuple):
    """Summed counts.

    Attributes:
        genes: gene_id and symbol, indexed by gene.
        counts: shape (n_samples, n_genes), int64.
        measured: whether all files of a sample's cells have the gene, same shape.
    """

    genes: pd.DataFrame
    counts: np.ndarray
    measured: np.ndarray


def sum_counts(files: Sequence[CountedFile], n_samples: int) -> Pseudobulk:
    """Return the summed counts of the pseudobulk samples; each file is read once, block by block.

    The same as decoupler's pp.pseudobulk(mode="sum"), whose input must fit in memory. Genes of different files are
    matched by id, then by symbol.
    """
    genes = merge_genes([file.genes for file in files])
    counts = np.zeros((n_samples, len(genes)))
    measured = np.ones((n_samples, len(genes)), dtype=bool)
    for file in files:
        rows = match_genes(genes, file.genes)
        own = np.unique(file.samples[file.samples >= 0])
        measured[own] &= np.isin(np.arange(len(genes)), rows)
        stream = DatasetStream(dict(file.row), file.cells, rows, len(genes), [])
        stream.codes = file.samples
        for block, samples, columns in stream.blocks():
            _add(counts, block, samples, columns)
    return Pseudobulk(genes, counts.astype(np.int64), measured)


def _add(counts: np.ndarray, block: sparse.csr_matrix, samples: np.ndarray, columns: np.ndarray) -> None:
    """Add the cells of a block; sums of whole numbers are exact in float64."""
    cells = np.flatnonzero(samples >= 0)
    chosen = sparse.csr_matrix((np.ones(len(cells)), (samples[cells], cells)), shape=(len(counts), block.shape[0]))
    summed = (chosen @ block).tocoo()
    genes = columns[summed.col]
    # No gene has two columns in a block.
    counts[summed.row[genes >= 0], genes[genes >= 0]] += summed.data[genes >= 0]
