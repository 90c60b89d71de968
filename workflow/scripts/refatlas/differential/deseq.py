"""Differential expression of pseudobulk samples by DESeq2's model (Love 2014), as PyDESeq2 has it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd

from refatlas.differential.design import Design

# Genes with fewer counts over all samples cannot be significant, and slow the fit down.
MIN_COUNTS = 10
# False discovery rate at which genes are counted, and which DESeq2's independent filtering is made for.
ALPHA = 0.05
# Fewer genes with counts in all samples, if they are not most of the genes, are too few for a median of ratios.
MIN_RATIOS = 50
# Genes with a larger share of all counts are left out of totals: where one of them changes, all others seem to.
MAX_SHARE = 0.05
BY_RATIOS, BY_TOTALS = "median of ratios", "total counts"
COLUMNS = {
    "baseMean": "base_mean",
    "log2FoldChange": "log2_fold_change",
    "lfcSE": "standard_error",
    "stat": "statistic",
    "pvalue": "p_value",
    "padj": "fdr",
}


@contextmanager
def worker_processes(n_threads: int) -> Iterator[None]:
    """End PyDESeq2's worker processes at the end of the block: they would keep the job waiting for five minutes."""
    try:
        yield
    finally:
        if n_threads > 1:
            from joblib.externals.loky import get_reusable_executor

            get_reusable_executor(reuse=True).shutdown(wait=True)


def size_factor_facts(counts: np.ndarray) -> dict[str, Any]:
    """Return how the size factors of samples are found.

    The median of ratios takes genes with counts in all samples alone. Of a rare label in many samples a handful is
    left, or none, and the size factors are those of these genes. Totals are then the better measure of depth.

    Args:
        counts: shape (n_samples, n_genes).

    Returns:
        size_factors: BY_RATIOS or BY_TOTALS.
        size_factor_genes: number of genes with counts in all samples.
    """
    n = int((counts > 0).all(axis=0).sum())
    few = n < MIN_RATIOS and 2 * n < counts.shape[1]
    return {"size_factors": BY_TOTALS if few else BY_RATIOS, "size_factor_genes": n}


def total_factors(counts: np.ndarray) -> np.ndarray:
    """Return size factors by total counts, with a geometric mean of 1.

    Genes with more than MAX_SHARE of all counts are left out, unless most counts are theirs.

    Args:
        counts: shape (n_samples, n_genes).
    """
    shares = counts.sum(axis=0) / counts.sum()
    usual = shares <= MAX_SHARE
    totals = counts[:, usual].sum(axis=1) if shares[usual].sum() >= 0.5 else counts.sum(axis=1)
    # A sample without any count has the size of a single one.
    logs = np.log(np.maximum(totals, 1))
    found: np.ndarray = np.exp(logs - logs.mean())
    return found


def compare_samples(counts: np.ndarray, design: Design, n_threads: int = 1) -> tuple[pd.DataFrame, np.ndarray]:
    """Return DESeq2's table of genes, and the size factor of each sample, which is that of `size_factor_facts`.

    Wald tests of the contrast of the design. The p-value is missing where a single sample is an outlier by Cook's
    distance and there are too few samples to replace it. The FDR, by Benjamini and Hochberg over the genes of this
    table, is also missing for genes of so low a mean that independent filtering leaves them out.

    Args:
        counts: shape (n_samples, n_genes), with at least MIN_COUNTS of each gene.
        design: of the samples, in the same order.
        n_threads: does not change results; more than one within `worker_processes`.

    Returns:
        One row a gene, in order: base_mean (of normalised counts), log2_fold_change, standard_error, statistic,
        p_value, fdr.
    """
    from pydeseq2.default_inference import DefaultInference
    from pydeseq2.ds import DeseqStats
    from threadpoolctl import threadpool_limits

    names = [f"sample_{i}" for i in range(len(counts))]
    table = pd.DataFrame(counts, index=names, columns=[f"gene_{i}" for i in range(counts.shape[1])])
    matrix = design.matrix.set_axis(names)
    inference = DefaultInference(n_cpus=n_threads)
    # Many small matrices: more threads of BLAS are slower, and would take others' cores.
    with threadpool_limits(1):
        fitted = _data_set(counts)(counts=table, metadata=matrix, design=matrix, inference=inference, quiet=True)
        fitted.deseq2()
        tested = DeseqStats(fitted, contrast=design.contrast, alpha=ALPHA, inference=inference, quiet=True)
        tested.summary()
    found = tested.results_df.rename(columns=COLUMNS)[list(COLUMNS.values())]
    return found.reset_index(drop=True), np.asarray(fitted.obs["size_factors"])


def _data_set(counts: np.ndarray) -> Any:
    """Return the class of PyDESeq2 that fits these counts: its own, or one whose size factors are by totals."""
    from pydeseq2.dds import DeseqDataSet

    if size_factor_facts(counts)["size_factors"] == BY_RATIOS:
        return DeseqDataSet

    class ByTotals(DeseqDataSet):
        def fit_size_factors(self, fit_type: Any = None, control_genes: Any = None) -> None:
            """Set size factors, and what PyDESeq2 sets with them."""
            self.obs["size_factors"] = total_factors(self.X)
            self.layers["normed_counts"] = self.X / self.obs["size_factors"].to_numpy()[:, None]
            self.var["_normed_means"] = self.layers["normed_counts"].mean(axis=0)

    return ByTotals
