"""The delivered labels: one row per cell with label, confidence, prediction set, novelty and status."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from refatlas.errors import InputError
from refatlas.transfer.calibration import calibrated, prediction_sets
from refatlas.transfer.evidence import Evidence, HeldOut, ModelFiles, known_labels, read_evidence
from refatlas.transfer.hierarchy import coarser, hierarchy
from refatlas.transfer.label_table import label_table, pick
from refatlas.transfer.novelty import novelty
from refatlas.transfer.pooling import pooled_probabilities
from refatlas.transfer.prediction_sets import common_labels, join_set, set_lists, set_sizes

# Verdicts that stop a run, by verdict.stop in the configuration.
STOPPING_VERDICTS = {"never": (), "fail": ("fail",), "warn": ("fail", "warn")}


def combine(
    models: ModelFiles,
    positions: str,
    cells: pd.DataFrame,
    reference: pd.DataFrame,
    learned: dict[str, Any] | None,
    held_out: HeldOut | None,
    novel: float,
    source: str,
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, float]]:
    """Return one label per query cell from all sources, and print a summary.

    Args:
        models: of each model, paths of labels.parquet ("labels"), distance.parquet ("distance") and
            fit.parquet ("fit"); further kinds are ignored.
        positions: path of the baseline's latent.parquet of the query.
        cells: the query's cells.parquet.
        reference: the reference's cells with label columns.
        learned: calibration.json; None without folds, where the labels of `source` are delivered
            uncalibrated.
        held_out: cells from which it was learned; None without folds.
        novel: novelty score from which a cell is novel.
        source: name of the source ("model:source") that is delivered without folds.

    Returns:
        The delivered labels (see `deliver`); label and confidence of every source (see
        `sources_table`); and the sources that were left out, with the fall of their confidence.
    """
    parents = hierarchy(reference)
    known = learned["labels"] if learned else known_labels(files["labels"] for files in models.values())
    evidence = read_evidence("atlas", cells["batch"], models, positions, known)
    left_out: dict[str, float] = {}
    if learned and held_out:
        delivered, shares, left_out = deliver(evidence, learned, held_out, parents, novel)
        print(f"{int(delivered['novel'].sum())} of {len(delivered)} cells are novel")
    else:
        delivered, shares = deliver_uncalibrated(evidence, source, parents)
        print(f"the labels of {source} are delivered uncalibrated, because evaluation.folds is 0")
    for name, fall in left_out.items():
        print(
            f"left out: {name}: its confidence in this query is {fall:.2f} below that in held-out cells with the same"
            " labels"
        )
    return delivered, sources_table(evidence, learned, shares), left_out


def deliver(
    evidence: Evidence, learned: dict[str, Any], held_out: HeldOut, parents: pd.DataFrame, novel: float
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, float]]:
    """Return the delivered labels of a query, pooled over all sources.

    Args:
        evidence: on the query's cells.
        learned: from `learn`.
        held_out: cells from which it was learned.
        parents: coarser labels of each label, from `hierarchy`.
        novel: novelty score from which a cell is novel.

    Returns:
        One row per cell: label, confidence; label_N and confidence_N of each coarser level; set
        (list of labels, the most probable first); set_label (the finest label that covers the set,
        or ""); novelty (percentile among held-out cells) and novel. Then the delivered
        probabilities, cells × labels, and the sources that were left out, with the fall of their
        confidence.
    """
    p, limits, left_out = pooled_probabilities(evidence, learned, held_out)
    shares = pd.DataFrame(p, index=evidence.cells, columns=evidence.labels)
    found = _labels_of_all_levels(shares, parents)
    sets = set_lists(p, prediction_sets(p, limits), evidence.labels)
    found["set"] = pd.Series(sets, index=found.index, dtype=object)
    found["set_label"] = common_labels(found["set"], parents)
    found["novelty"] = novelty(evidence, p, learned)
    found["novel"] = found["novelty"] >= novel
    return found, shares, left_out


def deliver_uncalibrated(evidence: Evidence, source: str, parents: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the uncalibrated labels of one source and their probabilities, for a run without folds.

    The columns are those of `deliver`; sets are empty and novelty is missing.
    """
    shares = pd.DataFrame(evidence.sources[source], index=evidence.cells, columns=evidence.labels)
    found = _labels_of_all_levels(shares, parents)
    found["set"] = pd.Series([[] for _ in found.index], index=found.index, dtype=object)
    return found.assign(set_label="", novelty=np.nan, novel=False), shares


def _labels_of_all_levels(shares: pd.DataFrame, parents: pd.DataFrame) -> pd.DataFrame:
    """Return the most probable label of each cell and its confidence, and the same of coarser levels."""
    p, names = shares.to_numpy(), np.array(shares.columns, dtype=object)
    found = pd.DataFrame({"label": names[p.argmax(axis=1)], "confidence": p.max(axis=1)}, index=shares.index)
    for column in parents:
        level = coarser(shares, found["label"], parents[column])
        found[column], found[column.replace("label", "confidence")] = level["label"], level["confidence"]
    return found


def sources_table(evidence: Evidence, learned: dict[str, Any] | None, shares: pd.DataFrame) -> pd.DataFrame:
    """Return label and calibrated confidence of every source, one row per cell and source.

    The source "delivered" has the delivered probabilities of all labels besides.
    """
    tables = [label_table(evidence.cells, "delivered", list(shares.columns), shares.to_numpy())]
    for name, calibrator in (learned["sources"] if learned else {}).items():
        table = label_table(evidence.cells, name, evidence.labels, calibrated(evidence.sources[name], calibrator))
        tables.append(table[["cell", "source", "label", "confidence"]])
    return pd.concat(tables, ignore_index=True)


def read_delivered(path: str) -> pd.DataFrame:
    """Return a delivered.parquet with its prediction sets as lists."""
    table = pd.read_parquet(path)
    return table.assign(set=pd.Series([list(labels) for labels in table["set"]], index=table.index, dtype=object))


def statuses(cells: pd.DataFrame, delivered: pd.DataFrame, min_confidence: float, verdict: str) -> pd.Series:
    """Return the status of each cell, which never changes its label.

    The first that applies of: "mapping_failed", for all cells of a query whose verdict is fail;
    "low_quality"; "novel"; "ambiguous", if the prediction set has several labels, or, without sets,
    confidence is below `min_confidence`; "assigned".
    """
    status = pd.Series("assigned", index=cells.index)
    sizes = set_sizes(delivered["set"])
    status[(sizes > 1) | ((sizes == 0) & (delivered["confidence"] < min_confidence))] = "ambiguous"
    status[delivered["novel"]] = "novel"
    status[~cells["keep"]] = "low_quality"
    if verdict == "fail":
        status[:] = "mapping_failed"
    return status


def deliverable(
    cells: pd.DataFrame,
    delivered: pd.DataFrame,
    tables: Mapping[str, pd.DataFrame],
    min_confidence: float,
    verdict: str,
) -> pd.DataFrame:
    """Return the rows of labels.csv, in the order of the user's file.

    Args:
        cells: the query's cells.parquet.
        delivered: its delivered.parquet.
        tables: labels.parquet of each model.
        min_confidence: least confidence of an assigned label; used without prediction sets only.
        verdict: "pass", "warn" or "fail".
    """
    delivered = delivered.loc[cells.index]
    rows = pd.DataFrame(
        {"cell": cells["barcode"], "label": delivered["label"], "confidence": delivered["confidence"].round(6)}
    )
    rows["status"] = statuses(cells, delivered, min_confidence, verdict)
    for column in delivered.columns.drop(["label", "confidence", "novel"]):
        values = delivered[column].map(join_set) if column == "set" else delivered[column]
        rows[column] = values.round(6) if values.dtype.kind == "f" else values
    for model, table in tables.items():
        for source in table["source"].unique():
            found = pick(table, source).loc[cells.index]
            prefix = model if source == "knn" else f"{model}_{source}"
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
