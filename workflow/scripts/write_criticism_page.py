"""Writes the page of posterior predictive checks in the report.

in:  criticism.csv of the evaluation; criticism.csv and criticism.png of each query by each model, and of the reference
     where it was made here
out: criticism.html
"""

from refatlas.io.atomic import write_text
from refatlas.jobs.inputs import by_name, by_two_names
from refatlas.jobs.run import run_job
from refatlas.report.criticism_page import criticism_context
from refatlas.report.rendering import render


def main(smk) -> None:
    i = smk.input
    figures = by_name(i, "figure"), by_two_names(i, "query_figure")
    context = criticism_context(i.usual, by_two_names(i, "query_table"), *figures)
    write_text(render("criticism.html.j2", context), smk.output.page)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
