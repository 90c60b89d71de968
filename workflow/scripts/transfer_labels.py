"""Labels of query cells out of a latent space: a weighted vote of their nearest labelled reference cells, and a logistic regression.

in:  latent.parquet of reference and query; labels of the reference's cells; classifier.parquet of the mapped model; tree_labels.parquet, if there is a tree
out: labels.parquet: the sources "knn", "logistic" and, if there are such, the model's own "classifier" and "tree"; distance.parquet: how far each cell is from the reference
"""

import numpy as np
import pandas as pd

from refatlas.cells import read_cells
from refatlas.errors import InputError
from refatlas.jobs import run_job, write_table
from refatlas.knn import nearest, vote, vote_weights
from refatlas.labels import label_table
from refatlas.logistic import apply_logistic, fit_logistic

STRENGTH = 1.0
MAX_CELLS = 20_000
MIN_PER_LABEL = 100
NEIGHBORS = 15


def vote_table(labels: pd.Series, neighbors: np.ndarray, distances: np.ndarray, cells: pd.Index) -> pd.DataFrame:
    """Return the vote of each cell's neighbours.

    Args:
        labels: of the reference's labelled cells. neighbors, distances: of each query cell among them, shape (n_query, k). cells: of the query.
    """
    names, codes = np.unique(labels.astype(str).to_numpy(), return_inverse=True)
    return label_table(cells, "knn", list(names), vote(codes, neighbors, vote_weights(distances), len(names)))


def logistic_table(reference: np.ndarray, labels: pd.Series, query: np.ndarray, cells: pd.Index) -> pd.DataFrame:
    """Return the labels of a logistic regression on the latent space, each dimension scaled to the reference's spread."""
    mean, spread = reference.mean(axis=0), reference.std(axis=0)
    spread[spread == 0] = 1
    arrays = fit_logistic((reference - mean) / spread, labels, STRENGTH)
    return label_table(cells, "logistic", list(arrays["labels"]), apply_logistic(arrays, (query - mean) / spread))


def outlier_factors(reference: np.ndarray, labels: pd.Series, query: np.ndarray, seed: int) -> np.ndarray:
    """Return how much sparser each query cell's surroundings are than those of its neighbours, about 1 for an inlier (Breunig 2000), by scikit-learn.

    A ratio, so that latent spaces of different models can be compared. Of the reference at most 20,000 cells count, drawn evenly from its labels.
    """
    from sklearn.neighbors import LocalOutlierFactor

    per_label = max(MAX_CELLS // labels.nunique(), MIN_PER_LABEL)
    shuffled = labels.reset_index(drop=True).sample(frac=1, random_state=seed)
    drawn = shuffled.groupby(shuffled, observed=True).head(per_label).index
    finder = LocalOutlierFactor(n_neighbors=min(NEIGHBORS, len(drawn) - 1), novelty=True).fit(reference[np.sort(drawn)])
    return -finder.score_samples(query)


def main(smk) -> None:
    reference, query = pd.read_parquet(smk.input.reference), pd.read_parquet(smk.input.query)
    labels = read_cells(smk.input.cells).loc[reference.index].get("label", pd.Series(dtype=object)).dropna()
    if labels.empty:
        raise InputError("no reference cell has a label; set label_key")
    labeled = reference.loc[labels.index].to_numpy()
    neighbors, distances = nearest(labeled, query.to_numpy(), smk.params.k, smk.threads)
    tables = [vote_table(labels, neighbors, distances, query.index), logistic_table(labeled, labels, query.to_numpy(), query.index)]
    others = [pd.read_parquet(path) for path in (smk.input.classifier, smk.input.get("tree")) if path]
    found = pd.concat([*tables, *(table for table in others if len(table))], ignore_index=True)
    write_table(found, smk.output.labels)
    distance = outlier_factors(labeled, labels, query.to_numpy(), smk.params.seed)
    write_table(pd.DataFrame({"distance": distance}, index=query.index), smk.output.distance)
    print(f"{len(query)} cells, sources: {', '.join(found['source'].unique())}")


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
