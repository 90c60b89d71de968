"""Hides one cell type at a time from the reference of each fold, and prints how well the measures of the baseline
detect its cells among the held-out ones.

usage: .venv/bin/python measurements/hidden_types.py RUN [FOLD ...]
    RUN   folder of a finished run with several folds, such as that of real_runs.py kang
    FOLD  folds to hide types from (default: all)

Principal components are fitted to the fold's reference without the type; nothing else is trained. Measures become
percentiles among the held-out cells of the other folds. The columns, as AUROC: the single measures; cell_score, the
mean normal score of outlier factor and deviance ratio, smoothed over the nearest cells; novelty, the mean normal score
of cell_score and the neighbourhood expression shift.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from refatlas.io.model_counts import read_counts
from refatlas.models.interface import JobContext
from refatlas.models.linear import Linear
from refatlas.transfer.label_table import draw_evenly
from refatlas.transfer.model_fit import deviance_ratio
from refatlas.transfer.neighborhood_shift import MIN_CELLS, shift_from_reference
from refatlas.transfer.novelty import GRID, mean_normal_score, smooth
from refatlas.transfer.weighted_knn import outlier_factors

SETTINGS = {"model": {"n_latent": 30, "C": 0.1, "max_cells": 50_000}}
SINGLE = ["outlier factor", "deviance_ratio"]
COLUMNS = [*SINGLE, "cell_score", "neighborhood_shift", "novelty"]


def measures(reference, query) -> pd.DataFrame:
    """Return each held-out cell's measures by the baseline, its batch and its position in the latent space.

    Cells of batches that are too small for neighbourhoods are left out.
    """
    model = Linear.fit(reference, SETTINGS, JobContext())
    reference_latent, latent = model.latent(reference), model.latent(query)
    drawn = draw_evenly(np.unique(reference.obs["label"].astype(str), return_inverse=True)[1], 20_000, 100, 0)
    found = pd.DataFrame(
        {
            "outlier factor": outlier_factors(reference_latent[drawn], latent),
            "deviance_ratio": deviance_ratio(model, query, 0),
        },
        index=query.obs_names,
    )
    found["neighborhood_shift"] = shift_from_reference(model, reference, query, latent, 0)
    found["batch"], found["position"] = query.obs["batch"].astype(str).to_numpy(), list(latent)
    return found[found.groupby("batch")["batch"].transform("size") >= MIN_CELLS]


def quantiles(table: pd.DataFrame, names: list[str]) -> dict[str, list[float]]:
    """Return quantiles of some columns, as in calibration.json."""
    return {name: np.quantile(table[name], GRID).tolist() for name in names}


def with_cell_score(table: pd.DataFrame, usual: dict[str, list[float]]) -> pd.DataFrame:
    """Return the table with the column cell_score, smoothed within each batch."""
    table = table.assign(cell_score=mean_normal_score(table, usual))
    for _, cells in table.groupby("batch"):
        table.loc[cells.index, "cell_score"] = smooth(cells["cell_score"].to_numpy(), np.stack(cells["position"]))
    return table


def scores(found: pd.DataFrame, others: list[pd.DataFrame], unseen: np.ndarray) -> dict[str, float]:
    """Return the AUROC of each measure for the unseen cells."""
    usual = quantiles(pd.concat(others), SINGLE)
    found, others = with_cell_score(found, usual), pd.concat([with_cell_score(other, usual) for other in others])
    found["novelty"] = mean_normal_score(found, quantiles(others, ["cell_score", "neighborhood_shift"]))
    return {name: roc_auc_score(unseen, found[name]) for name in COLUMNS}


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    results = Path(sys.argv[1]) / "results/evaluation"
    folds = sorted(path.name for path in results.glob("fold_*"))
    counts = {
        fold: [read_counts(str(results / fold / file)) for file in ("counts.h5ad", "heldout/counts.h5ad")]
        for fold in folds
    }
    all_types, rows = {fold: measures(*counts[fold]) for fold in folds}, []
    for fold in sys.argv[2:] or folds:
        truth = pd.read_parquet(results / fold / "heldout/cells.parquet")["label"]
        reference, query = counts[fold]
        for label in sorted(reference.obs["label"].dropna().unique()):
            found = measures(reference[(reference.obs["label"] != label).to_numpy()].copy(), query)
            unseen = (truth.loc[found.index] == label).to_numpy()
            rows.append(
                {
                    "fold": fold,
                    "type": label,
                    "cells": unseen.sum(),
                    **scores(found, [all_types[other] for other in folds if other != fold], unseen),
                }
            )
    table = pd.DataFrame(rows)
    print(table.round(3).to_markdown(index=False))
    print(
        f"\n{table.drop(columns=['type', 'cells']).groupby('fold').mean().round(3).to_markdown()}\n\nmean of all:"
        f" {table[COLUMNS].mean().round(3).to_dict()}"
    )


if __name__ == "__main__":
    main()
