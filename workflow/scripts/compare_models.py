"""Which model and settings for this atlas: all models of the run side by side.

in:  clusters.parquet, cluster_stability.csv and training.csv of each model; integration.csv; scores.csv of
     every fold (not of queries: one more query changes nothing here); cells.parquet of the datasets; the
     records that the jobs that trained the models left beside their logs
out: models.csv (one row per model), model_clusters.csv (which clusters other models also have),
     model_labels.csv (which labels are a cluster of a model), models.png
"""

from pathlib import Path

from refatlas.evaluate.cluster_overlap import read_clusters
from refatlas.evaluate.model_choice import compare_models, read_models
from refatlas.evaluate.tables import stack_tables
from refatlas.evaluate.transfer_summary import with_intervals
from refatlas.io.atomic import read_csv, read_json, write_table
from refatlas.io.cell_tables import read_cells
from refatlas.jobs.inputs import by_name, by_name_and_kind
from refatlas.jobs.run import run_job
from refatlas.plots import save_figure
from refatlas.report.model_choice_figure import plot_model_choice


def main(smk) -> None:
    files, p = smk.input, smk.params
    # All logs, and the records beside them, stand in the folder of this job's own.
    folder = Path(smk.log[0]).parent / "train_reference" / "reference"
    records = {name: read_json(folder / f"{name}.json") for name in p.models if (folder / f"{name}.json").exists()}
    models = read_models(by_name_and_kind(files, "training", "stability"), p.models, records)
    clusters = read_clusters(by_name(files, "clusters"))
    cells = read_cells(list(by_name(files, "dataset_cells").values()), ["batch", "label"])
    if clusters:
        cells = cells.loc[next(iter(clusters.values())).index]
    scores = list(by_name(files, "held_out_scores").values())
    transfer = with_intervals(stack_tables(scores)) if scores else None
    tables = compare_models(models, clusters, cells, read_csv(files.integration), transfer, p.replicates)
    write_table(tables["models"], smk.output.table)
    write_table(tables["clusters"], smk.output.clusters)
    write_table(tables["labels"], smk.output.labels)
    save_figure(plot_model_choice(tables["models"]), smk.output.figure)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
