"""Variances of genes by batch as in seurat_v3 (Stuart 2019), streamed from the datasets' files."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy import sparse

from refatlas.errors import InputError
from refatlas.io.raw_counts import open_row
from refatlas.prepare.genes import reindex_genes
from refatlas.prepare.moments import ClippedSums, Moments, columns_ascend

# Fewer varying genes cannot be fitted.
MIN_FITTED_GENES = 50


class DatasetStream:
    """One dataset as a stream of blocks.

    Attributes:
        row: of the sheet.
        rows: candidate gene of each column, -1 for none.
        n_genes: number of candidate genes.
        codes: batch of each cell, -1 for a cell that is left out.
        once: whether no gene has two columns.
    """

    def __init__(self, row: dict, cells: pd.DataFrame, rows: np.ndarray, n_genes: int, batches: list[str]) -> None:
        self.row, self.rows, self.n_genes = row, rows, n_genes
        codes = pd.Categorical(cells["batch"], categories=batches).codes.astype(np.int64)
        self.codes = np.where(cells["keep"].to_numpy(), codes, -1)
        self.once = len(np.unique(rows[rows >= 0])) == int((rows >= 0).sum())

    def blocks(self) -> Iterator[tuple[sparse.csr_matrix, np.ndarray, np.ndarray]]:
        """Yield (CSR block, batch of each cell, gene of each column), -1 for one that is left out.

        Columns ascend in each row, and no gene has two.
        """
        for start, block in open_row(self.row, counts_only=True).blocks():
            codes = self.codes[start : start + block.shape[0]]
            if self.once and columns_ascend(block.indices, block.indptr):
                yield block, codes, self.rows
            else:
                yield reindex_genes(block, self.rows, self.n_genes), codes, np.arange(self.n_genes)


def batch_moments(
    datasets: list[DatasetStream], sizes: np.ndarray, n_genes: int, n_threads: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance by batch and gene, each of shape (n_batches, n_genes)."""
    found = Moments(len(sizes), n_genes, n_threads)
    for dataset in datasets:
        for block in dataset.blocks():
            found.add(*block)
    return found.finish(sizes)


def clipped_sums(datasets: list[DatasetStream], limits: np.ndarray, n_threads: int) -> tuple[np.ndarray, np.ndarray]:
    """Return sums and sums of squares of clipped values, each of shape (n_batches, n_genes).

    Args:
        limits: largest values, same shape.
    """
    found = ClippedSums(limits, n_threads)
    for dataset in datasets:
        for block in dataset.blocks():
            found.add(*block)
    return found.finish()


def expected_sd(mean: np.ndarray, variance: np.ndarray, span: float) -> np.ndarray:
    """Return the standard deviation expected from each gene's mean; 1 for constant genes.

    By loess of log10 variance on log10 mean. The span is doubled if the fit fails, up to 1.

    Args:
        mean, variance: shape (n_genes,).
        span: of loess, a share of the genes.

    Raises:
        InputError: too few genes vary, or no span fits.
    """
    from skmisc.loess import loess

    varies = variance > 0
    if varies.sum() < MIN_FITTED_GENES:
        raise InputError(f"only {int(varies.sum())} genes vary, need {MIN_FITTED_GENES} to fit variance on mean")
    while True:
        try:
            fit = loess(np.log10(mean[varies]), np.log10(variance[varies]), span=span, degree=2)
            fit.fit()
        except ValueError as error:
            if span >= 1:
                raise InputError(f"variance could not be fitted on mean: {error}") from error
            span = min(2 * span, 1.0)
            print(f"  loess failed ({str(error)[:80]}); trying again with span {span:g}")
            continue
        logarithm = np.zeros(len(mean))
        logarithm[varies] = fit.outputs.fitted_values
        return np.sqrt(10**logarithm)


def normalized_variances(
    datasets: list[DatasetStream], batches: list[str], sizes: np.ndarray, n_genes: int, span: float, n_threads: int
) -> tuple[pd.DataFrame, np.ndarray]:
    """Return mean and variance over all cells, and the normalised variance by batch (Stuart 2019).

    Args:
        sizes: number of cells of each batch.
        span: of loess.

    Returns:
        A table with one row per gene, and an array of shape (n_fitted_batches, n_genes).
    """
    mean, variance = batch_moments(datasets, sizes, n_genes, n_threads)
    sd, fitted = np.ones_like(mean), np.zeros(len(batches), dtype=bool)
    for i, batch in enumerate(batches):
        try:
            sd[i] = expected_sd(mean[i], variance[i], span)
            fitted[i] = True
        except InputError as error:
            print(f"  batch {batch} is left out: {error}")
    n = sizes[:, None]
    sums, squares = clipped_sums(datasets, sd * np.sqrt(n) + mean, n_threads)
    normalized = (1 / ((n - 1) * np.square(sd))) * ((n * np.square(mean)) + squares - 2 * sums * mean)
    return pool_moments(mean, variance, sizes), normalized[fitted]


def pool_moments(mean: np.ndarray, variance: np.ndarray, sizes: np.ndarray) -> pd.DataFrame:
    """Return each gene's mean and variance over the cells of all batches.

    Args:
        mean, variance: shape (n_batches, n_genes).
        sizes: number of cells of each batch.
    """
    n, total = sizes[:, None], sizes.sum()
    overall = (n * mean).sum(axis=0) / total
    squares = ((n - 1) * variance + n * (mean - overall) ** 2).sum(axis=0)
    return pd.DataFrame({"mean": overall, "variance": squares / max(total - 1, 1)})


def rank_genes(normalized: np.ndarray, n_top: int) -> pd.DataFrame:
    """Return each gene's rank as scanpy does: the median over batches where it is in the `n_top`.

    Args:
        normalized: normalised variances, shape (n_batches, n_genes).

    Returns:
        One row per gene: rank, n_batches (in which it is in the `n_top`), normalized_variance.
    """
    ranks = np.argsort(np.argsort(-normalized, axis=1), axis=1).astype(np.float32)
    n_batches = (ranks < n_top).sum(axis=0)
    ranks[ranks >= n_top] = np.nan
    median = np.ma.median(np.ma.masked_invalid(ranks), axis=0).filled(np.nan)
    return pd.DataFrame({"rank": median, "n_batches": n_batches, "normalized_variance": normalized.mean(axis=0)})
