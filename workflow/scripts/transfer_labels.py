"""Labels of query cells by a weighted vote of their nearest labelled reference cells in a shared latent space.

in:  latent.parquet of reference and query; labels of the reference's cells; classifier.parquet of the mapped model
out: labels.parquet: the vote ("knn"), and the model's own classifier beside it, for every label level
"""

import numpy as np
import pandas as pd

from refatlas.cells import read_cells
from refatlas.errors import InputError
from refatlas.jobs import run_job, write_table
from refatlas.knn import nearest, vote, vote_weights
from refatlas.labels import label_table


def vote_table(reference: pd.DataFrame, labels: pd.Series, query: pd.DataFrame, k: int, level: int, threads: int) -> pd.DataFrame:
    """Return the vote at one level; cells of the reference without a label have no voice.

    Args:
        reference, query: latent spaces, indexed by cell. labels: of the reference's cells, in their order.
    """
    labeled = labels.notna().to_numpy()
    if not labeled.any():
        raise InputError(f"no reference cell has a label of level {level}; set label_key")
    names, codes = np.unique(labels[labeled].astype(str).to_numpy(), return_inverse=True)
    neighbors, distances = nearest(reference.to_numpy()[labeled], query.to_numpy(), k, threads)
    shares = vote(codes, neighbors, vote_weights(distances), len(names))
    return label_table(query.index, "knn", level, list(names), shares)


def main(smk) -> None:
    reference, query = pd.read_parquet(smk.input.reference), pd.read_parquet(smk.input.query)
    cells = read_cells(smk.input.cells).loc[reference.index]
    columns = [column for column in cells.columns if column.startswith("label")]
    tables = [vote_table(reference, cells[column], query, smk.params.k, level, smk.threads) for level, column in enumerate(columns, start=1)]
    classifier = pd.read_parquet(smk.input.classifier)
    labels = pd.concat([*tables, classifier] if len(classifier) else tables, ignore_index=True)
    write_table(labels, smk.output.labels)
    print(f"{len(query)} cells, {len(columns)} label level(s), sources: {', '.join(labels['source'].unique())}")


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
