"""Measures how time and memory of each rule grow with the number of reference cells.

usage: .venv/bin/python measurements/growth.py WORK CELLS [CELLS ...]
    WORK   folder to work in; runs that are already there are not repeated
    CELLS  numbers of reference cells; the query has 2,000

Synthetic counts (2,000 genes, 10 batches, a twentieth of the values stored), linear and scvi (2
epochs) as models, no folds, scib metrics as by default but for kBET.
Prints a table (seconds and peak MB of the longest job of each rule, the exponent of their growth from the second
largest to the largest size, the request of the rule at the largest, and the linear extrapolation of these two sizes to
ten times the largest) and draws WORK/growth.png, which is docs/images/growth.png.
"""

import json
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import yaml

from synthetic import recipe, write

mpl.use("agg")
REPO = Path(__file__).resolve().parents[1]
METRICS = [
    "isolated_labels",
    "kmeans_nmi",
    "kmeans_ari",
    "silhouette_label",
    "clisi",
    "bras",
    "ilisi",
    "graph_connectivity",
    "pcr_comparison",
]


def run(work: Path, n_cells: int) -> pd.DataFrame:
    """Return each rule's seconds and peak MB in a run with so many reference cells, and its requests of both."""
    if not (work / "results/provenance.json").exists():
        work.mkdir(parents=True, exist_ok=True)
        write(str(work / "reference.h5ad"), recipe(n_cells, 2000))
        write(str(work / "query.h5ad"), recipe(2000, 2000))
        (work / "reference.tsv").write_text("dataset\tpath\nsynthetic\treference.h5ad\n")
        (work / "queries.tsv").write_text("query\tpath\nquery\tquery.h5ad\n")
        epochs = {"train": {"max_epochs": 2}, "surgery": {"max_epochs": 2}}
        config = {
            "reference": "reference.tsv",
            "queries": "queries.tsv",
            "models": {"scvi": {"type": "scvi", **epochs}},
            "evaluation": {"folds": 0},
            "integration": {"metrics": METRICS},
        }
        config |= {"deliver": {"source": "knn", "model": "scvi"}, "umap": {"n_epochs": 50}}
        (work / "config.yaml").write_text(yaml.safe_dump(config))
        command = [
            sys.executable,
            "-m",
            "snakemake",
            "--snakefile",
            REPO / "Snakefile",
            "--configfile",
            "config.yaml",
            "--cores",
            "2",
        ]
        subprocess.run(list(map(str, command)), cwd=work, check=True)
    jobs = pd.DataFrame(json.loads((work / "results/provenance.json").read_text())["jobs"])
    asked = pd.DataFrame(jobs.pop("requested").tolist())
    return (
        jobs.assign(asked_seconds=asked["runtime"] * 60, asked_peak_mb=asked["mem_mb"])
        .groupby("rule")[["seconds", "peak_mb", "asked_seconds", "asked_peak_mb"]]
        .max()
    )


def exponents(values: pd.DataFrame) -> pd.Series:
    """Return the exponent of growth from the second largest to the largest size; columns are
    numbers of cells.
    """
    *_, before, last = values.columns
    return np.log(values[last] / values[before]) / np.log(last / before)


def ten_times(values: pd.DataFrame) -> pd.Series:
    """Return the linear extrapolation of the two largest sizes, the columns, to ten times the largest."""
    *_, before, last = values.columns
    return values[last] + (values[last] - values[before]).clip(lower=0) * 9 * last / (last - before)


def draw(tables: dict[str, pd.DataFrame], path: Path) -> None:
    """Draw time and memory against cells, the rules that need most."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(15, 5), constrained_layout=True)
    for axis, (what, values) in zip(axes, tables.items(), strict=True):
        for rule, row in values.sort_values(values.columns[-1], ascending=False).head(10).iterrows():
            axis.plot(values.columns, row, marker="o", label=rule)
        axis.set(xscale="log", yscale="log", xlabel="reference cells", ylabel=what)
        axis.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    figure.savefig(path, dpi=120)


def main() -> None:
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    work, sizes = Path(sys.argv[1]).resolve(), sorted(map(int, sys.argv[2:]))
    found = {n: run(work / str(n), n) for n in sizes}
    tables = {
        what: pd.DataFrame({n: table[column] for n, table in found.items()})
        for what, column in (("seconds", "seconds"), ("peak MB", "peak_mb"))
    }
    for (what, values), column in zip(tables.items(), ("asked_seconds", "asked_peak_mb"), strict=True):
        table = values.assign(
            exponent=exponents(values).round(2), asked=found[sizes[-1]][column], tenfold=ten_times(values)
        )
        print(f"\n{what}\n" + table.sort_values(sizes[-1], ascending=False).round(1).to_markdown())
    draw(tables, work / "growth.png")


if __name__ == "__main__":
    main()
