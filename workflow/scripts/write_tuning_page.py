"""Writes the page of tuning in the report.

in:  of each tuned model, trials.csv, trials.png, best.json and gain.json
out: tuning.html
"""

from refatlas.io.atomic import write_text
from refatlas.jobs.inputs import by_name
from refatlas.jobs.run import run_job
from refatlas.report.rendering import render
from refatlas.report.tuning_page import tuning_context


def main(smk) -> None:
    kinds = ("trials", "figure", "best", "gain")
    context = tuning_context(*(by_name(smk.input, kind) for kind in kinds), smk.params.names)
    write_text(render("tuning.html.j2", context), smk.output.page)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
