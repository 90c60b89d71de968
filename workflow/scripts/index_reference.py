"""What the transfer of labels needs of a reference, made once and read by every query.

in:  latent.parquet of the reference; labels of its cells
out: index.npz: an exact index of the labelled cells, their labels, a logistic regression, and a
     sample of cells for outlier factors
"""

import pandas as pd

from refatlas.errors import InputError
from refatlas.io.cell_tables import read_cells
from refatlas.jobs.inputs import by_name
from refatlas.jobs.run import run_job
from refatlas.transfer.reference_index import index_cells


def main(smk) -> None:
    latent = pd.read_parquet(smk.input.latent)
    cells = read_cells(list(by_name(smk.input, "dataset_cells").values()), ["label"]).loc[latent.index]
    labels = cells.get("label", pd.Series(dtype=object)).dropna()
    if labels.empty:
        raise InputError("no reference cell has a label; set label_key")
    index = index_cells(latent.loc[labels.index].to_numpy(), labels, smk.params.seed)
    index.save(smk.output.index, smk.input.latent)
    print(f"{len(labels)} labelled cells, {len(index.names)} labels")


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
