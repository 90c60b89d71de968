"""Writes the deliverable: one row for every cell of the query's file.

in:  labels.parquet of each model; the query's cells.parquet
out: labels.csv: cell (as in the user's file), label, confidence, status, coarser levels, then {model}_label and {model}_confidence
"""

import pandas as pd

from refatlas.jobs import run_job, write_table
from refatlas.labels import pick


def statuses(cells: pd.DataFrame, confidence: pd.Series, min_confidence: float) -> pd.Series:
    """Return "low_quality" for flagged cells, "ambiguous" below the least confidence, otherwise "assigned"; labels are never overwritten."""
    status = pd.Series("assigned", index=cells.index)
    status[confidence < min_confidence] = "ambiguous"
    status[~cells["keep"]] = "low_quality"
    return status


def delivered(cells: pd.DataFrame, tables: dict[str, pd.DataFrame], settings: dict) -> pd.DataFrame:
    """Return the rows of labels.csv in the order of the user's file.

    Args:
        cells: of the query. tables: labels.parquet of each model. settings: the config's `deliver`.
    """
    chosen = tables[settings["model"]]
    finest = pick(chosen, settings["source"], 1).loc[cells.index]
    rows = pd.DataFrame({"cell": cells["barcode"], "label": finest["label"], "confidence": finest["confidence"].round(6)})
    rows["status"] = statuses(cells, finest["confidence"], settings["min_confidence"])
    # A classifier knows the finest level only; the vote knows all.
    for level in sorted(chosen["level"].unique())[1:]:
        coarser = pick(chosen, "knn", level).loc[cells.index]
        rows[f"label_{level}"], rows[f"confidence_{level}"] = coarser["label"], coarser["confidence"].round(6)
    for model, table in tables.items():
        for source in table["source"].unique():
            found = pick(table, source, 1).loc[cells.index]
            prefix = model if source == "knn" else f"{model}_{source}"
            rows[f"{prefix}_label"], rows[f"{prefix}_confidence"] = found["label"], found["confidence"].round(6)
    return rows


def main(smk) -> None:
    cells = pd.read_parquet(smk.input.cells)
    tables = {model: pd.read_parquet(path) for model, path in zip(smk.params.models, smk.input.labels, strict=True)}
    rows = delivered(cells, tables, smk.params.settings)
    write_table(rows, smk.output.labels)
    print(f"{len(rows)} cells: " + ", ".join(f"{n} {status}" for status, n in rows["status"].value_counts().items()))


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
