"""Writes the index of the report: the verdicts, the reference in short, and how far labels can be trusted.

in:  scan.json of the datasets; of each query what its page left for the index; genes.parquet;
     transfer.csv and its figure; fold.json of the folds, and calibration.json if there are any;
     provenance.json
out: index.html, config.yaml
"""

from refatlas.io.atomic import write_text
from refatlas.jobs.inputs import by_name
from refatlas.jobs.run import run_job
from refatlas.report.index_page import IndexFiles, index_context
from refatlas.report.rendering import render


def main(smk) -> None:
    i = smk.input
    files = IndexFiles(
        scans=by_name(i, "scan"),
        genes=i.genes,
        queries=by_name(i, "summary"),
        folds=by_name(i, "fold"),
        calibration=i.get("calibration"),
        transfer=i.transfer,
        transfer_figure=i.transfer_figure,
        provenance=i.provenance,
        criticism=bool(i.get("criticism")),
        tuning=bool(i.get("tuning")),
    )
    context = index_context(files, smk.params.config, smk.params.left_out, smk.params.get("atlas"))
    write_text(render("index.html.j2", context), smk.output.page)
    write_text(context["config"], smk.output.config)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
