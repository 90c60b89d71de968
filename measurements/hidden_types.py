"""Prints how well novelty detects the cells of labels that were hidden from the matched baseline of each fold.

usage: .venv/bin/python measurements/hidden_types.py RUN [FOLD ...]
    RUN   folder of a finished run with several folds, such as that of real_runs.py kang
    FOLD  folds whose cells are judged (default: all)

What tells novel cells from others is learned on the other folds, without the hidden label. The columns: AUROC of each
measure, and of the novelty score on the scales of the batch and of the label; the shares of the hidden label's cells
and of all others that are novel.
"""

import sys
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.metrics import roc_auc_score

from refatlas.config.folds import HELD_OUT
from refatlas.evaluate.query_measures import without_unseen
from refatlas.transfer.novelty import SCALES, learn_novelty, novelty, novelty_scores

# deliver.novel by default.
NOVEL = 0.9


def known_cells(fold: Path) -> pd.DataFrame:
    """Return measures, given label and batch of a fold's held-out cells whose label is in its reference."""
    measures = pd.read_parquet(fold / HELD_OUT / "matched/measures.parquet")
    cells = pd.read_parquet(fold / HELD_OUT / "cells.parquet").loc[measures.index]
    seen = without_unseen(cells, str(fold / "counts.h5ad"))["keep"] & cells["label"].notna()
    return measures.assign(batch=fold.name + " " + cells["batch"].astype(str))[seen]


def scores(table: pd.DataFrame, learned: dict[str, Any]) -> dict[str, float]:
    """Return AUROC and shares of novel cells for one hidden label.

    Args:
        table: measures of the held-out cells of one fold, with unseen.
        learned: from `learn_novelty`.
    """
    unseen = table["unseen"].to_numpy(dtype=bool)
    columns = {name: table[name] for name in learned["measures"]}
    columns |= {f"novelty of {scale}": novelty_scores(table, learned, scale) for scale in SCALES}
    novel = novelty(table, learned)[["novelty", "novelty_in_label"]].min(axis=1).to_numpy() >= NOVEL
    found = {name: float(roc_auc_score(unseen, values)) for name, values in columns.items()}
    return found | {"hidden novel": novel[unseen].mean(), "others novel": novel[~unseen].mean()}


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    folds = {path.name: path for path in sorted(Path(sys.argv[1]).glob("results/evaluation/fold_*"))}
    known = {name: known_cells(path) for name, path in folds.items()}
    hidden = {
        name: pd.read_parquet(path / HELD_OUT / "hidden.parquet").assign(fold=name) for name, path in folds.items()
    }
    rows = []
    for fold in sys.argv[2:] or folds:
        others = [name for name in folds if name != fold]
        elsewhere = pd.concat([hidden[name] for name in others])
        for label, table in hidden[fold].groupby("hidden"):
            if not table["unseen"].any():
                continue
            learned = learn_novelty(
                pd.concat([known[name] for name in others]), elsewhere[elsewhere["hidden"] != label]
            )
            cells = int(table["unseen"].sum())
            rows.append({"fold": fold, "type": label, "cells": cells, **scores(table.reset_index(drop=True), learned)})
    table = pd.DataFrame(rows)
    means = table.drop(columns=["type", "cells"]).groupby("fold").mean()
    print(table.round(3).to_markdown(index=False))
    print(f"\n{means.round(3).to_markdown()}\n\nmean of all: {means.mean().round(3).to_dict()}")


if __name__ == "__main__":
    main()
