"""Clonotypes of the reference or of a query.

in:  receptors.parquet; cells.parquet of the same cells, with labels if the reference has any, of a query the delivered
     labels; of a query, clonotypes.csv of the reference
out: clonotypes.csv (one row per clonotype), clonotype_batches.csv and clonotype_labels.csv (one row per batch and
     label), clonotype_overlap.csv (pairs of these that share clonotypes), clonotype_cells.parquet (one row per cell),
     clonotypes.json (the numbers in short)
"""

from refatlas.io.atomic import read_csv, write_json, write_table
from refatlas.jobs.inputs import by_name
from refatlas.jobs.run import run_job
from refatlas.receptors.clonotypes import (
    clonotype_cells,
    clonotype_table,
    group_table,
    overlap_table,
    summary_of,
    with_reference,
)
from refatlas.receptors.source_cells import read_query_cells, read_receptor_tables, read_reference_cells


def main(smk) -> None:
    i, out = smk.input, smk.output
    receptors = read_receptor_tables(by_name(i, "receptors"))
    of_query = i.get("reference")
    if of_query:
        labelled = read_query_cells(i.query_cells, i.get("delivered"))
    else:
        labelled = read_reference_cells(list(by_name(i, "cells").values()))
    cells = clonotype_cells(labelled, receptors, smk.params.v_genes)
    table = clonotype_table(cells)
    if of_query:
        table = with_reference(table, read_csv(i.reference))
    write_table(cells, out.cells)
    write_table(table, out.clonotypes)
    write_table(group_table(cells, "batch"), out.batches)
    write_table(group_table(cells, "label"), out.labels)
    write_table(overlap_table(cells), out.overlap)
    write_json(summary_of(cells, table), out.summary)
    print(f"{len(cells):,} cells, {cells['clonotype'].notna().sum():,} with a pair, {len(table):,} clonotypes")


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
