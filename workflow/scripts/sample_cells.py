"""Picks the cells of the reference that the report shows, once per reference: a new query reads a small table.

in:  cells.parquet of the datasets, with labels; umap.parquet of each model; clusters.parquet and
     cluster_stability.csv of each model, if there are clusters; latent.parquet of the delivered model
out: shown.parquet: the cells of the index page, with their labels, batch, dataset, clusters and places;
     background.parquet: fewer cells, for the pages of queries, with weights and the latent space
"""

import pandas as pd

from refatlas.io.atomic import write_table
from refatlas.io.cell_tables import read_cells, suggested_clusters
from refatlas.jobs.inputs import by_name, by_name_and_kind
from refatlas.jobs.run import run_job
from refatlas.report.reference_cells import background_cells, shown_cells


def main(smk) -> None:
    i, settings, seed = smk.input, smk.params.settings, smk.params.seed
    tables = {name: read_cells([path]) for name, path in by_name(i, "dataset_cells").items()}
    cells = pd.concat([table[table["keep"]].assign(dataset=name) for name, table in tables.items()])
    columns = [name for name in cells if name in ("batch", "dataset") or name.startswith("label")]
    # In the order of the models' tables.
    cells = cells.loc[pd.read_parquet(i.latent, columns=[]).index, columns]
    clusters = {
        model: suggested_clusters(files["clusters"], files["stability"])
        for model, files in by_name_and_kind(i, "clusters", "stability").items()
    }
    shown = shown_cells(cells, by_name(i, "umap"), clusters, settings["max_cells"], seed)
    background = background_cells(shown, cells, i.latent, settings["background_cells"], seed)
    write_table(shown.drop(columns="row"), smk.output.shown)
    write_table(background, smk.output.background)
    print(f"{len(shown)} cells in the index, {len(background)} below each query")


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
