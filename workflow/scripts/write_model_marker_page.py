"""Writes the page of markers by trained models in the report.

in:  GROUPING_agreement.csv, GROUPING_top.csv and the figure of each model and grouping
out: model_markers.html
"""

from refatlas.io.atomic import write_text
from refatlas.jobs.inputs import by_two_names
from refatlas.jobs.run import run_job
from refatlas.report.model_marker_page import model_marker_context
from refatlas.report.rendering import render


def main(smk) -> None:
    agreement, top, figures = (by_two_names(smk.input, kind) for kind in ("agreement", "top", "figure"))
    context = model_marker_context(agreement, top, figures, smk.params.settings)
    write_text(render("model_markers.html.j2", context), smk.output.page)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
