"""Measures what one more query of a finished run costs, up to the report.

usage: .venv/bin/python measurements/one_more_query.py WORK FILE NAME [REPO]
    WORK  folder of a finished run, with config.yaml and queries.tsv; the query is added to them
    FILE  the query's file
    NAME  a new name for it
    REPO  another version of this repository, to measure that one (default: this one)

Prints wall time, CPU time of all processes, bytes of all results that were written (and as a multiple of the query's
file), and the seconds of each job.
"""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]


def written_since(folder: Path, started: float) -> int:
    """Return the bytes of all files below a folder that are newer than a time."""
    files = [path for path in folder.rglob("*") if path.is_file() and ".snakemake" not in path.parts]
    return sum(path.stat().st_size for path in files if path.stat().st_mtime >= started)


def main() -> None:
    if len(sys.argv) not in (4, 5):
        sys.exit(__doc__)
    work, file, name = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve(), sys.argv[3]
    repo = Path(sys.argv[4]).resolve() if len(sys.argv) == 5 else HERE
    columns = (work / "queries.tsv").read_text().splitlines()[0].split("\t")
    with open(work / "queries.tsv", "a") as sheet:
        sheet.write("\t".join({"query": name, "path": str(file)}.get(column, "") for column in columns) + "\n")
    command = [sys.executable, "-m", "snakemake", "--snakefile", repo / "Snakefile", "--configfile", "config.yaml"]
    command += ["--workflow-profile", repo / "profiles/default", "--cores", "2"]
    environment = os.environ | {"PYTHONPATH": str(repo / "workflow/scripts")}
    started, clock = time.time(), time.monotonic()
    subprocess.run(list(map(str, command)), cwd=work, env=environment, check=True, stdout=subprocess.DEVNULL)
    wall, used = time.monotonic() - clock, resource.getrusage(resource.RUSAGE_CHILDREN)
    n_bytes = written_since(work / "results", started)
    print(f"wall {wall:.1f} s, CPU {used.ru_utime + used.ru_stime:.1f} s")
    print(f"written: {n_bytes / 1e6:.1f} MB, {n_bytes / file.stat().st_size:.1f} times the query's file")
    records = [path for path in (work / "logs").rglob("*.json") if path.stat().st_mtime >= started]
    jobs = [json.loads(path.read_text()) for path in records if not path.name.startswith(".")]
    for job in sorted(jobs, key=lambda job: -job["seconds"]):
        print(f"{job['seconds']:8.1f} s  {job['peak_mb']:6} MB  {job['rule']} {job['wildcards'].get('model', '')}")


if __name__ == "__main__":
    main()
