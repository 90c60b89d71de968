"""What the jobs of a run asked for, and what they used: memory, time and cores, a row a rule.

Reads the benchmark files of a run with profiles/slurm, or with --benchmark-extended, so it needs
neither SLURM nor its accounting. What was used is the rule's own
process; Snakemake around it takes some 400 MB and 10 s more in each job. A rule that used far less
than it asked for waits longer than it must: `set-resources` in the profile.

    python benchmarks/slurm_jobs.py [FOLDER, by default benchmarks]
"""

import ast
import sys
from pathlib import Path

import pandas as pd


def read_job(path: Path) -> dict | None:
    """Return one job's row of its benchmark file: rule, what it asked for, what it used; None if it
    does not tell what was asked for.
    """
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
    """Return a row a rule: number of jobs, and of each figure the largest."""
    table = jobs.groupby("rule").max()
    table.insert(0, "jobs", jobs.groupby("rule").size())
    return table.sort_values("used_mb", ascending=False)


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "benchmarks")
    jobs = [job for path in sorted(folder.rglob("*.tsv")) if (job := read_job(path))]
    if not jobs:
        raise SystemExit(
            f"no benchmark file in {folder} tells what was asked for; run with profiles/slurm, or with"
            " --benchmark-extended"
        )
    print(summary(pd.DataFrame(jobs)).reset_index().to_string(index=False, float_format="{:.1f}".format))
