"""Scores every source of labels of one query, or of a fold's held-out cells, against labels that
are known; without them, the tables have no rows.

in:  labels.parquet, distance.parquet and fit.parquet of each model; combined.parquet and delivered.parquet; the cells, with their known labels; the reference's
     cells, and of a fold which of them it trained on
out: scores.csv (a row a model, source, level and batch), label_scores.csv (a row a true label),
confusion.csv, reliability.csv
"""

import pandas as pd

from refatlas.evaluate.transfer_scores import given_labels, score_sources
from refatlas.io.atomic import write_table
from refatlas.io.cell_tables import read_cells, training_cells
from refatlas.transfer.hierarchy import hierarchy


def main(smk) -> None:
    i, models = smk.input, smk.params.models
    cells = pd.read_parquet(i.cells)
    reference = training_cells(read_cells(i.reference, named=i.get("fold") is not None), i.get("fold"))
    training = reference[reference["keep"]]
    tables = dict(zip(models, map(pd.read_parquet, i.labels), strict=True))
    strange = {
        model: pd.concat([pd.read_parquet(d), pd.read_parquet(f)], axis=1)
        for model, d, f in zip(models, i.distance, i.fit, strict=True)
    }
    sources = given_labels(
        tables, pd.read_parquet(i.combined), pd.read_parquet(i.delivered), hierarchy(reference), training
    )
    scored = score_sources(
        {"split": smk.wildcards.split, "query": smk.wildcards.query}, cells, sources, training, strange
    )
    for name, table in scored.items():
        write_table(table, smk.output[name])
    shown = scored["scores"].query("batch == 'all'").drop(columns=["split", "query", "batch"])
    print(
        shown.round(3).to_string(index=False) if len(shown) else "the query has no labels of its own; nothing to score"
    )


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
