"""Places a query's cells in the UMAP of the reference, which does not move, by every model, and
draws them.

in:  of each model, latent.parquet of reference and query, umap.parquet of the reference and, if the
     reference has labels, labels.parquet of the query and the reference's index; the query's
     cells.parquet
out: umap.parquet of each model, and a figure
"""

import pandas as pd

from refatlas.io.atomic import write_table
from refatlas.io.cell_tables import read_values
from refatlas.jobs.inputs import by_name, by_name_and_kind
from refatlas.jobs.run import run_job
from refatlas.plots import save_figure
from refatlas.report.query_figure import MappedCells, drawn_places, plot_query
from refatlas.report.umap import nearest_cells, query_umap


def main(smk) -> None:
    umaps, models = by_name(smk.output, "umap"), {}
    inputs = by_name_and_kind(smk.input, "reference", "umap", "query", "labels", "index")
    for model, files in inputs.items():
        # Both tables of the reference are in one order: the UMAP is made of the latent space.
        query, places = pd.read_parquet(files["query"]), read_values(files["umap"])
        nearest = nearest_cells(
            query.to_numpy(), files["reference"], files.get("index"), len(places), smk.params.k, smk.threads
        )
        umap = query_umap(query, places, *nearest)
        write_table(umap, umaps[model])
        labels = pd.read_parquet(files["labels"]) if "labels" in files else None
        models[model] = MappedCells(drawn_places(places), umap, labels)
    save_figure(plot_query(smk.wildcards.name, models, pd.read_parquet(smk.input.cells)), smk.output.figure)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
