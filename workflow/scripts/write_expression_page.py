"""Writes the page of normalised and counterfactual expression in the report.

in:  support.csv, changes.csv and, where errors are measured, error.csv of each pair of batches
out: expression.html
"""

from refatlas.io.atomic import write_text
from refatlas.jobs.inputs import by_name_and_kind
from refatlas.jobs.run import run_job
from refatlas.report.expression_page import expression_context
from refatlas.report.rendering import render


def main(smk) -> None:
    files = by_name_and_kind(smk.input, "support", "changes", "errors")
    context = expression_context(files, smk.params.section, smk.params.pairs, smk.params.files)
    write_text(render("expression.html.j2", context), smk.output.page)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
