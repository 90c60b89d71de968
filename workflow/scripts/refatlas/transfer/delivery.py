"""The delivered labels: one row a cell with label, confidence, prediction set, novelty and status."""

import numpy as np
import pandas as pd

from refatlas.io.cell_tables import SEPARATOR
from refatlas.transfer.calibration import calibrated, prediction_sets
from refatlas.transfer.evidence import Evidence, HeldOut
from refatlas.transfer.hierarchy import coarser
from refatlas.transfer.label_table import label_table, pick
from refatlas.transfer.novelty import novelty
from refatlas.transfer.pooling import pooled_probabilities

SEVERITY = {"never": (), "fail": ("fail",), "warn": ("fail", "warn")}


def deliver(
    evidence: Evidence, learned: dict, held_out: "HeldOut", parents: pd.DataFrame, novel: float
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, float]]:
    """Return the delivered labels, one row a cell, the delivered probabilities, cells × labels, and
    the sources that were left out.

    Args:
        learned: of `learn`. held_out: what it was learned on. parents: of `labels.hierarchy`.
            novel: percentile of strangeness from which a cell is novel.

    Columns: label, confidence; then for each coarser level label_N and confidence_N; set (all
    labels of the prediction set, likeliest first), set_label
    (the label or coarser label that holds the whole set, empty if none does), novelty (percentile
    among held-out cells) and novel.
    """
    p, limits, unsure = pooled_probabilities(evidence, learned, held_out)
    names = np.array(evidence.labels, dtype=object)
    found = pd.DataFrame({"label": names[p.argmax(axis=1)], "confidence": p.max(axis=1)}, index=evidence.cells)
    shares = pd.DataFrame(p, index=evidence.cells, columns=evidence.labels)
    for column in parents:
        level = coarser(shares, found["label"], parents[column])
        found[column], found[column.replace("label", "confidence")] = level["label"], level["confidence"]
    inside = prediction_sets(p, limits)
    order = np.argsort(-p, axis=1)
    found["set"] = [SEPARATOR.join(names[row][keep[row]]) for row, keep in zip(order, inside, strict=True)]
    found["set_label"] = common_labels(found["set"], parents)
    found["novelty"] = novelty(evidence, p, learned)
    found["novel"] = found["novelty"] >= novel
    return found, shares, unsure


def common_labels(sets: pd.Series, parents: pd.DataFrame) -> pd.Series:
    """Return for each set the label that holds all of it: its only member, or the finest common
    parent, or nothing.
    """

    def common(members: str) -> str:
        names = members.split(SEPARATOR)
        if len(names) == 1:
            return names[0]
        for column in parents:
            found = set(parents[column].reindex(names))
            if len(found) == 1 and isinstance(only := found.pop(), str):
                return only
        return ""

    return sets.map({members: common(members) for members in sets.unique()})


def deliver_uncalibrated(evidence: Evidence, source: str, parents: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the labels of one source as they are, for a run without held-out folds; columns as of
    `deliver`, sets and novelty empty.
    """
    p = evidence.sources[source]
    shares = pd.DataFrame(p, index=evidence.cells, columns=evidence.labels)
    found = pd.DataFrame(
        {"label": np.array(evidence.labels, dtype=object)[p.argmax(axis=1)], "confidence": p.max(axis=1)},
        index=evidence.cells,
    )
    for column in parents:
        level = coarser(shares, found["label"], parents[column])
        found[column], found[column.replace("label", "confidence")] = level["label"], level["confidence"]
    return found.assign(set="", set_label="", novelty=np.nan, novel=False), shares


def combined_table(evidence: Evidence, learned: dict | None, shares: pd.DataFrame) -> pd.DataFrame:
    """Return label and calibrated confidence of every source, and the delivered probabilities under
    the source "delivered".
    """
    tables = [label_table(evidence.cells, "delivered", list(shares.columns), shares.to_numpy())]
    for name, how in (learned["sources"] if learned else {}).items():
        table = label_table(evidence.cells, name, evidence.labels, calibrated(evidence.sources[name], how))
        tables.append(table[["cell", "source", "label", "confidence"]])
    return pd.concat(tables, ignore_index=True)


def statuses(cells: pd.DataFrame, delivered: pd.DataFrame, min_confidence: float, verdict: str) -> pd.Series:
    """Return each cell's status; its label is never overwritten.

    In falling precedence: "mapping_failed" for all cells of a query whose verdict is fail;
    "low_quality"; "novel"; "ambiguous", where the prediction set has
    several labels, or without sets confidence is below the least; "assigned".
    """
    status = pd.Series("assigned", index=cells.index)
    several = delivered["set"].str.contains(SEPARATOR, regex=False)
    status[several | ((delivered["set"] == "") & (delivered["confidence"] < min_confidence))] = "ambiguous"
    status[delivered["novel"]] = "novel"
    status[~cells["keep"]] = "low_quality"
    if verdict == "fail":
        status[:] = "mapping_failed"
    return status


def deliverable(
    cells: pd.DataFrame, delivered: pd.DataFrame, tables: dict[str, pd.DataFrame], min_confidence: float, verdict: str
) -> pd.DataFrame:
    """Return the rows of labels.csv in the order of the user's file.

    Args:
        cells: of the query. delivered: its delivered.parquet. tables: labels.parquet of each model.
    """
    delivered = delivered.loc[cells.index]
    rows = pd.DataFrame(
        {"cell": cells["barcode"], "label": delivered["label"], "confidence": delivered["confidence"].round(6)}
    )
    rows["status"] = statuses(cells, delivered, min_confidence, verdict)
    for column in delivered.columns.drop(["label", "confidence", "novel"]):
        values = delivered[column]
        rows[column] = values.round(6) if values.dtype.kind == "f" else values
    for model, table in tables.items():
        for source in table["source"].unique():
            found = pick(table, source).loc[cells.index]
            prefix = model if source == "knn" else f"{model}_{source}"
            rows[f"{prefix}_label"], rows[f"{prefix}_confidence"] = found["label"], found["confidence"].round(6)
    return rows


def with_nodes(rows: pd.DataFrame, cells: pd.Index, trees: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the rows with where each cell stops in each model's tree of labels, which may be above
    a leaf, or "rejected".

    Args:
        cells: of the rows. trees: tree.parquet of the models that have one.
    """
    for model, table in trees.items():
        found = table.loc[cells]
        rows = rows.assign(
            **{f"{model}_tree_node": found["node"], f"{model}_tree_node_probability": found["probability"].round(6)}
        )
    return rows
