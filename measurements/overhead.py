"""Measures the overhead of the workflow over the work of its steps.

usage: .venv/bin/python measurements/overhead.py noop WORK [TIMES]
           a finished run with nothing to do, and an empty Snakefile, in turn (default: three times each)
       .venv/bin/python measurements/overhead.py steps WORK
           the configuration of WORK from its start, one job at a time: wall time against the sum of its jobs' times
       .venv/bin/python measurements/overhead.py query WORK FILE
           one more query (FILE, with the config's batch_key) in a copy of a finished run, to its labels.csv
       .venv/bin/python measurements/overhead.py plan QUERIES
           a dry run with so many queries, two models and the baseline, without folds
    WORK   folder of a run, with config.yaml
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import yaml
from scipy import sparse

REPO = Path(__file__).resolve().parents[1]
SNAKEMAKE = [sys.executable, "-m", "snakemake"]


def timed(command: list, folder: Path, environment: dict | None = None) -> float:
    """Run a command, with further variables in its environment; return its seconds."""
    started = time.monotonic()
    subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env=os.environ | (environment or {}),
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.monotonic() - started


def workflow(*arguments) -> list:
    """Return the command that runs this workflow in the current folder."""
    return [
        *SNAKEMAKE,
        "--snakefile",
        REPO / "Snakefile",
        "--configfile",
        "config.yaml",
        "--rerun-triggers",
        *("mtime", "params", "input"),
        *arguments,
    ]


def job_seconds(work: Path, since: float = 0) -> pd.Series:
    """Return the seconds of each rule's jobs from Snakemake's benchmark files.

    Args:
        since: jobs that ended before this time, of time.time(), are left out.
    """
    files = [path for path in (work / "benchmarks").rglob("*.tsv") if path.stat().st_mtime > since]
    rows = [
        (path.relative_to(work / "benchmarks").parts[0].removesuffix(".tsv"), pd.read_csv(path, sep="\t")["s"].sum())
        for path in files
    ]
    return pd.DataFrame(rows, columns=["rule", "seconds"]).groupby("rule")["seconds"].sum().sort_values(ascending=False)


def noop(work: Path, times: int = 3) -> None:
    """Print the seconds of a run with nothing to do, and of Snakemake with an empty Snakefile."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "Snakefile").write_text("rule all:\n    input: []\n")
        pairs = [
            (timed([*SNAKEMAKE, "--cores", "1"], Path(folder)), timed(workflow("--cores", "1"), work))
            for _ in range(times)
        ]
    empty, finished = (statistics.median(values) for values in zip(*pairs, strict=True))
    print(
        f"nothing to do: {finished:.1f} s; an empty Snakefile: {empty:.1f} s; difference: {finished - empty:.1f} s"
        f" (medians of {times}, in turn)"
    )


def steps(work: Path) -> None:
    """Print the wall time of a run, one job at a time, against the sum of the times of its jobs."""
    started = time.time()
    wall = timed(workflow("--cores", "1", "--forceall"), work)
    jobs = job_seconds(work, started)
    print(jobs.round(1).to_markdown())
    print(f"wall {wall:.0f} s, jobs {jobs.sum():.0f} s: {wall / jobs.sum() - 1:.1%} overhead")


# Loaded by every Python at its start: records the seconds of each import of a job's script that is not within another,
# also in child processes.
TIMED_IMPORTS = """
import builtins, os, sys, time

known, depth = builtins.__import__, 0

def timed(*arguments, **named):
    global depth
    depth += 1
    started = time.perf_counter()
    try:
        return known(*arguments, **named)
    finally:
        depth -= 1
        seconds = time.perf_counter() - started
        if not depth and seconds > 1e-4:
            descriptor = os.open(os.environ["IMPORT_SECONDS"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.write(descriptor, f"{seconds}\\n".encode())
            os.close(descriptor)

if any(".snakemake/scripts" in argument for argument in sys.orig_argv):
    builtins.__import__ = timed
"""


def query(work: Path, file: Path) -> None:
    """Print the time of one more query on two cores, and the part of imports, of surgery and of the rest."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "sitecustomize.py").write_text(TIMED_IMPORTS)
        environment = {"PYTHONPATH": folder, "IMPORT_SECONDS": str(Path(folder) / "imports")}
        copy = Path(folder) / "work"
        subprocess.run(["cp", "-a", work, copy], check=True)
        config = yaml.safe_load((copy / "config.yaml").read_text())
        sheet = copy / config["queries"]
        columns = sheet.read_text().splitlines()[0].split("\t")
        with sheet.open("a") as rows:
            rows.write(
                "\t".join({"query": "one_more", "path": str(file.resolve())}.get(column, "") for column in columns)
                + "\n"
            )
        started = time.time()
        wall = timed(workflow("--cores", "2", "results/queries/one_more/labels.csv"), copy, environment)
        jobs = job_seconds(copy, started)
        surgery = sum(
            pd.read_csv(path)["seconds"].sum() for path in copy.glob("results/queries/one_more/models/*/training.csv")
        )
        imports = sum(map(float, Path(environment["IMPORT_SECONDS"]).read_text().split()))
    rest = jobs.sum() - imports - surgery
    print(jobs.round(1).to_markdown())
    print(
        f"{ad.read_h5ad(file, backed='r').n_obs} cells: wall {wall:.1f} s on two cores, jobs {jobs.sum():.1f} s:"
        f" imports {imports:.1f} s, epochs of surgery {surgery:.1f} s, the rest {rest:.1f} s"
    )


def plan(n: int) -> None:
    """Print the seconds of a dry run with many queries."""
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        counts = sparse.csr_matrix(random.poisson(0.5, (60, 200)).astype(np.float32))
        obs = pd.DataFrame({"batch": "a", "cell_type": "t"}, index=[f"c{i}" for i in range(60)])
        ad.AnnData(counts, obs=obs, var=pd.DataFrame(index=[f"G{i}" for i in range(200)])).write_h5ad(folder / "a.h5ad")
        (folder / "reference.tsv").write_text("dataset\tpath\na\ta.h5ad\n")
        (folder / "queries.tsv").write_text("query\tpath\n" + "".join(f"q{i}\ta.h5ad\n" for i in range(n)))
        models = {"scvi": {"type": "scvi"}, "scanvi": {"type": "scanvi", "init_from": "scvi"}}
        config = {"reference": "reference.tsv", "queries": "queries.tsv", "models": models, "evaluation": {"folds": 0}}
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        print(f"dry run with {n} queries: {timed(workflow('--dry-run', '--quiet', 'all'), folder):.1f} s")


def main() -> None:
    what, *rest = sys.argv[1:] or [""]
    if what == "noop" and len(rest) in (1, 2):
        noop(Path(rest[0]), *map(int, rest[1:]))
    elif what == "steps" and len(rest) == 1:
        steps(Path(rest[0]))
    elif what == "query" and len(rest) == 2:
        query(Path(rest[0]), Path(rest[1]))
    elif what == "plan" and len(rest) == 1:
        plan(int(rest[0]))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
