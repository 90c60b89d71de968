"""What transfer of labels needs of a reference, made once and read by every query.

in:  latent.parquet of the reference; labels of its cells
out: index.npz: an exact index of the labelled cells, their labels, a logistic regression, and the
cells that outliers are told by
"""

import pandas as pd

from refatlas.errors import InputError
from refatlas.io.cell_tables import read_cells
from refatlas.transfer.reference_index import index_cells


def main(smk) -> None:
    reference = pd.read_parquet(smk.input.latent)
    labels = read_cells(smk.input.cells, ["label"]).loc[reference.index].get("label", pd.Series(dtype=object)).dropna()
    if labels.empty:
        raise InputError("no reference cell has a label; set label_key")
    made = index_cells(reference.loc[labels.index].to_numpy(), labels, smk.params.seed)
    made.save(smk.output.index, smk.input.latent)
    print(f"{len(labels)} labelled cells, {len(made.names)} labels")


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
