"""Compares gene programs or proteins of a model between two conditions, within each label.

in:  the tables of a model, of the reference and of queries; of proteins, also the counts, for what was measured;
     cells.parquet (or labelled_cells.parquet) of the datasets; cells.parquet and labels.csv of the queries; what
     plan_contrast wrote
out: features.csv (one row for each label and feature), features.json (numbers of each label, and notes), features.png
"""

from refatlas.differential.comparison import of_all_cells, query_labels, reference_labels
from refatlas.differential.features import compare_features
from refatlas.differential.model_tables import read_values
from refatlas.differential.plan import of_contrast
from refatlas.differential.results import read_planned
from refatlas.io.atomic import write_json, write_table
from refatlas.jobs.inputs import by_name, by_name_and_kind
from refatlas.jobs.run import run_job
from refatlas.plots import save_figure
from refatlas.report.contrast_figures import plot_features


def main(smk) -> None:
    i, o, contrast = smk.input, smk.output, smk.params.contrast
    cells, samples = read_planned(i.cells, i.design, contrast)
    datasets, queries = by_name_and_kind(i, "dataset_cells"), by_name_and_kind(i, "query_cells", "query_labels")
    labels = of_all_cells(datasets, queries, reference_labels, query_labels, contrast["status"])
    values = read_values(smk.params.kind, by_name(i, "tables"), by_name(i, "counts"))
    with of_contrast(smk.wildcards.contrast):
        found = compare_features(values, cells, labels, samples, contrast)
    print(found.labels.to_string(index=False), *found.notes, sep="\n")
    write_table(found.table, o.features)
    facts = {"kind": smk.params.kind, "notes": found.notes, "labels": found.labels.to_dict("records")}
    write_json(facts, o.notes)
    save_figure(plot_features(found.table, contrast, smk.params.kind), o.figure)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
