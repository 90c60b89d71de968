"""Writes the page of clonotypes in the report.

in:  clonotypes.json, clonotypes.csv, clonotype_batches.csv, clonotype_labels.csv and clonotype_overlap.csv of the
     reference and of each query; receptor_models.csv, if there are models of paired receptors and folds
out: clonotypes.html and its figure
"""

from refatlas.io.atomic import read_csv, write_text
from refatlas.jobs.inputs import by_name
from refatlas.jobs.run import run_job
from refatlas.plots import save_figure
from refatlas.report.clonotype_figure import plot_expansion
from refatlas.report.clonotype_page import clonotype_context, read_sources
from refatlas.report.rendering import render


def main(smk) -> None:
    i, kinds = smk.input, ("summary", "clonotypes", "batches", "labels", "overlap")
    reference = {kind: i[f"reference_{kind}"] for kind in kinds}
    sources = read_sources(reference, {kind: by_name(i, kind) for kind in kinds})
    save_figure(plot_expansion(sources), smk.output.figure)
    scores = read_csv(i.scores) if i.get("scores") else None
    context = clonotype_context(sources, smk.output.figure, smk.params.v_genes, scores)
    write_text(render("clonotypes.html.j2", context), smk.output.page)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
