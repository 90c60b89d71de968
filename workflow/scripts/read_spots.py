"""Reads a spatial reference, ahead of all training.

in:  its files; genes.parquet of the atlas
out: spots.h5ad (counts of the atlas's genes that it has; x, y, section and region of each spot); spots.json (what was
     read, sizes, times and checksums of the files, and notes)
"""

import pandas as pd

from refatlas.io.atomic import write_json
from refatlas.io.fingerprints import checksums, fingerprints, require_unchanged
from refatlas.io.raw_counts import open_row
from refatlas.jobs.run import run_job
from refatlas.spatial.spots import row_of, write_spots


def main(smk) -> None:
    settings, genes = smk.params.settings, pd.read_parquet(smk.input.genes)
    before = fingerprints(smk.input.files)
    file = open_row(row_of(settings))
    found = write_spots(smk.output.spots, file, settings, genes, smk.threads)
    hashes = checksums(smk.input.files)
    require_unchanged(before)
    write_json({**found, "files": before, "checksums": hashes}, smk.output.summary)
    print(f"{found['path']}: {found['n_spots']} spots, {found['shared_genes']} of {found['atlas_genes']} genes")
    for note in found["notes"]:
        print(f"  {note}")


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
