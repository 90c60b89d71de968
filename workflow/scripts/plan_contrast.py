"""Decides before any training whether a contrast can be made, and which cells and samples take part.

in:  the users' own files; scan.json and cells.parquet of the datasets, check.json and cells.parquet of the queries
out: cells.parquet (the cells of the two groups with the columns of the design), design.csv (the pseudobulk samples
     over all labels), design.json (the formula, warnings and notes)
"""

from refatlas.differential.plan import plan_contrast, read_sources
from refatlas.io.atomic import write_json, write_table
from refatlas.io.fingerprints import read_fingerprints, require_unchanged
from refatlas.jobs.inputs import by_name
from refatlas.jobs.run import run_job


def main(smk) -> None:
    i, rows = smk.input, smk.params.rows
    files = read_fingerprints([*by_name(i, "dataset_report").values(), *by_name(i, "query_report").values()])
    sources = read_sources(rows, by_name(i, "dataset_cells"), by_name(i, "query_cells"))
    cells, samples, notes = plan_contrast(smk.wildcards.contrast, sources, smk.params.contrast)
    require_unchanged(files)
    print(samples.to_string(index=False), *notes["warnings"], *notes["notes"], sep="\n")
    write_table(cells, smk.output.cells)
    write_table(samples, smk.output.design)
    write_json(notes, smk.output.notes)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
