"""The measured quality of an atlas: figures of held-out cells, and nothing that was not measured."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from refatlas.evaluate.criticism import ALL
from refatlas.evaluate.tables import stack_tables
from refatlas.evaluate.transfer_summary import ALL_FOLDS, with_intervals
from refatlas.io.atomic import read_csv

# Labels with fewer cells, or a lower F1 in held-out batches, are named as weak.
FEW_CELLS, LOW_F1 = 20, 0.7
# Measures of posterior predictive checks in the model card, in words.
CRITICISM = {
    "cv_gene_correlation": "variation of genes: correlation of observed and replicated",
    "zero_fraction_error": "share of zeros of genes: mean error",
    "coverage_80": "counts inside 80 % predictive intervals",
    "fold_change_correlation": "fold changes between labels: correlation of observed and replicated",
    "reconstruction": "reconstruction loss of a cell, in nats",
    "kl": "KL divergence of a cell, in nats",
}
DELIVERED = {"model": "delivered", "source": "all sources"}


def cells_facts(cells: pd.DataFrame) -> dict[str, Any]:
    """Return numbers of kept cells of an atlas, by dataset, batch and label.

    Args:
        cells: those of all datasets, with the columns dataset, batch, label and keep.
    """
    kept = cells[cells["keep"].to_numpy()]
    columns = [column for column in ("dataset", "batch", "label") if column in kept]
    counts = {column: kept[column].dropna().astype(str).value_counts() for column in columns}
    return {"cells": len(kept)} | {
        f"cells_by_{column}": {k: int(v) for k, v in n.items()} for column, n in counts.items()
    }


def held_out_facts(scores: list[str], label_scores: list[str]) -> dict[str, Any]:
    """Return how well labels of held-out cells are known: of what is delivered, and of every source.

    Args:
        scores: paths of scores.csv of the folds. label_scores: of label_scores.csv.

    Returns:
        delivered: accuracy, macro_f1, each with low and high ends of its 95 % interval over batches, ece and
        n_batches; sources: accuracy and macro_f1 by "model source"; f1_by_label. Empty without folds.
    """
    if not scores:
        return {}
    table = with_intervals(stack_tables(scores))
    whole = table[(table["split"] == ALL_FOLDS["split"]) & (table["level"] == 1)]
    delivered = _rows(whole, DELIVERED)
    names = [
        "accuracy",
        "accuracy_low",
        "accuracy_high",
        "macro_f1",
        "macro_f1_low",
        "macro_f1_high",
        "ece",
        "n_batches",
    ]
    labels = stack_tables(label_scores)
    labels = _rows(labels[labels["level"] == 1], DELIVERED)
    labels = labels[labels["n_cells"] > 0]
    weighted = (labels["f1"] * labels["n_cells"]).groupby(labels["label"]).sum()
    return {
        "delivered": {name: _number(delivered[name].iloc[0]) for name in names} if len(delivered) else {},
        "sources": {
            f"{row.model} {row.source}": {"accuracy": _number(row.accuracy), "macro_f1": _number(row.macro_f1)}
            for row in whole.itertuples()
        },
        "f1_by_label": {
            str(label): _number(value) for label, value in (weighted / labels.groupby("label")["n_cells"].sum()).items()
        },
    }


def _rows(table: pd.DataFrame, wanted: Mapping[str, str]) -> pd.DataFrame:
    """Return the rows of a table with these values."""
    return table[np.logical_and.reduce([table[column] == value for column, value in wanted.items()])]


def _number(value: Any) -> float | None:
    return None if pd.isna(value) else round(float(value), 4)


def hidden_facts(scores: list[str]) -> dict[str, Any]:
    """Return how well cells of labels that were hidden in a fold are told from the others: AUROC by fold.

    Args:
        scores: paths of scores.csv of the folds.
    """
    if not scores:
        return {}
    table = stack_tables(scores)
    found = _rows(table[(table["level"] == 1) & (table["batch"] == "all")], DELIVERED).dropna(subset="auroc_unseen")
    return {str(row.split): _number(row.auroc_unseen) for row in found.itertuples()}


def integration_facts(path: str) -> dict[str, dict[str, float | None]]:
    """Return the integration scores of each model, by metric.

    Args:
        path: of integration.csv.
    """
    table = read_csv(path)
    return {
        str(model): {str(row.metric): _number(row.value) for row in part.itertuples()}
        for model, part in table.groupby("model", sort=False)
    }


def criticism_facts(path: str | Path | None) -> dict[str, Any]:
    """Return the posterior predictive checks of each model: of training cells, and their range over held-out batches.

    Args:
        path: of the evaluation's criticism.csv; None if no model was criticized.

    Returns:
        criticism: by model and measure, training, and held_out (lowest, highest and number of batches; None where no
        batch was held out). Empty without criticism.
    """
    if path is None:
        return {}
    table = read_csv(path)
    table = table[table["features"] == "rna"]
    return {"criticism": {str(model): _criticism_of(part) for model, part in table.groupby("model", sort=False)}}


def _criticism_of(table: pd.DataFrame) -> dict[str, Any]:
    trained = _rows(table[table["cells"].isin(["training", "reference"])], {"split": "reference", "batch": ALL}).iloc[0]
    held = table[(table["cells"] == "held-out") & (table["batch"] != ALL)]
    return {
        measure: {
            "training": _number(trained[measure]),
            "held_out": [_number(held[measure].min()), _number(held[measure].max()), int(held[measure].notna().sum())]
            if held[measure].notna().any()
            else None,
        }
        for measure in CRITICISM
    }


def weak_labels(facts: Mapping[str, Any]) -> dict[str, str]:
    """Return the labels that are known badly, or from few cells, and why.

    Args:
        facts: what `cells_facts` and `held_out_facts` found, together.
    """
    f1, cells, found = facts.get("f1_by_label", {}), facts.get("cells_by_label", {}), {}
    for label, n in cells.items():
        reasons = [f"{n} cells"] if n < FEW_CELLS else []
        if label not in f1 and f1:
            reasons.append("in no held-out batch, so not measured")
        elif f1.get(label) is not None and f1[label] < LOW_F1:
            reasons.append(f"F1 {f1[label]:.2f} in held-out batches")
        if reasons:
            found[label] = ", ".join(reasons)
    return found
