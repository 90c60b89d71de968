"""Measures the error of counterfactual expression, by labels whose cells are hidden from a training.

in:  support.csv; the counts of the reference, of a query, or of both; their cells, with labels
out: error.csv, one row per label that was hidden, or could not be
"""

from refatlas.evaluate.counterfactual import PROBE, labelled_cells, read_both
from refatlas.io.atomic import read_csv, write_table
from refatlas.jobs.inputs import by_name
from refatlas.jobs.run import run_job
from refatlas.models.interface import JobContext


def main(smk) -> None:
    from refatlas.evaluate.hidden_effect import checked_labels, drawn_cells, measured_errors

    i, p, ends = smk.input, smk.params, (smk.params.pair["from"], smk.params.pair["to"])
    tables = read_both(by_name(i, "dataset_cells").values(), i.get("query_cells"), i.get("query_labels"))
    labels = checked_labels(read_csv(i.support), p.checks)
    paths = list(dict.fromkeys([i.counts, i.other_counts]))
    cells = drawn_cells(paths, labelled_cells(*tables, ends), ends, labels, p.seed)
    errors = measured_errors(cells, ends, labels, p.settings, p.n_samples, JobContext(p.seed, smk.threads))
    write_table(errors.assign(about=PROBE), smk.output.errors)
    print(errors.to_string(index=False) if len(errors) else "no label has enough cells in both batches")


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
