"""Writes the page of the reference in the report: no query changes it.

in:  scan.json of the datasets; training.csv and figures of the models; folders of tables and figures of
     types that have some, trees of labels; integration.csv; stability, flags, suggested names and markers
     of clusters; agreement of the datasets' labels; annotation.json; models.csv; shown.parquet, and the
     sample of the reference for its genes
out: reference.html
"""

import pandas as pd

from refatlas.io.atomic import write_text
from refatlas.jobs.inputs import by_name, by_name_and_kind
from refatlas.jobs.run import run_job
from refatlas.report.cells_to_explore import read_genes, reference_explorer
from refatlas.report.explorer import explorer_html
from refatlas.report.reference_page import ReferenceFiles, reference_context
from refatlas.report.rendering import render


def main(smk) -> None:
    i, config = smk.input, smk.params.config
    files = ReferenceFiles(
        scans=by_name(i, "scan"),
        models=by_name_and_kind(i, "training", "training_figure", "umap_figure", "tables", "tree"),
        integration=i.integration,
        clusters=by_name_and_kind(i, "stability", "clusters", "suggestions", "markers", "cluster_figure", "dot_plot"),
        agreement=by_name_and_kind(i, "agreement", "agreement_figure"),
        label_dot_plot=i.get("label_dot_plot"),
        annotation=i.get("annotation"),
        choice=(i.choice, i.choice_figure) if i.get("choice") else (),
    )
    cells = reference_explorer(pd.read_parquet(i.shown), list(config["models"]), files.n_cells(), read_genes(i.sample))
    context = reference_context(files, config, explorer_html(cells, "cells"))
    write_text(render("reference.html.j2", context), smk.output.page)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
