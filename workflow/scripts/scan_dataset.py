"""Reads a reference dataset once: checks every value, measures every cell, and decides which cells
to keep.

in:  the dataset's own file
out: cells.parquet (one row a cell), genes.parquet (one row a gene column), scan.json (what was
read, files by size and time, and notes)
"""

import pandas as pd

from refatlas.errors import InputError
from refatlas.io.atomic import write_json, write_table
from refatlas.io.fingerprints import fingerprints, require_unchanged
from refatlas.io.raw_counts import open_counts
from refatlas.prepare.cell_quality import report_scan, scan
from refatlas.prepare.doublets import drop_doublets


def main(smk) -> None:
    row, qc, files = smk.params.row, smk.params.qc, fingerprints(smk.input.files)
    file = open_counts(row["path"], row["layer"], row["metadata"])
    found = scan(file, smk.wildcards.dataset, row, qc, smk.params.unlabeled, smk.threads)
    if qc["doublets"]:
        drop_doublets(found, file, smk.params.seed)
        found.summary["n_kept"] = int(found.cells["keep"].sum())
        found.summary["low_quality"] = found.cells.loc[~found.cells["keep"], "reason"].value_counts().to_dict()
    report_scan(found)
    if not found.cells["keep"].any():
        raise InputError(
            f"dataset {smk.wildcards.dataset!r} ({row['path']}): none of its {len(found.cells)} cells passes the"
            f" quality limits ({found.summary['low_quality']}); lower the limits in the config's qc, or leave the"
            " dataset out"
        )
    require_unchanged(files)
    found.summary["files"] = files
    write_table(pd.DataFrame(found.cells), smk.output.cells)
    write_table(found.genes, smk.output.genes)
    write_json(found.summary, smk.output.summary)


if "snakemake" in globals():
    run_in_child_process(main, snakemake)  # noqa: F821
