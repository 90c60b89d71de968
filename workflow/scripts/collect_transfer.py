"""Gathers the scores of all queries and folds, with an interval over batches, and a mean over all
held-out batches.

in:  scores.csv, label_scores.csv and reliability.csv of every query and fold
out: transfer.csv, transfer_labels.csv, transfer_reliability.csv
"""

from refatlas.evaluate.transfer_summary import gathered, with_intervals
from refatlas.io.atomic import write_table


def main(smk) -> None:
    write_table(with_intervals(gathered(smk.input.scores)), smk.output.transfer)
    write_table(gathered(smk.input.label_scores), smk.output.labels)
    write_table(gathered(smk.input.reliability), smk.output.reliability)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
