"""Takes the checksum of the files that one row of a sheet names.

in:  the files; what the job that read them says of their sizes and times
out: files.json: for each file its sha256, size in bytes and time of change
"""

from datetime import UTC, datetime
from pathlib import Path

from refatlas.io.atomic import write_json
from refatlas.io.fingerprints import read_fingerprints, require_unchanged, sha256_of
from refatlas.jobs.run import run_job


def facts(path: str) -> dict:
    """Return sha256, bytes and time of change of a file."""
    found = Path(path).stat()
    return {
        "sha256": sha256_of(path),
        "bytes": found.st_size,
        "modified": datetime.fromtimestamp(found.st_mtime, UTC).isoformat(timespec="seconds"),
    }


def main(smk) -> None:
    files = read_fingerprints([smk.input.read])
    found = {path: facts(path) for path in smk.input.files}
    require_unchanged(files)
    for path, fact in found.items():
        print(f"{fact['sha256']}  {path}")
    write_json(found, smk.output.files)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
