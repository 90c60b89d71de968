"""What transfer of labels needs of a reference, made once and read by every query.

in:  latent.parquet of the reference; labels of its cells
out: index.npz: an exact index of the labelled cells, their labels, a logistic regression, and the cells that outliers are told by
"""

import numpy as np
import pandas as pd

from refatlas.cells import read_cells
from refatlas.errors import InputError
from refatlas.jobs import run_job
from refatlas.knn import Index
from refatlas.labels import draw_evenly
from refatlas.logistic import fit_scaled
from refatlas.reference_index import ReferenceIndex

STRENGTH = 1.0
MAX_CELLS = 20_000
MIN_PER_LABEL = 100


def index_cells(latent: np.ndarray, labels: pd.Series, seed: int) -> ReferenceIndex:
    """Return the index of labelled cells; `latent` has shape (n_cells, n_latent)."""
    names, codes = np.unique(labels.astype(str).to_numpy(), return_inverse=True)
    sample = latent[draw_evenly(codes, MAX_CELLS, MIN_PER_LABEL, seed)]
    return ReferenceIndex(Index.build(latent), names.astype(str), codes.astype(np.int32), fit_scaled(latent, labels, STRENGTH), sample)


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
