"""Compares two conditions within each label: differential expression by pseudobulk, and gene set enrichment.

in:  the users' own files; scan.json, genes.parquet and cells.parquet (or labelled_cells.parquet) of the datasets;
     check.json, genes.parquet, cells.parquet and labels.csv of the queries; what plan_contrast wrote; a GMT file
out: genes.csv (one row for each label and gene), samples.csv (one row for each label, sample and group),
     enrichment.csv (one row for each label and gene set), summary.json (the design, numbers of each label, labels
     that are left out with the reason), volcano.png and ma.png
"""

from refatlas.differential.results import compare, read_inputs, summarize
from refatlas.io.atomic import read_json, write_json, write_table
from refatlas.io.fingerprints import read_fingerprints, require_unchanged
from refatlas.jobs.inputs import by_name_and_kind
from refatlas.jobs.run import run_job
from refatlas.plots import save_figure
from refatlas.report.contrast_figures import plot_ma, plot_volcanos


def main(smk) -> None:
    i, name, contrast = smk.input, smk.wildcards.contrast, smk.params.contrast
    datasets = by_name_and_kind(i, "dataset_report", "dataset_cells", "dataset_genes")
    queries = by_name_and_kind(i, "query_report", "query_cells", "query_genes", "query_labels")
    reports = [f[f"{kind}_report"] for kind, of in (("dataset", datasets), ("query", queries)) for f in of.values()]
    files = read_fingerprints(reports)
    inputs = read_inputs(smk.params.rows, datasets, queries, contrast)
    found = compare(name, inputs, i.cells, i.design, contrast, i.gene_sets or None, smk.threads)
    require_unchanged(files)
    write_table(found.genes, smk.output.genes)
    write_table(found.samples, smk.output.samples)
    write_table(found.enrichment, smk.output.enrichment)
    save_figure(plot_volcanos(found.genes, contrast), smk.output.volcano)
    save_figure(plot_ma(found.genes, contrast), smk.output.ma)
    write_json(summarize(name, contrast, read_json(i.notes), found.labels), smk.output.summary)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
