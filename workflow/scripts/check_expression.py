"""Checks, ahead of training, the genes and batches that the section `expression` names.

in:  the reference's genes.parquet; cells.parquet of the datasets, and of the queries that pairs name
out: check.json: identifiers of the genes that are written
"""

import pandas as pd

from refatlas.evaluate.counterfactual import require_batches
from refatlas.io.atomic import write_json
from refatlas.io.cell_tables import read_cells
from refatlas.jobs.inputs import by_name
from refatlas.jobs.run import run_job
from refatlas.prepare.chosen_genes import chosen_genes


def main(smk) -> None:
    genes = chosen_genes(smk.params.genes, pd.read_parquet(smk.input.genes), "config: expression: genes")
    files = [*by_name(smk.input, "dataset_cells").values(), *by_name(smk.input, "query_cells").values()]
    cells = read_cells(files, ["batch", "keep"], named=False)
    require_batches(smk.params.pairs, cells.loc[cells["keep"].astype(bool), "batch"])
    write_json({"genes": genes}, smk.output.check)
    print(f"{len(genes)} genes are written; {len(smk.params.pairs)} pairs of batches")


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
