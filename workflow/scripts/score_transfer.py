"""Scores every source of labels of one query, or of a fold's held-out cells, against labels that
are known.

in:  labels.parquet, distance.parquet and fit.parquet of each model; the matched baseline's labels and
     measures; sources.parquet and delivered.parquet; the cells, with their known labels; the
     reference's cells, and of a fold which of them it trained on
out: scores.csv (one row per model, source, level and batch), label_scores.csv (one row per true
     label), confusion.csv, reliability.csv
"""

import pandas as pd

from refatlas.evaluate.transfer_scores import report_scores, score_transfer
from refatlas.io.atomic import write_table
from refatlas.io.cell_tables import mark_training_cells, read_cells
from refatlas.jobs.inputs import by_name, by_name_and_kind
from refatlas.jobs.run import run_job
from refatlas.transfer.delivery import read_delivered


def main(smk) -> None:
    i, p, fold = smk.input, smk.params, smk.input.get("fold")
    cells = read_cells(list(by_name(i, "dataset_cells").values()), named=fold is not None)
    models = by_name_and_kind(i, "labels", "distance", "fit")
    matched = {kind: i[f"matched_{kind}"] for kind in ("labels", "measures")}
    query, delivered = pd.read_parquet(i.cells), read_delivered(i.delivered)
    reference, sources = mark_training_cells(cells, fold), pd.read_parquet(i.sources)
    external = by_name(i, "external")
    found = score_transfer(p.split, p.query, models, matched, query, sources, delivered, reference, external)
    for name, table in found.items():
        write_table(table, smk.output[name])
    report_scores(found)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
