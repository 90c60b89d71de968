"""The order of models in their comparison, and what each of them is best at."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from refatlas.errors import listed
from refatlas.models.registry import BASELINE

TOTALS = ("bio", "batch", "total")
# Metrics of batch mixing that need no labels.
MIXING = ("ilisi", "pcr_comparison", "kbet")


def _mixing(table: pd.DataFrame) -> pd.Series:
    """Return each model's batch score, or minus its mean rank by the metrics that need no labels, if a model has none.

    Not their mean: centring each batch makes pcr_comparison 1, which would outweigh the others.
    """
    if table["batch"].notna().all():
        return table["batch"].astype(float)
    known = table[list(MIXING)].astype(float).dropna(axis="columns", how="all")
    return -known.rank(ascending=False).mean(axis=1, skipna=False)


def mean_ranks(table: pd.DataFrame) -> pd.Series:
    """Return the mean of each model's ranks by held-out macro-F1, integration score and stability; 1 is the best.

    A score that a model lacks does not count for any. NaN if none is left.

    Args:
        table: one row per model, with COLUMNS.
    """
    integration = table["total"] if table["total"].notna().all() else _mixing(table)
    scores = pd.DataFrame({"macro_f1": table["macro_f1"], "integration": integration, "stability": table["stability"]})
    return scores.astype(float).dropna(axis="columns").rank(ascending=False).mean(axis=1)


def remarks(table: pd.DataFrame, settings: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return what each model is best at, what it loses, and what its costs leave out.

    Args:
        table: one row per model, with COLUMNS but remarks.
        settings: of each model.
    """
    found: dict[str, list[str]] = {name: [] for name in table["model"]}
    scores = table.set_index("model")
    for text, values, column in (
        ("best held-out labels", scores["macro_f1"], "macro_f1"),
        ("best integration score", scores["total"], None),
        ("best batch mixing", _mixing(scores), None),
        ("most stable clusters", scores["stability"], "stability"),
        ("batches agree most", scores["batch_agreement"], None),
        ("fastest", -_full_seconds(scores, settings), None),
    ):
        for name in _best(values.astype(float)):
            found[name].append(text + _rivals(scores, name, column))
    for name, row in scores.iterrows():
        found[str(name)] += _losses(row) + _notes(str(name), settings[str(name)])
    return ["; ".join(texts) for texts in found.values()]


def _best(values: pd.Series) -> list[str]:
    """Return the names with the highest value; none if a value is missing, or if all are equal."""
    if len(values) < 2 or values.isna().any() or values.min() == values.max():
        return []
    return list(values.index[values == values.max()])


def _rivals(scores: pd.DataFrame, name: str, column: str | None) -> str:
    """Return the other models whose interval holds the best one's score, as the end of a remark."""
    if column is None:
        return ""
    value, others = scores.loc[name, column], scores.drop(index=name)
    within = (others[f"{column}_low"] <= value) & (value <= others[f"{column}_high"])
    return f" (not clearly: {listed(others.index[within])})" if within.any() else ""


def _full_seconds(scores: pd.DataFrame, settings: Mapping[str, Mapping[str, Any]]) -> pd.Series:
    """Return the time of each model's training, with that of the model that it starts from.

    Without the baseline, which is always the fastest, and without models that were trained elsewhere.
    """
    seconds = scores["train_seconds"].astype(float)
    trained = [name for name in scores.index if name != BASELINE and not settings[name].get("pretrained")]
    bases = [settings[name].get("init_from") for name in trained]
    own_and_base = [
        seconds[name] + (seconds.get(base, float("nan")) if base else 0)
        for name, base in zip(trained, bases, strict=True)
    ]
    return pd.Series(own_and_base, trained, dtype=float)


def _losses(row: pd.Series) -> list[str]:
    texts = []
    if row["n_only_clusters"] > 0:
        number = int(row["n_only_clusters"])
        texts.append(f"{number} cluster{'s' * (number > 1)} ({int(row['only_cells']):,} cells) in no other model")
    if row["n_lost_labels"] > 0:
        texts.append(f"loses {row['lost_labels']}")
    return texts


def _notes(name: str, settings: Mapping[str, Any]) -> list[str]:
    notes = ["PCA without integration"] if name == BASELINE else []
    if settings.get("init_from"):
        notes.append(f"starts from {settings['init_from']}, whose time and epochs are not counted here")
    return notes + ["trained elsewhere"] * bool(settings.get("pretrained"))
