"""Compares the densities of two groups of samples in the latent space of a model.

in:  model.pt, counts and latent.parquet of the reference and of queries; cells.parquet (or labelled_cells.parquet) of
     the datasets; cells.parquet and labels.csv of the queries; what plan_contrast wrote
out: density.parquet (one row a cell), density.csv (one row a label), density.json (what is to be said of them)
"""

from refatlas.differential.abundance import query_categories, reference_categories
from refatlas.differential.comparison import of_all_cells
from refatlas.differential.density import compare_density, density_cells
from refatlas.differential.density_inputs import read_log_densities
from refatlas.differential.plan import of_contrast
from refatlas.differential.results import read_planned
from refatlas.io.atomic import write_json, write_table
from refatlas.jobs.inputs import by_name_and_kind
from refatlas.jobs.run import run_job


def main(smk) -> None:
    i, o, contrast, seed = smk.input, smk.output, smk.params.contrast, smk.params.seed
    planned, samples = read_planned(i.cells, i.design, contrast)
    datasets = by_name_and_kind(i, "dataset_cells")
    queries = by_name_and_kind(i, "query_cells", "query_labels")
    categories = of_all_cells(datasets, queries, reference_categories, query_categories, contrast["status"])
    models = by_name_and_kind(i, "model", "counts", "latent")
    with of_contrast(smk.wildcards.contrast):
        cells = density_cells(planned, categories, samples, contrast)
    logs = read_log_densities(cells, models, datasets, seed)
    found = compare_density(logs, cells, contrast, datasets, seed)
    print(found.labels.to_string(index=False), *found.notes, sep="\n")
    write_table(found.cells, o.cells)
    write_table(found.labels, o.labels)
    write_json({"model": smk.wildcards.model, "notes": found.notes}, o.notes)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
