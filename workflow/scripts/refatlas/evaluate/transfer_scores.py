"""Scores of every source of labels on cells whose labels are known."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from refatlas.evaluate.label_scores import confusion, reliability, score_each_label, score_labels, score_unseen
from refatlas.io.cell_tables import label_column
from refatlas.transfer.evidence import MATCHED, MatchedFiles, ModelFiles
from refatlas.transfer.hierarchy import coarser, hierarchy
from refatlas.transfer.label_table import labels_of_table, pick, probabilities
from refatlas.transfer.prediction_sets import set_sizes

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
class SourceLabels:
    """The labels of one source at one level, indexed by cell.

    Attributes:
        model: name of the model.
        source: name of the source.
        level: 1 for the finest labels.
        table: label and confidence; of the delivered labels also set.
        calibrated: confidence after calibration, if there is one.
        novelty: score that should be higher for cells of unseen labels; None for 1 - confidence.
    """

    model: str
    source: str
    level: int
    table: pd.DataFrame
    calibrated: pd.Series | None = None
    novelty: pd.Series | None = None


def score_transfer(
    split: str,
    query: str,
    models: ModelFiles,
    matched: MatchedFiles,
    cells: pd.DataFrame,
    sources: pd.DataFrame,
    delivered: pd.DataFrame,
    reference: pd.DataFrame,
    external: Mapping[str, str] | None = None,
) -> dict[str, pd.DataFrame]:
    """Return the scores of all sources of labels of one query.

    Args:
        split: name of the split, for the tables.
        query: name of the query, for the tables.
        models: of each model, paths of labels.parquet ("labels"), distance.parquet ("distance") and
            fit.parquet ("fit").
        matched: paths of the matched baseline's labels and measures.
        cells: the query's cells.parquet with its known labels.
        sources: its sources.parquet.
        delivered: its delivered.parquet.
        reference: the reference's cells with label columns; `keep` is true for those that the
            models were trained on.
        external: of each source of labels made elsewhere, path of labels.parquet. Where such a label is missing, it
            counts as wrong, with confidence 0.

    Returns:
        Tables by name: scores (one row per model, source, level and batch), label_scores (one row
        per true label), confusion and reliability. They have no rows if no label is known.
    """
    training = reference[reference["keep"]]
    tables = {model: pd.read_parquet(files["labels"]) for model, files in models.items()}
    tables |= {name: pd.read_parquet(path) for name, path in (external or {}).items()}
    tables[MATCHED] = pd.read_parquet(matched["labels"])
    measures = {
        model: pd.concat([pd.read_parquet(files[kind]) for kind in ("distance", "fit")], axis=1)
        for model, files in models.items()
    }
    measures[MATCHED] = pd.read_parquet(matched["measures"]).drop(columns=["given", "kept"], errors="ignore")
    labels = source_labels(tables, sources, delivered, hierarchy(reference), training)
    return score_sources({"split": split, "query": query}, cells, labels, training, measures)


def majority(cells: pd.Index, labels: pd.Series) -> pd.DataFrame:
    """Return the reference's most frequent label for every cell, with its share as confidence."""
    shares = labels.value_counts(normalize=True)
    return pd.DataFrame({"label": shares.index[0], "confidence": float(shares.iloc[0])}, index=cells)


def source_labels(
    tables: Mapping[str, pd.DataFrame],
    sources: pd.DataFrame,
    delivered: pd.DataFrame,
    parents: pd.DataFrame,
    training: pd.DataFrame,
) -> Iterator[SourceLabels]:
    """Yield the labels of each source and level: the models', the delivered ones, and the majority.

    Args:
        tables: labels.parquet of each model.
        sources: sources.parquet, with calibrated confidences.
        delivered: delivered.parquet.
        parents: coarser labels of each label, from `hierarchy`.
        training: cells that the models were trained on.
    """
    for model, table in tables.items():
        yield from _labels_of_model(model, table, sources, parents)
    novelty = delivered["novelty"] if delivered["novelty"].notna().all() else None
    for level in range(1, parents.shape[1] + 2):
        columns = [label_column(level), label_column(level).replace("label", "confidence")]
        table = delivered[columns].set_axis(["label", "confidence"], axis=1)
        if level == 1:
            yield SourceLabels("delivered", "all sources", level, table.assign(set=delivered["set"]), novelty=novelty)
        else:
            yield SourceLabels("delivered", "all sources", level, without_gaps(table))
        labels = training[label_column(level)].dropna()
        if len(labels):
            yield SourceLabels("majority", "majority", level, majority(delivered.index, labels))


def _labels_of_model(
    model: str, table: pd.DataFrame, sources: pd.DataFrame, parents: pd.DataFrame
) -> Iterator[SourceLabels]:
    names, calibrated_sources = labels_of_table(table), set(sources["source"])
    for source in table["source"].unique():
        found, shares, name = pick(table, source), probabilities(table, source, names), f"{model}:{source}"
        calibrated = pick(sources, name)["confidence"].fillna(0.0) if name in calibrated_sources else None
        yield SourceLabels(model, source, 1, without_gaps(found), calibrated)
        for level, column in enumerate(parents, start=2):
            yield SourceLabels(model, source, level, without_gaps(coarser(shares, parents[column])))


def without_gaps(table: pd.DataFrame) -> pd.DataFrame:
    """Return labels with "", which is never a true label, where a label is missing or has no coarser parent."""
    return table.assign(label=table["label"].fillna(""), confidence=table["confidence"].fillna(0.0))


def score_one(labels: SourceLabels, truth: pd.Series, known: set[str]) -> dict[str, Any]:
    """Return the scores of one source on some cells.

    Args:
        labels: of the source.
        truth: true labels of the cells, none missing.
        known: labels of the reference.
    """
    table = labels.table.loc[truth.index]
    scores = score_labels(truth, table["label"], table["confidence"], known)
    seen = truth.isin(known)
    if labels.calibrated is not None:
        calibrated = labels.calibrated.loc[truth.index]
        scores["ece_calibrated"] = score_labels(truth, table["label"], calibrated, known)["ece"]
    if labels.novelty is not None:
        scores |= score_unseen(~seen.to_numpy(), labels.novelty.loc[truth.index].to_numpy())
    if "set" in table and seen.any() and (set_sizes(table["set"]) > 0).all():
        sets = table.loc[seen, "set"]
        covered = [label in members for label, members in zip(truth[seen], sets, strict=True)]
        scores["coverage"], scores["set_size"] = float(np.mean(covered)), float(set_sizes(sets).mean())
    return scores


def detection_rows(
    key: Mapping[str, str], measures: Mapping[str, pd.DataFrame], truth: pd.Series, known: set[str]
) -> list[dict[str, Any]]:
    """Return how well each novelty measure of each model detects cells of unseen labels.

    The measures are distance and deviance_ratio of each model, and those of `novelty_measures`. There
    are no rows if all cells or none are of unseen labels.
    """
    unseen = ~truth.isin(known).to_numpy()
    if not unseen.any() or unseen.all():
        return []
    same = {"level": 1, "batch": "all", "n_cells": len(truth), "n_seen": int((~unseen).sum())}
    return [
        {**key, "model": model, "source": name, **same, **score_unseen(unseen, values.loc[truth.index].to_numpy())}
        for model, table in measures.items()
        for name, values in table.items()
    ]


def score_sources(
    key: Mapping[str, str],
    cells: pd.DataFrame,
    sources: Iterable[SourceLabels],
    training: pd.DataFrame,
    measures: Mapping[str, pd.DataFrame],
) -> dict[str, pd.DataFrame]:
    """Return the tables of scores of one query, by name (see `score_transfer`).

    Args:
        key: values of the columns split and query.
        cells: of the query, with known labels.
        sources: labels of each source.
        training: cells that the models were trained on.
        measures: novelty measures of each model, one column per measure.
    """
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in COLUMNS}
    for labels in sources:
        column = label_column(labels.level)
        if column not in cells or cells[column].isna().all():
            continue
        truth, known = cells[column].dropna().astype(str), set(training[column].dropna())
        at = {**key, "model": labels.model, "source": labels.source, "level": labels.level}
        parts = {"all": truth, **dict(list(truth.groupby(cells.loc[truth.index, "batch"].astype(str))))}
        rows["scores"] += [{**at, "batch": batch, **score_one(labels, part, known)} for batch, part in parts.items()]
        given = labels.table["label"].loc[truth.index]
        rows["label_scores"] += score_each_label(truth, given).assign(**at).to_dict("records")
        rows["confusion"] += confusion(truth, given).assign(**at).to_dict("records")
        rows["reliability"] += _reliability_rows(labels, truth, known, at)
    if "label" in cells and cells["label"].notna().any():
        truth, known = cells["label"].dropna().astype(str), set(training["label"].dropna())
        rows["scores"] += detection_rows(key, measures, truth, known)
    return {name: pd.DataFrame(found, columns=COLUMNS[name]) for name, found in rows.items()}


def _reliability_rows(labels: SourceLabels, truth: pd.Series, known: set[str], at: dict[str, Any]) -> list[dict]:
    table, seen = labels.table.loc[truth.index], truth.isin(known).to_numpy()
    if not seen.any():
        return []
    confidence = table["confidence"] if labels.calibrated is None else labels.calibrated.loc[truth.index]
    correct = (truth == table["label"])[seen].astype(float)
    return reliability(correct.to_numpy(), confidence[seen].to_numpy()).assign(**at).to_dict("records")


def report_scores(tables: Mapping[str, pd.DataFrame]) -> None:
    """Print the scores over all batches, from `score_transfer`."""
    shown = tables["scores"].query("batch == 'all'").drop(columns=["split", "query", "batch"])
    if shown.empty:
        print("no label of the query is known; there is nothing to score")
    else:
        print(shown.round(3).to_string(index=False))
