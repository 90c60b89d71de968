"""Writes the index of the report: the reference, the verdicts, and how far labels can be trusted.

in:  scan.json of the datasets; of each query what its page left for the index; genes.parquet, tables of
     scores, training.csv and figures of the models; folders of tables and figures of types that have
     some, trees of labels; fold.json of the folds, and calibration.json if there are any; stability,
     flags, suggested names and markers of clusters; agreement of the datasets' labels; annotation.json;
     models.csv; provenance.json; shown.parquet, and the sample of the reference for its genes
out: index.html, config.yaml
"""

import pandas as pd

from refatlas.io.atomic import write_text
from refatlas.jobs.inputs import by_name, by_name_and_kind
from refatlas.jobs.run import run_job
from refatlas.report.cells_to_explore import read_genes, reference_explorer
from refatlas.report.explorer import explorer_html
from refatlas.report.page import ReportFiles, page_context
from refatlas.report.rendering import render


def main(smk) -> None:
    i, config = smk.input, smk.params.config
    files = ReportFiles(
        scans=by_name(i, "scan"),
        genes=i.genes,
        models=by_name_and_kind(i, "training", "training_figure", "umap_figure", "tables", "tree"),
        queries=by_name(i, "summary"),
        folds=by_name(i, "fold"),
        calibration=i.get("calibration"),
        integration=i.integration,
        transfer=i.transfer,
        transfer_figure=i.transfer_figure,
        provenance=i.provenance,
        clusters=by_name_and_kind(i, "stability", "clusters", "suggestions", "markers", "cluster_figure", "dot_plot"),
        agreement=by_name_and_kind(i, "agreement", "agreement_figure"),
        label_dot_plot=i.get("label_dot_plot"),
        annotation=i.get("annotation"),
        choice=(i.choice, i.choice_figure) if i.get("choice") else (),
    )
    cells = reference_explorer(pd.read_parquet(i.shown), list(config["models"]), files.n_cells(), read_genes(i.sample))
    context = page_context(files, config, explorer_html(cells, "reference-cells"), smk.params.left_out)
    write_text(render("index.html.j2", context), smk.output.page)
    write_text(context["config"], smk.output.config)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
