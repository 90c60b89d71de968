"""Print the cores, memory and time that the jobs of a run requested and used, one row per rule.

Reads the benchmark files of a run with profiles/slurm, or with --benchmark-extended. It needs
neither SLURM nor its accounting. What was used is that of the job's own process. Snakemake around it
takes some 400 MB and 10 s more in each submission. A rule that requests far more than it uses waits
longer than it must: set `amounts` in the profile. Jobs that shared a submission have a row each.

usage: python measurements/slurm_jobs.py [FOLDER, by default benchmarks]
"""

import ast
import sys
from pathlib import Path

import pandas as pd


def read_job(path: Path) -> dict | None:
    """Return what one job requested and used, by its benchmark file; None if that lacks the requests."""
    job = pd.read_csv(path, sep="\t").iloc[-1]
    if "resources" not in job:
        return None
    asked = ast.literal_eval(job["resources"])
    return {
        "rule": job["rule_name"],
        "cores": job["threads"],
        "memory_mb": asked["mem_mb"],
        "used_mb": job["max_rss"],
        "minutes": asked["runtime"],
        "used_minutes": job["s"] / 60,
    }


def summary(jobs: pd.DataFrame) -> pd.DataFrame:
    """Return one row per rule: the number of jobs, and the maximum of each figure."""
    table = jobs.groupby("rule").max()
    table.insert(0, "jobs", jobs.groupby("rule").size())
    return table.sort_values("used_mb", ascending=False)


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "benchmarks")
    jobs = [job for path in sorted(folder.rglob("*.tsv")) if (job := read_job(path))]
    if not jobs:
        raise SystemExit(
            f"no benchmark file in {folder} has what was requested; run with profiles/slurm, or with"
            " --benchmark-extended"
        )
    print(summary(pd.DataFrame(jobs)).reset_index().to_string(index=False, float_format="{:.1f}".format))
