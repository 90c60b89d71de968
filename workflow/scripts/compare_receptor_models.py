"""Scores models of paired T-cell receptors beside all other models, on the held-out cells with a pair.

in:  of each fold, labels.parquet of each model on its held-out cells, and these cells with their labels
out: receptor_models.csv: one row per fold, model and source
"""

from refatlas.evaluate.paired_scores import score_pairs
from refatlas.io.atomic import write_table
from refatlas.jobs.inputs import by_name, by_two_names
from refatlas.jobs.run import run_job


def main(smk) -> None:
    cells, labels, external = by_name(smk.input, "cells"), *(by_two_names(smk.input, k) for k in ("labels", "external"))
    write_table(score_pairs(cells, labels, external), smk.output.scores)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
