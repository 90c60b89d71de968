"""Writes the page of a contrast in the report.

in:  what compare_conditions and compare_abundance wrote
out: a page
"""

from refatlas.io.atomic import write_text
from refatlas.jobs.run import run_job
from refatlas.report.contrast_page import contrast_context
from refatlas.report.rendering import render


def main(smk) -> None:
    write_text(render("contrast.html.j2", contrast_context(dict(smk.input.items()))), smk.output.page)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
