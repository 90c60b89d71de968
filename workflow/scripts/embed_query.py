"""Places a query's cells in the reference's UMAP, which does not move: each at the weighted mean of
its nearest reference cells.

in:  latent.parquet of reference and query; umap.parquet of the reference
out: umap.parquet of the query
"""

import numpy as np
import pandas as pd

from refatlas.io.atomic import write_table
from refatlas.io.cell_tables import read_values


def main(smk) -> None:
    query = pd.read_parquet(smk.input.query)
    # Both of the reference's tables are in one order: the map is made of the latent space.
    places = place_cells(
        read_values(smk.input.reference), read_values(smk.input.umap), query.to_numpy(), smk.params.k, smk.threads
    )
    write_table(
        pd.DataFrame(places.astype(np.float32), index=query.index, columns=["umap_1", "umap_2"]), smk.output.umap
    )


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
