"""Writes where all results come from.

in:  scan.json and check.json, which have the checksums of the users' files; the results, so that
     all their jobs have ended; the records that these left beside their logs
out: provenance.json: workflow, seed, configuration, input files, versions, revisions of the rules,
     and one record per job
"""

from pathlib import Path

from refatlas.io.atomic import write_json
from refatlas.jobs.inputs import by_name
from refatlas.jobs.provenance import collect_provenance, input_files, read_records, report_provenance
from refatlas.jobs.run import run_job


def main(smk) -> None:
    # All logs stand in the folder of this job's own.
    records = read_records(Path(smk.log[0]).parent, smk.params.known)
    files = {"datasets": input_files(by_name(smk.input, "scan")), "queries": input_files(by_name(smk.input, "check"))}
    found = collect_provenance(records, files, smk.params.config)
    report_provenance(found)
    write_json(found, smk.output.provenance)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
