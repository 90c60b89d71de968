"""Gathers the scores of all queries and folds, with an interval over batches, and a mean over all
held-out batches; draws them.

in:  scores.csv, label_scores.csv and reliability.csv of every query with known labels, and of every
     fold
out: transfer.csv, transfer_labels.csv, transfer_reliability.csv, transfer.png
"""

import pandas as pd

from refatlas.evaluate.tables import stack_tables
from refatlas.evaluate.transfer_scores import COLUMNS
from refatlas.evaluate.transfer_summary import with_intervals
from refatlas.io.atomic import write_table
from refatlas.jobs.inputs import by_name
from refatlas.jobs.run import run_job
from refatlas.plots import save_figure
from refatlas.report.transfer_figure import plot_transfer


def main(smk) -> None:
    tables = {}
    for kind in ("scores", "label_scores", "reliability"):
        paths = [*by_name(smk.input, kind).values(), *by_name(smk.input, f"held_out_{kind}").values()]
        tables[kind] = stack_tables(paths) if paths else pd.DataFrame(columns=COLUMNS[kind])
    transfer = with_intervals(tables["scores"])
    write_table(transfer, smk.output.transfer)
    write_table(tables["label_scores"], smk.output.labels)
    write_table(tables["reliability"], smk.output.reliability)
    save_figure(plot_transfer(transfer, tables["reliability"]), smk.output.figure)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
