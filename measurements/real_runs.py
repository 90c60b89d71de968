"""Runs the workflow on real data, and prints scores, verdicts, and time and memory of each rule.

usage: .venv/bin/python measurements/real_runs.py CASE DATA WORK [EVERY]
    CASE   kang: eight donors of PBMC, six as reference (three folds, and each type hidden once), donors 1039 and 107
               as queries, and donor 107 damaged in several ways
           stim: control PBMC as reference (three folds of simulated batches, because it has a single batch),
               stimulated cells as query
    DATA   folder of kang_ctrl_8donors_1287g.h5ad, kang_ctrl_stim_1975c_6998g.h5ad and
           cepo_pancreas_528c_1403g_NOT_ALL_INTEGER.h5ad
    WORK   folder to work in; it must not exist
    EVERY  use every so many-th cell of the reference (default 1: all)
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import yaml

from refatlas.config.folds import HELD_OUT
from refatlas.evaluate.query_measures import measure
from refatlas.evaluate.verdict import assess, why_novelty_is_not_judged
from refatlas.io.cell_tables import read_cells
from refatlas.models.registry import BASELINE
from refatlas.transfer.delivery import Delivery, combine

REPO = Path(__file__).resolve().parents[1]

KANG = "kang_ctrl_8donors_1287g.h5ad"
TYPES = [
    "B cells",
    "CD14+ Monocytes",
    "CD4 T cells",
    "CD8 T cells",
    "Dendritic cells",
    "FCGR3A+ Monocytes",
    "Megakaryocytes",
    "NK cells",
]
CASES = {
    "kang": (KANG, {"donor1039": ["1039"], "donor107": ["107"]}, {"folds": 3, "hide": TYPES}, (50, 15, 50)),
    "stim": (
        "kang_ctrl_stim_1975c_6998g.h5ad",
        {"stimulated": ["stimulated"]},
        {"folds": 3, "hide": 3},
        (100, 20, 100),
    ),
}
# Rules of folds alone; others have "evaluation" in their wildcards.
FOLD_RULES = ("plan_fold", "hold_out", "hide_labels", "calibrate", "measure_held_out", "run_mapqc_held_out")
# deliver.novel by default.
NOVEL = 0.9
PANCREAS = "cepo_pancreas_528c_1403g_NOT_ALL_INTEGER.h5ad"


def models(scvi: int, scanvi: int, surgery: int) -> dict:
    """Return scvi, and scanvi that starts from it, with these epochs."""
    stages = {"surgery": {"max_epochs": surgery}}
    return {
        "scvi": {"type": "scvi", "train": {"max_epochs": scvi}, **stages},
        "scanvi": {"type": "scanvi", "init_from": "scvi", "train": {"max_epochs": scanvi}, **stages},
    }


def thinned(query: ad.AnnData, random: np.random.Generator) -> ad.AnnData:
    """Return a tenth of each cell's counts."""
    query = query.copy()
    query.X = query.X.tocsr()
    query.X.data = random.binomial(query.X.data.astype(np.int64), 0.1).astype(np.float32)
    query.X.eliminate_zeros()
    return query


def doublets(query: ad.AnnData, random: np.random.Generator, n: int = 500) -> ad.AnnData:
    """Return sums of two cells of different types."""
    labels, pairs = query.obs["cell_type"].astype(str).to_numpy(), random.integers(0, query.n_obs, (10 * n, 2))
    pairs = pairs[labels[pairs[:, 0]] != labels[pairs[:, 1]]][:n]
    x = query.X.tocsr()
    obs = pd.DataFrame({"batch": "107", "cell_type": "doublet"}, index=[f"doublet{i}" for i in range(len(pairs))])
    return ad.AnnData((x[pairs[:, 0]] + x[pairs[:, 1]]).tocsr(), obs=obs, var=query.var)


def damaged(query: ad.AnnData, pancreas: ad.AnnData, seed: int = 1) -> dict[str, ad.AnnData]:
    """Return queries that should not pass: one good query, damaged, and cells of another tissue."""
    random = np.random.default_rng(seed)
    shuffled = ad.AnnData(query.X, obs=query.obs, var=query.var.iloc[random.permutation(query.n_vars)])
    return {
        "half_of_genes": query[:, np.sort(random.permutation(query.n_vars)[: query.n_vars // 2])].copy(),
        "tenth_of_depth": thinned(query, random),
        "shuffled_genes": shuffled,
        "doublets": doublets(query, random),
        "pancreas": pancreas[(pancreas.obs["batch"] == "Baron_inDrop").to_numpy()].copy(),
    }


def prepare(case: str, data: Path, work: Path, damage: bool = True, every: int = 1) -> None:
    """Split the case's file by batch into reference and queries, and write sheets and
    configuration; with damaged queries, where the case has them.
    """
    work.mkdir(parents=True)
    name, queries, evaluation, epochs = CASES[case]
    cells = ad.read_h5ad(data / name)
    cells.obs["batch"] = cells.obs["batch"].astype(str)
    held = {b for batches in queries.values() for b in batches}
    cells[~cells.obs["batch"].isin(held).to_numpy()][::every].copy().write_h5ad(work / "reference.h5ad")
    parts = {query: cells[cells.obs["batch"].isin(batches).to_numpy()].copy() for query, batches in queries.items()}
    if case == "kang" and damage:
        parts |= damaged(parts["donor107"], ad.read_h5ad(data / PANCREAS))
    for query, part in parts.items():
        part.write_h5ad(work / f"{query}.h5ad")
    (work / "reference.tsv").write_text(f"dataset\tpath\n{case}\treference.h5ad\n")
    # Unstimulated donors are controls of each other, for mapQC.
    controls = {query: f"batch={batches[0]}" for query, batches in queries.items()} if case == "kang" else {}
    rows = [
        f"{query}\t{query}.h5ad\t{'cell_type' if query in queries else ''}\t{controls.get(query, '')}\n"
        for query in parts
    ]
    (work / "queries.tsv").write_text("query\tpath\tlabel_key\tcontrol\n" + "".join(rows))
    config = {
        "reference": "reference.tsv",
        "queries": "queries.tsv",
        "evaluation": evaluation,
        "query": {"min_gene_overlap": 0.2},
        "models": models(*epochs),
    }
    (work / "config.yaml").write_text(yaml.safe_dump(config))


def run(work: Path, *arguments: str) -> float:
    """Run the workflow; return the seconds it took."""
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--snakefile",
        REPO / "Snakefile",
        "--directory",
        work,
        "--configfile",
        work / "config.yaml",
        "--resources",
        "gpu=2",
        *arguments,
    ]
    # The memory in the benchmark files is that of jobs which are not forked.
    environment = os.environ | {"REFATLAS_FORK_JOBS": "0"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started = time.monotonic()
    subprocess.run(list(map(str, command)), check=True, env=environment, **quiet)
    return time.monotonic() - started


def rule_costs(work: Path) -> pd.DataFrame:
    """Return jobs, seconds and peak memory (MB) of each rule, for the atlas and for folds, from Snakemake's benchmark
    files.
    """
    rows = []
    for path in (work / "benchmarks").rglob("*.tsv"):
        rule, *names = path.relative_to(work / "benchmarks").with_suffix("").parts
        of_folds = rule in FOLD_RULES or "evaluation" in names[:1]
        rows.append(pd.read_csv(path, sep="\t").assign(rule=rule, of="folds" if of_folds else "atlas"))
    costs = (
        pd.concat(rows)
        .groupby(["of", "rule"])
        .agg(jobs=("s", "size"), seconds=("s", "sum"), longest=("s", "max"), peak_mb=("max_rss", "max"))
    )
    return costs.sort_values("seconds", ascending=False).round(1)


def verdicts(work: Path) -> pd.DataFrame:
    """Return each query's verdict, its estimated accuracy, and what is unusual about it."""
    found = [json.loads(path.read_text()) for path in sorted((work / "results/queries").glob("*/verdict.json"))]
    return pd.DataFrame({"query": verdict["query"], **described(verdict)} for verdict in found)


def described(verdict: dict[str, Any]) -> dict[str, Any]:
    """Return a row of what a verdict says."""
    estimate = verdict["estimated_accuracy"]
    return {
        "verdict": verdict["verdict"],
        "estimated accuracy": f"{estimate['value']:.2f} ({estimate['low']:.2f} to {estimate['high']:.2f})",
        "novel": verdict["novel"],
        "unusual": ", ".join(f"{reason['check']} {reason['value']}" for reason in verdict["reasons"]),
    }


def verdicts_on_hidden(work: Path) -> pd.DataFrame:
    """Return the verdict on the held-out cells of each fold that hides a type from its reference, as on a query.

    Limits are those of batches that the fold does not hold out, if there are such.
    """
    evaluation, rows = work / "results/evaluation", []
    learned = json.loads((evaluation / "calibration.json").read_text())
    folds = [json.loads(path.read_text()) for path in sorted(evaluation.glob(f"fold_*/{HELD_OUT}/measures.json"))]
    for fold in sorted(evaluation.glob("hide_*")):
        hidden = json.loads((fold / "fold.json").read_text())["hidden"]
        cells, delivery, measures = delivered_as_query(work, fold, learned)
        others = [
            {"batches": {name: b for name, b in usual["batches"].items() if name not in measures["batches"]}}
            for usual in folds
        ]
        limiting = others if any(usual["batches"] for usual in others) else folds
        found = assess(measures, limiting, delivery.facts()["accuracy"], why_novelty_is_not_judged(learned))
        unseen, right = cells["label"] == hidden, delivery.cells["label"] == cells["label"]
        shares = {
            "share": unseen.mean(),
            "hidden cells novel": delivery.cells["novel"][unseen].mean(),
            "others novel": delivery.cells["novel"][~unseen].mean(),
            "accuracy of the others": right[~unseen].mean(),
        }
        rows.append({"hidden": hidden, **{name: round(share, 3) for name, share in shares.items()}, **described(found)})
    return pd.DataFrame(rows)


def delivered_as_query(
    work: Path, fold: Path, learned: dict[str, Any]
) -> tuple[pd.DataFrame, Delivery, dict[str, Any]]:
    """Return a fold's held-out cells, their delivered labels, and their measures, as those of a query.

    Args:
        work: folder of the run.
        fold: folder of the fold.
        learned: calibration.json.
    """
    held_out, files = fold / HELD_OUT, ("labels.parquet", "fit.parquet", "mapping.json", "latent.parquet")
    models = {
        path.name: {name.split(".")[0]: str(path / name) for name in files}
        | {"reference_latent": str(fold / "models" / path.name / "latent.parquet")}
        for path in sorted((held_out / "models").iterdir())
    }
    matched = {
        name.split(".")[0]: str(held_out / "matched" / name)
        for name in ("labels.parquet", "measures.parquet", "agreement.json")
    }
    tables = sorted((work / "results/reference/datasets").glob("*/cells.parquet"))
    cells = pd.read_parquet(held_out / "cells.parquet")
    reference = read_cells(list(map(str, tables)), named=False)
    delivery, _ = combine(models, matched, cells, reference, learned, NOVEL, None)
    counts = [str(folder / "counts.h5ad") for folder in (held_out, fold)]
    baseline = str(fold / "models" / BASELINE / "model.pt")
    return cells, delivery, measure(*counts, cells, delivery.cells, models, baseline, seed=0)


def main() -> None:
    if len(sys.argv) not in (4, 5) or sys.argv[1] not in CASES:
        sys.exit(__doc__)
    case, data, work = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]).resolve()
    prepare(case, data, work, every=int(sys.argv[4]) if len(sys.argv) == 5 else 1)
    print(f"{case}: {run(work):.0f} s; again with nothing to do: {run(work):.1f} s\n")
    transfer = pd.read_csv(work / "results/evaluation/transfer.csv").query("level == 1")
    columns = [
        "split",
        "query",
        "model",
        "source",
        "n_cells",
        "accuracy",
        "macro_f1",
        "ece",
        "ece_calibrated",
        "aurc",
        "auroc_unseen",
        "fpr95_unseen",
        "coverage",
        "set_size",
    ]
    print(transfer[columns].round(3).to_markdown(index=False), "\n")
    print(verdicts(work).to_markdown(index=False), "\n")
    print(verdicts_on_hidden(work).to_markdown(index=False), "\n")
    costs = rule_costs(work)
    print(costs.to_markdown(), "\n")
    print(costs.groupby("of")["seconds"].sum().to_markdown())


if __name__ == "__main__":
    main()
