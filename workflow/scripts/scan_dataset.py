"""Reads a reference dataset once: checks every value, measures every cell, and decides which cells
to keep.

in:  the dataset's own files; the table of cells to leave out, if the config names one
out: cells.parquet (one row per cell), genes.parquet (one row per gene), scan.json (what was read,
     in one line, sizes, times and checksums of the files, and notes)
"""

from refatlas.io.atomic import write_json, write_table
from refatlas.io.fingerprints import fingerprints, require_unchanged
from refatlas.io.raw_counts import open_row
from refatlas.jobs.child_process import run_in_child_process
from refatlas.jobs.run import print_on_screen
from refatlas.prepare.cell_quality import report_scan, require_kept_cells, scan_file
from refatlas.prepare.doublets import drop_doublets
from refatlas.prepare.excluded_cells import exclude_cells
from refatlas.prepare.file_lines import file_line, screen_text
from refatlas.remote.fetched import data_files, origin, require_sha256, sources


def main(smk) -> None:
    name, row, settings = smk.wildcards.dataset, smk.params.row, smk.params.settings
    files = data_files(smk.input.files)
    before = fingerprints(files)
    require_sha256(row, f"dataset {name!r}")
    file = open_row(row)
    found = scan_file(file, name, row, settings["qc"], settings["unlabeled"], smk.threads)
    if settings["qc"]["doublets"]:
        drop_doublets(found, file, settings["seed"])
    if smk.input.get("exclude"):
        exclude_cells(found, name, smk.input.exclude, smk.params.datasets)
    report_scan(found)
    require_kept_cells(found, f"dataset {name!r} ({row['path']})")
    found.summary["path"] = origin(row["path"])
    found.summary["line"] = file_line(found.summary, "dataset")
    hashes = sources(files)
    require_unchanged(before)
    write_table(found.cells, smk.output.cells)
    write_table(found.genes, smk.output.genes)
    write_json({**found.summary, "files": before, "checksums": hashes}, smk.output.summary)
    print_on_screen(screen_text(found.summary, "dataset"))


if "snakemake" in globals():
    run_in_child_process(main, snakemake)  # noqa: F821
