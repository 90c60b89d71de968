"""Writes the project log, and the numbers of the run for MultiQC.

in:  scan.json of the datasets; training.md, model.pt.sha256 and, with clusters, cluster_stability.csv of the models;
     integration.csv; summary.json of the queries
out: log.json and log.md of this run, a copy of which stays in the folder runs/ beside them; a folder of
     custom content for MultiQC
"""

from datetime import UTC, datetime
from pathlib import Path

from refatlas.io.atomic import read_csv, read_json, write_json, write_text
from refatlas.jobs.inputs import by_name, by_name_and_kind
from refatlas.jobs.provenance import describe_code
from refatlas.jobs.run import run_job
from refatlas.report.multiqc import custom_content
from refatlas.report.project_log import as_markdown, keep_run, model_entry, run_log


def read_models(files) -> list[dict]:
    """Return the entry of each model."""
    integration = read_csv(files.integration)
    return [
        model_entry(
            model,
            Path(paths["training"]).read_text(encoding="utf-8"),
            integration,
            read_csv(paths["stability"]) if "stability" in paths else None,
            Path(paths["checksum"]).read_text(encoding="utf-8"),
        )
        for model, paths in by_name_and_kind(files, "training", "checksum", "stability").items()
    ]


def main(smk) -> None:
    scans, queries = by_name(smk.input, "scan"), by_name(smk.input, "summary")
    datasets, found = ([read_json(path) for path in paths.values()] for paths in (scans, queries))
    models, name, now = read_models(smk.input), Path.cwd().name, datetime.now(UTC)
    log = run_log(name, now, describe_code(), smk.params.seed, datasets, models, found)
    earlier = keep_run(log, Path(smk.output.json).parent / "runs")
    for file, content in custom_content(log, found).items():
        write_json(content, f"{smk.output.multiqc}/{file}")
    write_text(as_markdown(log, earlier), smk.output.markdown)
    write_json(log, smk.output.json)
    print(f"{len(models)} models, {len(found)} queries; {len(earlier)} earlier runs")


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
