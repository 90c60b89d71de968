"""Scores of all models on the held-out cells that models of paired T-cell receptors can place."""

from collections.abc import Mapping

import pandas as pd
from sklearn.metrics import accuracy_score, f1_score

from refatlas.transfer.external_labels import EXTERNAL
from refatlas.transfer.label_table import pick

ALL = "all folds"


def score_pairs(
    cells: Mapping[str, str], labels: Mapping[str, Mapping[str, str]], partial: Mapping[str, Mapping[str, str]]
) -> pd.DataFrame:
    """Return accuracy and macro-F1 of each source on the held-out cells with a known label and a place.

    A cell has a place if every model of pairs gives it a label. Labels of the reference that a fold's reference lacks
    count as wrong. The last rows are over all folds together.

    Args:
        cells: path of the held-out cells with their labels, by fold.
        labels: path of labels.parquet by fold and model. partial: of the models of pairs.
    """
    rows, parts = [], []
    for fold, path in cells.items():
        truth = pd.read_parquet(path)["label"].dropna()
        tables = {name: pd.read_parquet(file) for name, file in {**labels[fold], **partial[fold]}.items()}
        found = {
            (name, "knn" if source == EXTERNAL else source): pick(table, source)["label"]
            for name, table in tables.items()
            for source in table["source"].unique()
        }
        placed = pd.concat([found[name, "knn"] for name in partial[fold]], axis=1).notna().all(axis=1)
        own = truth[placed.reindex(truth.index, fill_value=False)]
        parts.append((own, {key: label.loc[own.index] for key, label in found.items()}))
        rows += _rows(fold, len(truth), *parts[-1])
    n_cells = sum(row["n_cells"] for row in {row["fold"]: row for row in rows}.values())
    joined = {key: pd.concat([found[key] for _, found in parts]) for key in parts[0][1]} if parts else {}
    truth = pd.concat([own for own, _ in parts]) if parts else pd.Series(dtype=object)
    rows += _rows(ALL, n_cells, truth, joined)
    return pd.DataFrame(rows, columns=["fold", "model", "source", "n_cells", "n_paired", "accuracy", "macro_f1"])


def _rows(fold: str, n_cells: int, truth: pd.Series, found: Mapping[tuple[str, str], pd.Series]) -> list[dict]:
    if truth.empty:
        return []
    return [
        {
            "fold": fold,
            "model": model,
            "source": source,
            "n_cells": n_cells,
            "n_paired": len(truth),
            "accuracy": float(accuracy_score(truth, labels)),
            "macro_f1": float(f1_score(truth, labels, labels=sorted(truth.unique()), average="macro", zero_division=0)),
        }
        for (model, source), labels in found.items()
    ]
