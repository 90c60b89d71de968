"""Writes where all results come from.

in:  checksums of the input files; the results, so that all their jobs have ended; the records that these left beside their logs
out: provenance.json: workflow, seed, configuration, input files, versions, and one record a job
"""

from pathlib import Path

from refatlas.io.atomic import read_json, write_json
from refatlas.jobs.provenance import code, read_records, summary, versions


def main(smk) -> None:
    p = smk.params
    # The log's own folder is where all logs stand.
    records = read_records(Path(smk.log[0]).parent, p.known)
    files = {
        sheet: {name: read_json(path) for name, path in zip(names, smk.input[sheet], strict=True)}
        for sheet, names in p.sheets.items()
    }
    found = {
        "workflow": code(),
        "seed": p.config["seed"],
        "config": p.config,
        "files": files,
        "packages": versions(records),
        "rules": summary(records),
        "jobs": records,
    }
    print(
        f"{len(records)} jobs, {sum(map(len, files['datasets'].values()))} files of datasets,"
        f" {sum(map(len, files['queries'].values()))} of queries"
    )
    write_json(found, smk.output.provenance)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
