"""Marker genes of one file on disk: the workflow's test against scanpy's, the same statistic on the same cells.

usage: .venv/bin/python measurements/markers.py WORK CELLS [GENES 2000] [DENSITY 0.15] [REPEATS 3]
[--memory 4000] [--groupings 1] [--alone] [--file PATH]

The synthetic file has 10 batches in random order and 8 labels; with the defaults, a cell has counts of 300 genes. It is
written to WORK and stays there. Sides are measured in turn, each in a process of its own, from the file on disk to
the table, with imports. The workflow also tests within batches, and reads the tables of cells and genes that an earlier
rule has written. scanpy reads the file, normalises it, and runs rank_genes_groups(method="wilcoxon", tie_correct=True).
A process that needs more than 20 GB is stopped. --groupings adds finer groups that are tested in the same run, by the
workflow alone; --memory is the workflow's limit in MB; --alone omits scanpy.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from preparation import SCRIPTS, THREADS, machine

LIMIT_GB = 20
# Each of so many further groupings halves the groups of the one before.
FINER = 4


def write_tables(path: str, work: Path, n_groupings: int) -> None:
    """Write the tables that the workflow reads: cells and genes of the file, and groups."""
    from refatlas.config.settings import complete_config
    from refatlas.io.raw_counts import open_counts
    from refatlas.prepare.cell_quality import scan_file

    keys = {"layer": None, "batch_key": "batch", "batch_is_default": True, "label_keys": ["cell_type"]}
    row = keys | {"gene_key": None, "protein_key": None, "protein_is_default": True, "control": None}
    config = complete_config({"reference": "r", "queries": "q"})
    found = scan_file(open_counts(path), "d", row, config["qc"], [], THREADS)
    found.cells.assign(keep=True).to_parquet(work / "cells.parquet")
    found.genes.to_parquet(work / "genes.parquet")
    groups, random = found.cells[["label"]].copy(), np.random.default_rng(0)
    finest = pd.factorize(groups["label"], sort=True)[0] * 2**FINER + random.integers(0, 2**FINER, len(groups))
    for i in range(1, n_groupings):
        groups[str(i)] = (finest >> (FINER - i)).astype(np.int32)
    groups.to_parquet(work / "groups.parquet")


def run_refatlas(path: str, work: Path, memory_mb: float) -> None:
    """Write the workflow's table of markers."""
    from refatlas.annotate.markers import CELL_COLUMNS, MarkerDataset, find_markers
    from refatlas.io.cell_tables import read_cells
    from refatlas.prepare.genes import merge_genes

    genes = pd.read_parquet(work / "genes.parquet")
    dataset = MarkerDataset(
        {"path": path, "layer": None}, read_cells([str(work / "cells.parquet")], CELL_COLUMNS), genes
    )
    groups = pd.read_parquet(work / "groups.parquet")
    find_markers([dataset], merge_genes([genes]), groups, memory_mb, THREADS).to_parquet(work / "refatlas.parquet")


def run_scanpy(path: str, work: Path) -> None:
    """Write scanpy's table of the same statistic."""
    import scanpy as sc

    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_GB * 10**9,) * 2)
    data = sc.read_h5ad(path)
    sc.pp.normalize_total(data, target_sum=1e4)
    sc.pp.log1p(data)
    sc.tl.rank_genes_groups(data, "cell_type", method="wilcoxon", tie_correct=True)
    sc.get.rank_genes_groups_df(data, None).to_parquet(work / "scanpy.parquet")


def measured(side: str, given: argparse.Namespace, path: Path) -> dict[str, float]:
    """Return wall and CPU seconds and peak memory (MB) of one side in a process of its own."""
    threads = {name: str(THREADS) for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    command = [sys.executable, __file__, str(given.work), "0", "--side", side, "--file", str(path)]
    command += ["--memory", str(given.memory), "--groupings", str(given.groupings)]
    started = time.monotonic()
    process = subprocess.Popen(command, env=os.environ | threads | {"PYTHONPATH": str(SCRIPTS)})
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{side} failed, or needs more than {LIMIT_GB} GB")
    return {"wall": time.monotonic() - started, "cpu": usage.ru_utime + usage.ru_stime, "peak": usage.ru_maxrss / 1024}


def difference(work: Path) -> float:
    """Return the largest relative difference of a score from scanpy's, over genes that are detected."""
    own = pd.read_parquet(work / "refatlas.parquet", columns=["grouping", "group", "symbol", "score"])
    own = own[own["grouping"] == "label"].astype({"group": str, "symbol": str}).set_index(["group", "symbol"])["score"]
    theirs = pd.read_parquet(work / "scanpy.parquet").astype({"group": str}).set_index(["group", "names"])["scores"]
    theirs = theirs.loc[own.index].to_numpy()
    return float(np.max(np.abs(own.to_numpy() - theirs) / np.maximum(np.abs(theirs), 1e-3)))


def report(runs: list[dict[str, dict]], sides: list[str]) -> None:
    """Print the medians of each side, and of the ratios of one turn."""
    for side in sides:
        medians = {kind: statistics.median(run[side][kind] for run in runs) for kind in ("wall", "cpu", "peak")}
        print(f"{side}: wall {medians['wall']:.1f} s, cpu {medians['cpu']:.1f} s, peak {medians['peak']:.0f} MB")
    if len(sides) == 2:
        for kind in ("wall", "cpu", "peak"):
            ratios = [run["scanpy"][kind] / run["refatlas"][kind] for run in runs]
            print(f"ratio, {kind}: {statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("cells", type=int)
    for name, default in (("genes", 2000), ("density", 0.15), ("repeats", 3)):
        parser.add_argument(name, nargs="?", type=type(default), default=default)
    parser.add_argument("--memory", type=float, default=4000)
    parser.add_argument("--groupings", type=int, default=1, choices=range(1, FINER + 2))
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--file", type=Path)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side == "tables":
        return write_tables(str(given.file), given.work, given.groupings)
    if given.side:
        other = given.side == "scanpy"
        return (
            run_scanpy(str(given.file), given.work)
            if other
            else run_refatlas(str(given.file), given.work, given.memory)
        )
    given.work.mkdir(parents=True, exist_ok=True)
    path = given.file or given.work / f"{given.cells}_{given.genes}_{given.density}.h5ad"
    if not path.exists():
        program = str(Path(__file__).with_name("synthetic.py"))
        made = [sys.executable, program, str(path), str(given.cells), str(given.genes)]
        subprocess.run([*made, "--density", str(given.density), "--shuffled"], check=True)
    measured("tables", given, path)
    sides = ["refatlas"] if given.alone else ["refatlas", "scanpy"]
    runs = [{side: measured(side, given, path) for side in sides} for _ in range(given.repeats)]
    report(runs, sides)
    if not given.alone:
        print(f"largest relative difference of a score: {difference(given.work):.1e}")
    print(machine())


if __name__ == "__main__":
    main()
