"""Quality control and gene selection of one file: the jobs scan_dataset and select_genes, against scanpy in memory.

usage: .venv/bin/python measurements/preparation.py WORK CELLS [GENES 2000] [DENSITY 0.1] [REPEATS 3]
[--compression gzip] [--alone]

Sides are measured in turn, each step in a process of its own, with imports. Both drop the same cells by the limits of
the configuration. The synthetic file is written to WORK and stays there. --alone omits scanpy. At the end,
build_reference writes the counts of the selected genes once.
"""

import argparse
import json
import os
import platform
import runpy
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

SCRIPTS = Path(__file__).resolve().parents[1] / "workflow" / "scripts"
BATCHES, N_TOP, THREADS = 10, 500, 2
SIDES = {"refatlas": ("scan_dataset", "select_genes"), "scanpy": ("scanpy",)}


def settings() -> dict:
    """Return the configuration with all defaults, except the number of genes: the synthetic files have few."""
    from refatlas.config.settings import complete_config

    return complete_config({"reference": "r", "queries": "q", "genes": {"n_top": N_TOP}})


def run_rule(name: str, path: str, work: Path, config: dict) -> None:
    """Run a rule's script on the file as Snakemake would; this process ends with it."""
    from snakemake.iocontainers import InputFiles, Log, OutputFiles, Params, ResourceList, Wildcards

    row = {
        "path": path,
        "layer": None,
        "batch_key": "batch",
        "batch_is_default": True,
        "label_keys": ["cell_type"],
        "gene_key": None,
    }
    row |= {"protein_key": None, "protein_is_default": True, "metadata": None, "control": None}
    cells, genes, scan = (str(work / name) for name in ("cells.parquet", "genes.parquet", "scan.json"))
    log = Log(fromdict={"log": str(work / f"{name}.log")})
    smk = SimpleNamespace(
        rule=name,
        threads=THREADS,
        wildcards=Wildcards(fromdict={"dataset": "d"}),
        resources=ResourceList(fromdict={}),
        log=log,
    )
    selected, counts = str(work / "refatlas.parquet"), str(work / "counts.h5ad")
    if name == "scan_dataset":
        smk.input = InputFiles(fromdict={"files": [path]})
        scan_settings = {"qc": config["qc"], "unlabeled": config["unlabeled"], "seed": 0}
        smk.params = Params(fromdict={"row": row, "settings": scan_settings})
        smk.output = OutputFiles(fromdict={"cells": cells, "genes": genes, "summary": scan})
    else:
        read = {"cells:d": cells, "genes:d": genes, "scan:d": scan}
        smk.input = InputFiles(fromdict=read if name == "select_genes" else read | {"selected": selected})
        smk.params = Params(fromdict={"rows": {"d": row}, "settings": config["genes"]})
        smk.output = OutputFiles(fromdict={"genes": selected} if name == "select_genes" else {"counts": counts})
    runpy.run_path(str(SCRIPTS / f"{name}.py"), {"snakemake": smk}, "__main__")


def run_scanpy(path: str, work: Path, config: dict) -> None:
    """Select genes by scanpy, after the workflow's limits of quality."""
    import scanpy as sc

    from refatlas.prepare.cell_quality import quality_reasons

    data = sc.read_h5ad(path)
    data.var["mt"] = data.var_names.str.upper().str.startswith("MT-")
    sc.pp.calculate_qc_metrics(data, qc_vars=["mt"], percent_top=None, log1p=False, inplace=True)
    found = data.obs.rename(columns={"n_genes_by_counts": "n_genes", "pct_counts_mt": "mito_share"})
    found[["total_counts", "n_genes", "mito_share"]].to_parquet(work / "scanpy_cells.parquet")
    data = data[(quality_reasons(found, config["qc"]) == "").to_numpy()].copy()
    sc.pp.highly_variable_genes(data, n_top_genes=N_TOP, flavor="seurat_v3", batch_key="batch")
    data.var.to_parquet(work / "scanpy.parquet")


def measured(step: str, path: str, work: Path) -> dict:
    """Return wall and CPU seconds and peak memory (MB) of one step in a process of its own."""
    environment = os.environ | {
        "PYTHONPATH": str(SCRIPTS),
        "OMP_NUM_THREADS": str(THREADS),
        "NUMBA_NUM_THREADS": str(THREADS),
        "OPENBLAS_NUM_THREADS": str(THREADS),
    }
    command = [
        sys.executable,
        __file__,
        str(work),
        "0",
        "--step",
        step,
        "--file",
        path,
        "--config",
        json.dumps(settings()),
    ]
    started = time.monotonic()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{step} failed")
    return {"wall": time.monotonic() - started, "cpu": usage.ru_utime + usage.ru_stime, "peak": usage.ru_maxrss / 1024}


def compared(work: Path) -> str:
    """Return in words how the decisions and statistics of both sides differ.

    Raises:
        SystemExit: the selected genes differ, or a statistic does by more than 1e-6.
    """
    import numpy as np
    import pandas as pd

    genes, expected = pd.read_parquet(work / "refatlas.parquet"), pd.read_parquet(work / "scanpy.parquet")
    pairs = [
        (genes["normalized_variance"], expected["variances_norm"]),
        (genes["mean"], expected["means"]),
        (genes["variance"], expected["variances"]),
    ]
    cells = pd.read_parquet(work / "cells.parquet"), pd.read_parquet(work / "scanpy_cells.parquet")
    pairs += [(cells[0][name], cells[1][name]) for name in ("total_counts", "n_genes")]
    furthest = max(float(np.max(np.abs(a.to_numpy() / b.to_numpy() - 1))) for a, b in pairs)
    same = np.array_equal(genes["selected"], expected["highly_variable"])
    ranks = np.array_equal(genes["rank"], expected["highly_variable_rank"], equal_nan=True)
    text = (
        f"genes {'identical' if same else 'DIFFER'}, ranks {'identical' if ranks else 'differ'}, largest relative"
        f" difference of a statistic {furthest:.1e}, {int(cells[0]['keep'].sum())} cells kept"
    )
    return text if same and furthest <= 1e-6 else sys.exit(text)


def machine() -> str:
    """Return what the figures depend on."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("scanpy", "anndata", "h5py", "numba", "numpy"))
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), load {os.getloadavg()[0]:.1f} at the end; Python"
        f" {platform.python_version()}, {versions}"
    )


def report(runs: list[dict[str, list[dict]]], sides: list[str]) -> None:
    """Print the medians of each side and step, and of the ratios of one turn."""
    for side in sides:
        for i, step in enumerate(SIDES[side]):
            medians = [
                f"{kind} {statistics.median(run[side][i][kind] for run in runs):.1f}"
                for kind in ("wall", "cpu", "peak")
            ]
            print(f"{side} {step}: {', '.join(medians)}")
        total = [sum(step["wall"] for step in run[side]) for run in runs]
        print(
            f"{side}: {statistics.median(total):.1f} s ({min(total):.1f}–{max(total):.1f}), peak"
            f" {max(step['peak'] for run in runs for step in run[side]):.0f} MB"
        )
    if len(sides) == 2:
        for kind in ("wall", "cpu"):
            ratios = [sum(s[kind] for s in run["scanpy"]) / sum(s[kind] for s in run["refatlas"]) for run in runs]
            print(f"ratio, {kind}: {statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("cells", type=int)
    for name, default in (("genes", 2000), ("density", 0.1), ("repeats", 3)):
        parser.add_argument(name, nargs="?", type=type(default), default=default)
    parser.add_argument("--compression", choices=["gzip", "lzf"])
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--file", help=argparse.SUPPRESS)
    parser.add_argument("--config", type=json.loads, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        return (
            run_scanpy(given.file, given.work, given.config)
            if given.step == "scanpy"
            else run_rule(given.step, given.file, given.work, given.config)
        )
    given.work.mkdir(parents=True, exist_ok=True)
    path = given.work / f"{given.cells}_{given.genes}_{given.density}_{given.compression}.h5ad"
    if not path.exists():
        made = [
            sys.executable,
            str(Path(__file__).with_name("synthetic.py")),
            str(path),
            str(given.cells),
            str(given.genes),
            "--density",
            str(given.density),
            "--batches",
            str(BATCHES),
        ]
        subprocess.run(made + (["--compression", given.compression] if given.compression else []), check=True)
    sides = ["refatlas"] if given.alone else ["refatlas", "scanpy"]
    runs = [
        {side: [measured(step, str(path), given.work) for step in SIDES[side]] for side in sides}
        for _ in range(given.repeats)
    ]
    (given.work / f"{path.stem}.json").write_text(json.dumps(runs))
    print(
        f"{given.cells} cells × {given.genes} genes × {BATCHES} batches, density {given.density},"
        f" {path.stat().st_size / 1e6:.0f} MB ({given.compression or 'not compressed'}); {machine()}"
    )
    report(runs, sides)
    if not given.alone:
        print(compared(given.work))
    built = measured("build_reference", str(path), given.work)
    print(
        "then build_reference: "
        + ", ".join(f"{kind} {value:.1f}" for kind, value in built.items())
        + f"; {(given.work / 'counts.h5ad').stat().st_size / 1e6:.0f} MB written"
    )
    return None


if __name__ == "__main__":
    main()
