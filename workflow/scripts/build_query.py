"""Writes a query's counts in the reference's genes and order. Its labels stay behind: no model can
see them.

in:  the query's file; its cells.parquet, genes.parquet and check.json; the split's genes.parquet; where the reference has proteins, its counts.h5ad, for their names
out: counts.h5ad; obs has the batch alone, var whether the query measured a gene, obsm the
reference's proteins (zeros for those not measured)
"""

import numpy as np
import pandas as pd

from refatlas.io.fingerprints import read_fingerprints, require_unchanged
from refatlas.io.model_counts import counts_writer, protein_names
from refatlas.io.raw_counts import open_counts
from refatlas.jobs.run import run_job
from refatlas.prepare.assemble import selected_counts
from refatlas.prepare.genes import match_selected
from refatlas.prepare.proteins import align, describe_match, read_proteins


def main(smk) -> None:
    files = read_fingerprints([smk.input.check])
    genes = pd.read_parquet(smk.input.selected)
    cells = pd.read_parquet(smk.input.cells)
    row = smk.params.row
    file = open_counts(row["path"], row["layer"])
    table = pd.read_parquet(smk.input.genes)
    measured = np.isin(np.arange(genes["selected"].sum()), match_selected(genes, table))
    print(f"{len(cells)} cells × {len(measured)} genes, {int(measured.sum())} of them measured")
    proteins, known = read_proteins(file, row, cells["batch"].to_numpy()), protein_names(smk.input.get("reference"))
    if known:
        print(f"proteins: {describe_match(list(proteins.columns), known)}")
    with counts_writer(smk.output.counts, cells[["batch"]], genes, measured) as out:
        for block in selected_counts(file, np.ones(len(cells), dtype=bool), genes, table):
            out.append(block)
        out.add_proteins(align(proteins, known))
        require_unchanged(files)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
