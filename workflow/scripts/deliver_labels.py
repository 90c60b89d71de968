"""Writes the deliverable: one row for every cell of the query's file.

in:  delivered.parquet and verdict.json; labels.parquet of each model, and tree.parquet of those with a tree of labels; the query's cells.parquet
out: labels.csv: cell (as in the user's file), label, confidence, status, coarser levels, set, set_label, novelty, then {model}_label and {model}_confidence,
     and {model}_tree_node where there is a tree
"""

import pandas as pd

from refatlas.errors import InputError
from refatlas.jobs import read_json, run_job, write_table
from refatlas.labels import SEPARATOR, pick

SEVERITY = {"never": (), "fail": ("fail",), "warn": ("fail", "warn")}


def statuses(cells: pd.DataFrame, delivered: pd.DataFrame, min_confidence: float, verdict: str) -> pd.Series:
    """Return each cell's status; its label is never overwritten.

    In falling precedence: "mapping_failed" for all cells of a query whose verdict is fail; "low_quality"; "novel"; "ambiguous", where the prediction set has
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


def deliverable(cells: pd.DataFrame, delivered: pd.DataFrame, tables: dict[str, pd.DataFrame], min_confidence: float, verdict: str) -> pd.DataFrame:
    """Return the rows of labels.csv in the order of the user's file.

    Args:
        cells: of the query. delivered: its delivered.parquet. tables: labels.parquet of each model.
    """
    delivered = delivered.loc[cells.index]
    rows = pd.DataFrame({"cell": cells["barcode"], "label": delivered["label"], "confidence": delivered["confidence"].round(6)})
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
    """Return the rows with where each cell stops in each model's tree of labels, which may be above a leaf, or "rejected".

    Args:
        cells: of the rows. trees: tree.parquet of the models that have one.
    """
    for model, table in trees.items():
        found = table.loc[cells]
        rows = rows.assign(**{f"{model}_tree_node": found["node"], f"{model}_tree_node_probability": found["probability"].round(6)})
    return rows


def main(smk) -> None:
    cells, found = pd.read_parquet(smk.input.cells), read_json(smk.input.verdict)
    said = f"query {smk.wildcards.query!r}: {found['verdict'].upper()}: {found['reason']}"
    if found["verdict"] in SEVERITY[smk.params.stop]:
        raise InputError(f"{said}. Its labels are not written, because verdict.stop is {smk.params.stop}; {smk.input.verdict} has every reason and what to do")
    tables = {model: pd.read_parquet(path) for model, path in zip(smk.params.models, smk.input.labels, strict=True)}
    rows = deliverable(cells, pd.read_parquet(smk.input.delivered), tables, smk.params.min_confidence, found["verdict"])
    trees = {model: pd.read_parquet(path) for model, path in zip(smk.params.tree_models, smk.input.trees, strict=True)}
    write_table(with_nodes(rows, cells.index, trees), smk.output.labels)
    print(f"{len(rows)} cells: " + ", ".join(f"{n} {status}" for status, n in rows["status"].value_counts().items()))
    for reason in found["reasons"]:
        print(f"  {reason['verdict']}: {reason['check']} {reason['value']}: {reason['says']}; {reason['do']}")
    print(said)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
