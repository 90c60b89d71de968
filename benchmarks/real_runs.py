"""Runs the workflow on real data with default settings, and prints scores, and time and memory of each rule.

usage: .venv/bin/python benchmarks/real_runs.py CASE DATA WORK
    CASE   kang: eight donors of PBMC, six as reference, donors 1039 and 107 as queries
           stim: control PBMC as reference, stimulated as query
    DATA   folder of kang_ctrl_8donors_1287g.h5ad and kang_ctrl_stim_1975c_6998g.h5ad
    WORK   folder to work in; it must not exist
"""

import subprocess
import sys
import time
from pathlib import Path

import anndata as ad
import pandas as pd
import yaml

REPO = Path(__file__).resolve().parents[1]
CASES = {
    "kang": ("kang_ctrl_8donors_1287g.h5ad", {"donor1039": ["1039"], "donor107": ["107"]}),
    "stim": ("kang_ctrl_stim_1975c_6998g.h5ad", {"stimulated": ["stimulated"]}),
}


def prepare(case: str, data: Path, work: Path) -> None:
    """Split the case's file by batch into reference and queries, and write sheets and configuration."""
    work.mkdir(parents=True)
    name, queries = CASES[case]
    cells = ad.read_h5ad(data / name)
    batch = cells.obs["batch"].astype(str)
    held = {b for batches in queries.values() for b in batches}
    parts = {"reference": ~batch.isin(held)} | {query: batch.isin(batches) for query, batches in queries.items()}
    for part, wanted in parts.items():
        cells[wanted.to_numpy()].copy().write_h5ad(work / f"{part}.h5ad")
    (work / "reference.tsv").write_text(f"dataset\tpath\n{case}\treference.h5ad\n")
    (work / "queries.tsv").write_text("query\tpath\tlabel_key\n" + "".join(f"{query}\t{query}.h5ad\tcell_type\n" for query in queries))
    (work / "config.yaml").write_text(yaml.safe_dump({"reference": "reference.tsv", "queries": "queries.tsv"}))


def run(work: Path, *arguments: str) -> float:
    """Run the workflow; return the seconds it took."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", REPO / "Snakefile", "--directory", work, "--configfile", work / "config.yaml", *arguments]
    started = time.monotonic()
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.monotonic() - started


def rule_costs(work: Path) -> pd.DataFrame:
    """Return jobs, seconds and peak memory (MB) of each rule, from Snakemake's benchmark files."""
    rows = [pd.read_csv(path, sep="\t").assign(rule=path.relative_to(work / "benchmarks").parts[0].removesuffix(".tsv")) for path in (work / "benchmarks").rglob("*.tsv")]
    table = pd.concat(rows)
    return table.groupby("rule").agg(jobs=("s", "size"), seconds=("s", "sum"), longest=("s", "max"), peak_mb=("max_rss", "max")).sort_values("seconds", ascending=False).round(1)


def main() -> None:
    if len(sys.argv) != 4 or sys.argv[1] not in CASES:
        sys.exit(__doc__)
    case, data, work = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]).resolve()
    prepare(case, data, work)
    print(f"{case}: {run(work):.0f} s; again with nothing to do: {run(work):.1f} s\n")
    print(pd.read_csv(work / "results/evaluation/transfer.csv").round(3).to_markdown(index=False), "\n")
    integration = pd.read_csv(work / "results/evaluation/integration.csv")
    print(integration.pivot(index="model", columns="metric", values="value").round(3).to_markdown(), "\n")
    print(rule_costs(work).to_markdown())


if __name__ == "__main__":
    main()
