"""Compares how many cells of each label the samples of two conditions have.

in:  cells.parquet (or labelled_cells.parquet) of the datasets; cells.parquet and labels.csv of the queries; what
     plan_contrast wrote
out: abundance.csv (one row a label), abundance_samples.csv (one row for each sample, group and label), abundance.json
     (what is to be said of the samples) and abundance.png
"""

from refatlas.differential.abundance import (
    compare_abundance,
    count_categories,
    query_categories,
    reference_categories,
)
from refatlas.differential.comparison import of_all_cells
from refatlas.differential.plan import of_contrast
from refatlas.differential.results import read_planned
from refatlas.io.atomic import write_json, write_table
from refatlas.jobs.inputs import by_name_and_kind
from refatlas.jobs.run import run_job
from refatlas.plots import save_figure
from refatlas.report.contrast_figures import plot_abundance


def main(smk) -> None:
    i, o, contrast = smk.input, smk.output, smk.params.contrast
    cells, samples = read_planned(i.cells, i.design, contrast)
    datasets = by_name_and_kind(i, "dataset_cells")
    queries = by_name_and_kind(i, "query_cells", "query_labels")
    categories = of_all_cells(datasets, queries, reference_categories, query_categories, contrast["status"])
    counts = count_categories(cells, categories, samples, contrast)
    with of_contrast(smk.wildcards.contrast):
        found = compare_abundance(counts, samples, contrast)
    print(found.labels.to_string(index=False), *found.notes, sep="\n")
    write_table(found.labels, o.labels)
    write_table(found.samples, o.samples)
    save_figure(plot_abundance(found.labels, found.samples, contrast), o.figure)
    write_json({"notes": found.notes}, o.notes)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
