"""The rows of labels.csv: one for each cell of the user's file."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from refatlas.errors import InputError
from refatlas.io.labels_csv import ASSIGNED
from refatlas.transfer.external_labels import EXTERNAL
from refatlas.transfer.label_table import pick
from refatlas.transfer.prediction_sets import join_set, set_sizes

# Verdicts that stop a run, by verdict.stop in the configuration.
STOPPING_VERDICTS = {"never": (), "fail": ("fail",), "warn": ("fail", "warn")}


def statuses(cells: pd.DataFrame, delivered: pd.DataFrame, min_confidence: float, alpha: float) -> pd.Series:
    """Return the status of each cell, which never changes its label.

    The first that applies of: "low_quality"; "novel"; "ambiguous", if the prediction set has several
    labels and confidence is below 1 - `alpha`, or, without sets, below `min_confidence`; "assigned".
    A set alone would not do: that of a rare label reaches far, because some of its cells lie far out.
    """
    status = pd.Series(ASSIGNED, index=cells.index)
    sizes, confidence = set_sizes(delivered["set"]), delivered["confidence"]
    status[((sizes > 1) & (confidence < 1 - alpha)) | ((sizes == 0) & (confidence < min_confidence))] = "ambiguous"
    status[delivered["novel"]] = "novel"
    status[~cells["keep"]] = "low_quality"
    return status


def deliverable(
    cells: pd.DataFrame,
    delivered: pd.DataFrame,
    tables: Mapping[str, pd.DataFrame],
    min_confidence: float,
    alpha: float,
    verdict: Mapping[str, Any],
) -> pd.DataFrame:
    """Return the rows of labels.csv, in the order of the user's file.

    Args:
        cells: the query's cells.parquet.
        delivered: its delivered.parquet.
        tables: labels.parquet of each model, and of each source of labels made elsewhere.
        min_confidence: least confidence of an assigned label; used without prediction sets only.
        alpha: share of a label's cells whose prediction set may miss it.
        verdict: verdict.json.
    """
    delivered = delivered.loc[cells.index]
    rows = pd.DataFrame(
        {"cell": cells["barcode"], "label": delivered["label"], "confidence": delivered["confidence"].round(6)}
    )
    rows["status"] = statuses(cells, delivered, min_confidence, alpha)
    rows["query_verdict"] = verdict["verdict"]
    of_batches = {batch: found["verdict"] for batch, found in verdict["batches"].items()}
    # A batch that is too small for a verdict of its own has that of the query.
    rows["batch_verdict"] = cells["batch"].astype(str).map(of_batches).fillna(verdict["verdict"])
    for column in delivered.columns.drop(["label", "confidence", "novel"]):
        values = delivered[column].map(join_set) if column == "set" else delivered[column]
        rows[column] = values.round(6) if values.dtype.kind == "f" else values
    for model, table in tables.items():
        for source in table["source"].unique():
            found = pick(table, source).loc[cells.index]
            prefix = model if source in ("knn", EXTERNAL) else f"{model}_{source}"
            rows[f"{prefix}_label"], rows[f"{prefix}_confidence"] = found["label"], found["confidence"].round(6)
    return rows


def with_nodes(rows: pd.DataFrame, cells: pd.Index, trees: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the rows of labels.csv with the node of each model's label tree at which each cell stops.

    The node may be above a leaf, or "rejected".

    Args:
        rows: from `deliverable`.
        cells: names of the rows' cells.
        trees: tree.parquet of the models that have one.
    """
    for model, table in trees.items():
        found = table.loc[cells]
        rows = rows.assign(
            **{f"{model}_tree_node": found["node"], f"{model}_tree_node_probability": found["probability"].round(6)}
        )
    return rows


def require_accepted(query: str, verdict: Mapping[str, Any], stop: str, verdict_file: str) -> None:
    """Refuse to deliver the labels of a query whose verdict is as bad as verdict.stop says.

    Args:
        query: name of the query.
        verdict: its verdict.json, read from `verdict_file`.
        stop: verdict.stop in the configuration: "never", "fail" or "warn".

    Raises:
        InputError: the verdict stops the run.
    """
    if verdict["verdict"] in STOPPING_VERDICTS[stop]:
        raise InputError(
            f"query {query!r}: {verdict['verdict'].upper()}: {verdict['reason']}. Its labels are not written, because"
            f" verdict.stop is {stop}; {verdict_file} lists all reasons and remedies"
        )


def status_counts(rows: pd.DataFrame) -> str:
    """Return a line that counts the cells of each status in labels.csv."""
    counts: Iterable[tuple[Any, int]] = rows["status"].value_counts().items()
    return f"{len(rows)} cells: " + ", ".join(f"{n} {status}" for status, n in counts)
