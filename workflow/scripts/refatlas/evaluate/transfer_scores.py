"""Scores of every source of labels on cells whose labels are known."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from refatlas.evaluate.label_scores import confusion, reliability, score_each_label, score_labels, score_unseen
from refatlas.io.cell_tables import SEPARATOR, label_column
from refatlas.transfer.hierarchy import coarser
from refatlas.transfer.label_table import names_of, pick, probabilities

KEY = ["split", "query", "model", "source", "level"]
SCORES = [
    "n_cells",
    "n_seen",
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
COLUMNS = {
    "scores": [*KEY, "batch", *SCORES],
    "label_scores": [*KEY, "label", "precision", "recall", "f1", "n_cells"],
    "confusion": [*KEY, "truth", "label", "n_cells"],
    "reliability": [*KEY, "from", "n_cells", "confidence", "accuracy"],
}


@dataclass
class Given:
    """The labels of one source at one level, indexed by cell.

    Attributes:
        table: label and confidence, and of the delivered labels set. calibrated: confidence after
            calibration, if there is one.
        doubt: what tells unseen types; 1 - confidence if None.
    """

    model: str
    source: str
    level: int
    table: pd.DataFrame
    calibrated: pd.Series | None = None
    doubt: pd.Series | None = None


def majority(cells: pd.Index, labels: pd.Series) -> pd.DataFrame:
    """Return the reference's most frequent label for every cell, with its share as confidence."""
    shares = labels.value_counts(normalize=True)
    return pd.DataFrame({"label": shares.index[0], "confidence": float(shares.iloc[0])}, index=cells)


def given_labels(
    tables: dict[str, pd.DataFrame],
    combined: pd.DataFrame,
    delivered: pd.DataFrame,
    parents: pd.DataFrame,
    training: pd.DataFrame,
) -> Iterator[Given]:
    """Yield the labels of each source and level: the models', the delivered ones, and the majority.

    Args:
        tables: labels.parquet of each model. training: cells that the reference was trained on.
    """
    known = set(combined["source"])
    for model, table in tables.items():
        names = names_of(table)
        for source in table["source"].unique():
            found, shares = pick(table, source), probabilities(table, source, names)
            calibrated = pick(combined, f"{model}:{source}")["confidence"] if f"{model}:{source}" in known else None
            yield Given(model, source, 1, found, calibrated)
            for level, column in enumerate(parents, start=2):
                yield Given(model, source, level, without_gaps(coarser(shares, found["label"], parents[column])))
    doubt = delivered["novelty"] if delivered["novelty"].notna().all() else None
    for level in range(1, parents.shape[1] + 2):
        columns = [label_column(level), label_column(level).replace("label", "confidence")]
        table = delivered[columns].set_axis(["label", "confidence"], axis=1)
        if level == 1:
            yield Given("delivered", "all sources", level, table.assign(set=delivered["set"]), doubt=doubt)
        else:
            yield Given("delivered", "all sources", level, without_gaps(table))
        labels = training[label_column(level)].dropna()
        if len(labels):
            yield Given("majority", "majority", level, majority(delivered.index, labels))


def without_gaps(table: pd.DataFrame) -> pd.DataFrame:
    """Return labels with "", which is never a true one, where a label has no coarser parent."""
    return table.assign(label=table["label"].fillna(""), confidence=table["confidence"].fillna(0.0))


def score_one(given: Given, truth: pd.Series, known: set[str]) -> dict:
    """Return the scores of one source on some cells."""
    table = given.table.loc[truth.index]
    scores = score_labels(truth, table["label"], table["confidence"], known)
    seen = truth.isin(known)
    if given.calibrated is not None:
        scores["ece_calibrated"] = score_labels(truth, table["label"], given.calibrated.loc[truth.index], known)["ece"]
    if given.doubt is not None:
        scores |= score_unseen(~seen.to_numpy(), given.doubt.loc[truth.index].to_numpy())
    if "set" in table and (table["set"] != "").all() and seen.any():
        sets = table.loc[seen, "set"].str.split(SEPARATOR, regex=False)
        scores["coverage"] = float(
            np.mean([label in members for label, members in zip(truth[seen], sets, strict=True)])
        )
        scores["set_size"] = float(sets.map(len).mean())
    return scores


def detection_rows(key: dict, strange: dict[str, pd.DataFrame], truth: pd.Series, known: set[str]) -> list[dict]:
    """Return how well each model's distance, deviance_ratio and divergence tell cells of unseen
    labels; no rows if there are none.
    """
    unseen = ~truth.isin(known).to_numpy()
    if not unseen.any() or unseen.all():
        return []
    rows = []
    for model, table in strange.items():
        for name, values in table.items():
            rows.append(
                {
                    **key,
                    "model": model,
                    "source": name,
                    "level": 1,
                    "batch": "all",
                    "n_cells": len(truth),
                    "n_seen": int((~unseen).sum()),
                    **score_unseen(unseen, values.loc[truth.index].to_numpy()),
                }
            )
    return rows


def score_sources(
    key: dict, cells: pd.DataFrame, sources: Iterator[Given], training: pd.DataFrame, strange: dict[str, pd.DataFrame]
) -> dict[str, pd.DataFrame]:
    """Return the tables of one query.

    Args:
        key: split and query. cells: of the query, with known labels. training: cells that the
            reference was trained on. strange: such measures by model.
    """
    rows = {name: [] for name in COLUMNS}
    for given in sources:
        column = label_column(given.level)
        if column not in cells or cells[column].isna().all():
            continue
        truth, known = cells[column].dropna().astype(str), set(training[column].dropna())
        at = {**key, "model": given.model, "source": given.source, "level": given.level}
        parts = {"all": truth, **dict(list(truth.groupby(cells.loc[truth.index, "batch"].astype(str))))}
        rows["scores"] += [{**at, "batch": batch, **score_one(given, part, known)} for batch, part in parts.items()]
        table = given.table.loc[truth.index]
        seen = truth.isin(known).to_numpy()
        confidence = (table["confidence"] if given.calibrated is None else given.calibrated.loc[truth.index])[seen]
        right = (truth == table["label"])[seen].astype(float)
        rows["label_scores"] += score_each_label(truth, table["label"]).assign(**at).to_dict("records")
        rows["confusion"] += confusion(truth, table["label"]).assign(**at).to_dict("records")
        rows["reliability"] += (
            reliability(right.to_numpy(), confidence.to_numpy()).assign(**at).to_dict("records") if seen.any() else []
        )
    if "label" in cells and cells["label"].notna().any():
        rows["scores"] += detection_rows(
            key, strange, cells["label"].dropna().astype(str), set(training["label"].dropna())
        )
    return {name: pd.DataFrame(found, columns=COLUMNS[name]) for name, found in rows.items()}
