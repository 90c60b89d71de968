"""Places the cells of a query in the regions of a tissue.

in:  regions.npz and spots.h5ad; the query's counts.h5ad and cells.parquet, and its delivered labels if it has any
out: cells.csv.gz (one row per partition and cell), probabilities.parquet, types.csv (regions of each type),
     distances.csv (between types), summary.json, a figure of the types on the tissue
"""

import pandas as pd

from refatlas.io.atomic import write_json, write_table
from refatlas.io.model_counts import read_counts
from refatlas.jobs.run import run_job
from refatlas.plots import save_figure
from refatlas.report.spatial_figures import plot_types
from refatlas.spatial.placing import (
    Placer,
    Query,
    cell_table,
    place,
    probability_table,
    summary,
    type_distances,
    type_regions,
    types_of_cells,
)  # fmt: skip
from refatlas.spatial.spots import read_spots


def main(smk) -> None:
    i, out, where = smk.input, smk.output, f"query {smk.wildcards.name!r}"
    placer, counts, cells = Placer.load(i.regions), read_counts(i.counts), pd.read_parquet(i.cells)
    measured, good = counts.var["measured"].to_numpy(dtype=bool), cells["keep"].to_numpy(dtype=bool)
    query = Query(counts.X, counts.var_names, measured, good, smk.params.standardize)
    found = place(placer, query, smk.params.floor, where, smk.threads)
    labels, table = types_of_cells(cells, i.get("delivered")), cell_table(placer, found, cells["barcode"])
    types = type_regions(placer, found, labels, table, good)
    facts = summary(placer, found, table)
    save_figure(plot_types(placer, types, read_spots(i.spots)), out.figure)
    write_table(types, out.types)
    write_table(type_distances(placer, found, labels, good), out.distances)
    write_table(probability_table(placer, found, pd.Index(cells["barcode"])), out.probabilities)
    write_json(facts, out.summary)
    write_table(table, out.cells)
    print(f"{len(cells)} cells; {facts['missing_genes']} of {facts['genes']} genes are not measured")


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
