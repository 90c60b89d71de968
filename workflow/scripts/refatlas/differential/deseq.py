"""Differential expression of pseudobulk samples by DESeq2's model (Love 2014), as PyDESeq2 has it."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pandas as pd

from refatlas.differential.design import Design

# Genes with fewer counts over all samples cannot be significant, and slow the fit down.
MIN_COUNTS = 10
# False discovery rate at which genes are counted, and which DESeq2's independent filtering is made for.
ALPHA = 0.05
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


def compare_samples(counts: np.ndarray, design: Design, n_threads: int = 1) -> tuple[pd.DataFrame, np.ndarray]:
    """Return DESeq2's table of genes, and the size factor of each sample.

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
    from pydeseq2.dds import DeseqDataSet
    from pydeseq2.default_inference import DefaultInference
    from pydeseq2.ds import DeseqStats
    from threadpoolctl import threadpool_limits

    names = [f"sample_{i}" for i in range(len(counts))]
    table = pd.DataFrame(counts, index=names, columns=[f"gene_{i}" for i in range(counts.shape[1])])
    matrix = design.matrix.set_axis(names)
    inference = DefaultInference(n_cpus=n_threads)
    # Many small matrices: more threads of BLAS are slower, and would take others' cores.
    with threadpool_limits(1):
        fitted = DeseqDataSet(counts=table, metadata=matrix, design=matrix, inference=inference, quiet=True)
        fitted.deseq2()
        tested = DeseqStats(fitted, contrast=design.contrast, alpha=ALPHA, inference=inference, quiet=True)
        tested.summary()
    found = tested.results_df.rename(columns=COLUMNS)[list(COLUMNS.values())]
    return found.reset_index(drop=True), np.asarray(fitted.obs["size_factors"])
