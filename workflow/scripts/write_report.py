"""Writes the report: one self-contained page.

in:  scan.json of the datasets; check.json, verdict.json, sources.json, labels.csv and figure of the queries;
     genes.parquet, tables of scores, training.csv and figures of the models, mapping.json; folders
     of tables and figures of types that have some, trees of labels; fold.json of the folds, and
     calibration.json if there are any; stability, flags, suggested names and markers of clusters; agreement of the
     datasets' labels; annotation.json; models.csv; provenance.json
out: index.html, config.yaml
"""

from refatlas.io.atomic import write_text
from refatlas.jobs.inputs import by_name, by_name_and_kind, by_two_names
from refatlas.jobs.run import run_job
from refatlas.report.page import ReportFiles, page_context, render


def main(smk) -> None:
    i = smk.input
    files = ReportFiles(
        scans=by_name(i, "scan"),
        genes=i.genes,
        models=by_name_and_kind(i, "training", "training_figure", "umap_figure", "tables", "tree"),
        queries=by_name_and_kind(
            i, "check", "labels", "verdict", "sources", "figure", "novel_groups", "novel_figure", "known_labels"
        ),
        mappings=by_two_names(i, "mapping"),
        query_tables=by_two_names(i, "query_tables"),
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
    context = page_context(files, smk.params.config, smk.params.left_out)
    write_text(render(context), smk.output.page)
    write_text(context["config"], smk.output.config)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
