"""Decides before any mapping whether a query can be mapped, and writes its counts in the
reference's genes and order.

The query's labels stay in cells.parquet: no model can see them.

in:  the query's own files; the reference's genes.parquet; its counts.h5ad, for the names of its
     proteins, if it has any
out: cells.parquet (as of a dataset; cells are flagged, never dropped), genes.parquet (the query's
     own), check.json (gene overlap, padded genes, sizes, times and checksums of the files, notes),
     counts.h5ad (obs has the batch alone, var whether the query measured a gene, obsm the
     reference's proteins, zeros for those not measured)
"""

import pandas as pd

from refatlas.io.atomic import write_json, write_table
from refatlas.io.fingerprints import fingerprints, require_unchanged
from refatlas.io.model_counts import protein_names
from refatlas.io.raw_counts import open_row
from refatlas.jobs.child_process import run_in_child_process
from refatlas.jobs.run import print_on_screen
from refatlas.prepare.cell_quality import scan_file
from refatlas.prepare.file_lines import file_line, screen_text
from refatlas.prepare.gene_overlap import check_overlap, report_check
from refatlas.prepare.model_input import write_query
from refatlas.prepare.proteins import protein_notes
from refatlas.remote.fetched import data_files, origin, require_sha256, sources


def main(smk) -> None:
    name, row, settings = smk.wildcards.name, smk.params.row, smk.params.settings
    files, genes = data_files(smk.input.files), pd.read_parquet(smk.input.genes)
    before = fingerprints(files)
    require_sha256(row, f"query {name!r}")
    file = open_row(row)
    found = scan_file(file, name, row, settings["qc"], settings["unlabeled"], smk.threads)
    where, floor = f"query {name!r} ({row['path']})", settings["min_gene_overlap"]
    overlap = check_overlap(where, genes, found.genes, floor, row.get("orthologs"))
    report_check(row["path"], found.summary, overlap)
    proteins = protein_names(smk.input.reference or None)
    found.summary["notes"] += protein_notes(where, found.summary["proteins"], proteins)
    write_query(smk.output.counts, file, row, found, genes, proteins, unchanged=before)
    write_table(found.cells, smk.output.cells)
    write_table(found.genes, smk.output.genes)
    found.summary["path"] = origin(row["path"])
    line = {"line": file_line(found.summary, "query")}
    check = {**found.summary, **line, **overlap, "files": before, "checksums": sources(files)}
    require_unchanged(before)
    write_json(check, smk.output.check)
    print_on_screen(screen_text(found.summary, "query"))


if "snakemake" in globals():
    run_in_child_process(main, snakemake)  # noqa: F821
