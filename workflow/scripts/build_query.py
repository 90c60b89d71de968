"""Writes a query's counts in the reference's genes and order. Its labels stay behind: no model can see them.

in:  the query's file; its cells.parquet and genes.parquet; the split's genes.parquet
out: counts.h5ad; obs has the batch alone, var whether the query measured a gene
"""

import numpy as np
import pandas as pd

from refatlas.counts import open_counts
from refatlas.genes import match_selected
from refatlas.jobs import run_job
from refatlas.store import gather, write_counts


def main(smk) -> None:
    genes = pd.read_parquet(smk.input.selected)
    cells = pd.read_parquet(smk.input.cells)
    file = open_counts(smk.params.path, smk.params.layer)
    table = pd.read_parquet(smk.input.genes)
    matrix = gather(file, np.ones(len(cells), dtype=bool), genes, table)
    measured = np.isin(np.arange(matrix.shape[1]), match_selected(genes, table))
    print(f"{matrix.shape[0]} cells × {matrix.shape[1]} genes, {int(measured.sum())} of them measured")
    write_counts(smk.output.counts, matrix, cells[["batch"]], genes, measured)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
