"""Decides before any mapping whether a query can be mapped: its counts, columns, cells, and the
reference's genes in it.

in:  the query's own file; the reference's genes.parquet
out: cells.parquet (as of a dataset; cells are flagged, never dropped), genes.parquet (the query's
own), check.json (overlap, padded genes, files by size and time, notes)
"""

import pandas as pd

from refatlas.errors import listed
from refatlas.io.atomic import write_json, write_table
from refatlas.io.fingerprints import fingerprints, require_unchanged
from refatlas.io.raw_counts import open_counts
from refatlas.prepare.cell_quality import scan
from refatlas.prepare.gene_overlap import missing_genes, require_overlap


def main(smk) -> None:
    name, row, files = smk.wildcards.query, smk.params.row, fingerprints(smk.input.files)
    genes = pd.read_parquet(smk.input.genes)
    selected = genes[genes["selected"]]
    found = scan(
        open_counts(row["path"], row["layer"], row["metadata"]),
        name,
        row,
        smk.params.qc,
        smk.params.unlabeled,
        smk.threads,
    )
    missing = missing_genes(genes, found.genes)
    require_overlap(f"query {name!r} ({row['path']})", selected, found.genes, missing, smk.params.min_gene_overlap)
    summary = found.summary
    summary["gene_overlap"] = 1 - len(missing) / len(selected)
    summary["padded_genes"] = [{"gene": gene, "symbol": selected.loc[gene, "symbol"]} for gene in missing]
    print(f"{row['path']}: {summary['n_cells']} cells, {summary['n_cells'] - summary['n_kept']} flagged as low quality")
    print(
        f"  {len(selected) - len(missing)} of {len(selected)} reference genes found; padded with zeros:"
        f" {listed(missing)}"
    )
    for note in summary["notes"]:
        print(f"  {note}")
    require_unchanged(files)
    summary["files"] = files
    write_table(found.cells, smk.output.cells)
    write_table(found.genes, smk.output.genes)
    write_json(summary, smk.output.check)


if "snakemake" in globals():
    run_in_child_process(main, snakemake)  # noqa: F821
