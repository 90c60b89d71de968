"""Trains every model type on the same reference, maps the same queries, and prints one table of time, label scores and
scib scores.

usage: .venv/bin/python measurements/model_types.py CASE DATA WORK [EVERY [TYPE ...]]
    CASE   kang: six of eight donors of PBMC as reference, donors 1039 and 107 as queries
           stim: control PBMC as reference, stimulated cells as query
    DATA   folder of kang_ctrl_8donors_1287g.h5ad and kang_ctrl_stim_1975c_6998g.h5ad
    WORK   folder to work in; it must not exist
    EVERY  use every so many-th cell of the reference, to save time (default 1: all)
    TYPE   only these types, trained and mapped with the default number of epochs
"""

import sys
from pathlib import Path

import pandas as pd
import yaml

from real_runs import CASES, prepare, run

GMT = "c2.cp.reactome.v7.5.1.symbols.gmt"


def models(case: str, data: Path) -> dict:
    """Return every type that needs no proteins, with the epochs of scvi in the case; those of scpoli before its
    prototypes are as many as those of the scvi that scanvi starts from.
    """
    scvi, scanvi, surgery = CASES[case][3]
    ends = {"surgery": {"max_epochs": surgery}}
    return {
        "scvi": {"type": "scvi", "train": {"max_epochs": scvi}, **ends},
        "scanvi": {"type": "scanvi", "init_from": "scvi", "train": {"max_epochs": scanvi}, **ends},
        "scpoli": {"type": "scpoli", "pretrain": {"max_epochs": scvi}, "train": {"max_epochs": scanvi}, **ends},
        "trvae": {"type": "trvae", "train": {"max_epochs": scvi}, **ends},
        "expimap": {"type": "expimap", "model": {"gmt": str(data / GMT)}, "train": {"max_epochs": scvi}, **ends},
    }


def seconds(work: Path, rule: str, model: str) -> float:
    """Return the sum of a rule's jobs for one model, imports included."""
    folder = work / "benchmarks" / rule
    files = [*folder.glob(f"reference/{model}.tsv"), *folder.glob(f"queries/*/{model}.tsv")]
    return sum(pd.read_csv(path, sep="\t")["s"].sum() for path in files)


def table(work: Path) -> pd.DataFrame:
    """Return a row for each model and source of labels: times, scores over all queries by their
    cells, and scib's summary scores.
    """
    transfer = pd.read_csv(work / "results/evaluation/transfer.csv").query(
        "split == 'atlas' and level == 1 and model != 'delivered'"
        " and source not in ['distance', 'deviance_ratio', 'neighborhood_shift']"
    )
    scib = (
        pd.read_csv(work / "results/evaluation/integration.csv")
        .pivot_table(index="model", columns="metric", values="value")
        .reindex(columns=["bio", "batch", "total"])
    )
    rows = []
    for (model, source), part in transfer.groupby(["model", "source"], sort=False):
        scores = {
            name: (part[name] * part["n_seen"]).sum() / part["n_seen"].sum() for name in ("accuracy", "macro_f1", "ece")
        }
        summary = scib.loc[model].to_dict() if model in scib.index else {}
        rows.append(
            {
                "model": model,
                "source": source,
                "training s": seconds(work, "train_reference", model),
                "surgery s": seconds(work, "map_query", model),
                **scores,
                **summary,
            }
        )
    return pd.DataFrame(rows)


def main() -> None:
    if len(sys.argv) < 4 or sys.argv[1] not in CASES:
        sys.exit(__doc__)
    case, data, work = sys.argv[1], Path(sys.argv[2]).resolve(), Path(sys.argv[3]).resolve()
    every, types = int((sys.argv[4:5] or ["1"])[0]), sys.argv[5:]
    prepare(case, data, work, damage=False, every=every)
    config = yaml.safe_load((work / "config.yaml").read_text())
    asked = {
        name: {key: value for key, value in models(case, data)[name].items() if key in ("type", "model")}
        for name in types
    } or models(case, data)
    config |= {
        "models": asked,
        "evaluation": {"folds": 0},
        "tree": {"models": [name for name in ("scvi", "linear") if name in (*asked, "linear")], "by": "batch"},
    }
    config["integration"] = {"max_cells": 2000}
    (work / "config.yaml").write_text(yaml.safe_dump(config))
    print(f"{case}: {run(work):.0f} s\n")
    print(table(work).round(3).to_markdown(index=False))


if __name__ == "__main__":
    main()
