"""Scores every source of labels of one query against the labels that the query's row names; without them, the tables have no rows.

in:  labels.parquet of each model; cells.parquet of the query (with its own labels) and of the reference's datasets (the labels it knows)
out: scores.csv (a row a model, source and level), label_scores.csv (a row a true label), confusion.csv
"""

import pandas as pd

from refatlas.cells import label_column, read_cells
from refatlas.jobs import run_job, write_table
from refatlas.labels import pick
from refatlas.scores import confusion, score_each_label, score_labels

KEY = ["query", "model", "source", "level"]
COLUMNS = {
    "scores": [*KEY, "n_cells", "n_seen", "accuracy", "macro_f1", "ece", "auroc_unseen"],
    "label_scores": [*KEY, "label", "precision", "recall", "f1", "n_cells"],
    "confusion": [*KEY, "truth", "label", "n_cells"],
}


def score_sources(query: str, cells: pd.DataFrame, tables: dict[str, pd.DataFrame], known: dict[int, set[str]]) -> dict[str, pd.DataFrame]:
    """Return the three tables of one query.

    Args:
        cells: of the query. tables: labels.parquet of each model. known: the reference's labels of each level.
    """
    found = {name: [pd.DataFrame(columns=columns)] for name, columns in COLUMNS.items()}
    for model, table in tables.items():
        for source, level in table[["source", "level"]].drop_duplicates().itertuples(index=False):
            if label_column(level) not in cells:
                continue
            truth = cells[label_column(level)].dropna().astype(str)
            given = pick(table, source, level).loc[truth.index]
            key = dict(zip(KEY, (query, model, source, level), strict=True))
            scores = score_labels(truth, given["label"], given["confidence"], known[level])
            found["scores"].append(pd.DataFrame([key | scores]))
            found["label_scores"].append(score_each_label(truth, given["label"]).assign(**key))
            found["confusion"].append(confusion(truth, given["label"]).assign(**key))
    return {name: pd.concat(parts[1:] or parts, ignore_index=True)[COLUMNS[name]] for name, parts in found.items()}


def known_labels(cells: pd.DataFrame) -> dict[int, set[str]]:
    """Return the labels of the reference's kept cells, by level."""
    n_levels = sum(column.startswith("label") for column in cells.columns)
    return {level: set(cells.loc[cells["keep"], label_column(level)].dropna()) for level in range(1, n_levels + 1)}


def main(smk) -> None:
    cells = pd.read_parquet(smk.input.cells)
    tables = {model: pd.read_parquet(path) for model, path in zip(smk.params.models, smk.input.labels, strict=True)}
    scored = score_sources(smk.wildcards.query, cells, tables, known_labels(read_cells(smk.input.reference)))
    for name, table in scored.items():
        write_table(table, smk.output[name])
    print(scored["scores"].round(3).to_string() if len(scored["scores"]) else "the query has no labels of its own; nothing to score")


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
