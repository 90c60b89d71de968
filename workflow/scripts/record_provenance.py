"""Writes where all results come from.

in:  checksums of the input files; the results, so that all their jobs have ended; the records that these left beside their logs
out: provenance.json: workflow, seed, configuration, input files, versions, and one record a job
"""

import hashlib
import subprocess
from pathlib import Path

import refatlas
from refatlas.jobs import read_json, run_job, write_json
from refatlas.provenance import read_records, summary, versions

WORKFLOW = Path(refatlas.__file__).parents[2]


def code() -> dict:
    """Return the workflow's version, a checksum of its files, and the commit that they are of (None outside of a git checkout)."""
    digest = hashlib.sha256()
    files = [path for path in WORKFLOW.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    for path in sorted(files):
        digest.update(f"{path.relative_to(WORKFLOW)}\0".encode() + path.read_bytes())
    return {"version": refatlas.__version__, "sha256": digest.hexdigest(), "commit": _git("rev-parse", "HEAD"), "changed": bool(_git("status", "--porcelain", "--", "."))}


def _git(*arguments: str) -> str | None:
    """Return what git says of the workflow's folder; None where there is no git or no checkout."""
    try:
        said = subprocess.run(["git", *arguments], cwd=WORKFLOW, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return said.stdout.strip() if said.returncode == 0 else None


def main(smk) -> None:
    p = smk.params
    # The log's own folder is where all logs stand.
    records = read_records(Path(smk.log[0]).parent, p.known)
    files = {sheet: {name: read_json(path) for name, path in zip(names, smk.input[sheet], strict=True)} for sheet, names in p.sheets.items()}
    found = {"workflow": code(), "seed": p.config["seed"], "config": p.config, "files": files, "packages": versions(records), "rules": summary(records), "jobs": records}
    print(f"{len(records)} jobs, {sum(map(len, files['datasets'].values()))} files of datasets, {sum(map(len, files['queries'].values()))} of queries")
    write_json(found, smk.output.provenance)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
