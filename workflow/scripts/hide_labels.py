"""Hides each label in turn from a fold's reference, and measures how the held-out cells of that label
differ from the others: what a type looks like that the reference lacks. Only the matched baseline is
fitted anew.

in:  counts.h5ad of the fold's reference, with labels, and of the held-out cells; their cells.parquet
out: hidden.parquet: the novelty measures of the held-out cells for each hidden label
"""

import pandas as pd

from refatlas.io.atomic import write_table
from refatlas.io.model_counts import read_counts
from refatlas.jobs.run import run_job
from refatlas.transfer.hidden_labels import hidden_label_measures
from refatlas.transfer.query_match import drawn_reference


def main(smk) -> None:
    i, seed = smk.input, smk.params.seed
    held_out = read_counts(i.held_out)
    counts, labels = drawn_reference(read_counts(i.reference, True), seed)
    truth = pd.read_parquet(i.cells).loc[held_out.obs_names, "label"]
    found = hidden_label_measures(
        counts, labels, held_out.X, truth.astype(object).where(truth.notna(), None).to_numpy(),
        held_out.obs["batch"].astype(str).to_numpy(dtype=str), held_out.var["measured"].to_numpy(dtype=bool), seed,
    )  # fmt: skip
    write_table(found, smk.output.hidden)
    print(f"hidden in turn: {', '.join(found['hidden'].unique()) or 'no label'}")


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
