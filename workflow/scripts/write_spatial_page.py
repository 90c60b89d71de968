"""Writes the page of places in the tissue in the report.

in:  spots.json, methods.csv and the figures of the spatial reference; summary.json, types.csv, distances.csv and the
     figure of each query
out: spatial.html
"""

from refatlas.io.atomic import write_text
from refatlas.jobs.inputs import by_name_and_kind
from refatlas.jobs.run import run_job
from refatlas.report.rendering import render
from refatlas.report.spatial_page import spatial_context


def main(smk) -> None:
    i = smk.input
    queries = by_name_and_kind(i, "summary", "types", "distances", "figure")
    context = spatial_context(i.spots, i.methods, i.tissue, i.accuracy, queries, smk.params.settings)
    write_text(render("spatial.html.j2", context), smk.output.page)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
