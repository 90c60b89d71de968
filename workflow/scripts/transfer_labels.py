"""Labels of query cells out of a latent space: a weighted vote of their nearest labelled reference cells, and a logistic regression.

in:  index.npz of the reference, and the latent.parquet that it was made of; latent.parquet of the query; classifier.parquet of the mapped model; tree_labels.parquet, if there is a tree
out: labels.parquet: the sources "knn", "logistic" and, if there are such, the model's own "classifier" and "tree"; distance.parquet: how far each cell is from the reference
"""

import numpy as np
import pandas as pd

from refatlas.jobs import run_job, write_table
from refatlas.knn import Index, vote, vote_weights
from refatlas.labels import label_table
from refatlas.logistic import apply_scaled
from refatlas.reference_index import ReferenceIndex

NEIGHBORS = 15
# Query cells that vote at a time: what bounds the memory.
BLOCK = 50_000


def vote_table(labels: pd.Series, neighbors: np.ndarray, distances: np.ndarray, cells: pd.Index) -> pd.DataFrame:
    """Return the vote of each cell's neighbours.

    Args:
        labels: of the reference's labelled cells. neighbors, distances: of each query cell among them, shape (n_query, k). cells: of the query.
    """
    labels = pd.Categorical(labels)
    names = list(labels.categories)
    return label_table(cells, "knn", names, vote(labels.codes.astype(np.int64), neighbors, vote_weights(distances), len(names)))


def vote_in_blocks(reference: ReferenceIndex, query: np.ndarray, cells: pd.Index, k: int, threads: int, block: int = BLOCK) -> pd.DataFrame:
    """Return the vote of the k nearest reference cells of each query cell, a block of cells at a time."""
    labels = reference.labels()
    starts = range(0, len(query), block)
    return pd.concat([vote_table(labels, *reference.index.search(query[start : start + block], k, threads), cells[start : start + block]) for start in starts], ignore_index=True)


def logistic_table(arrays: dict[str, np.ndarray], query: np.ndarray, cells: pd.Index) -> pd.DataFrame:
    """Return the labels of a logistic regression on the latent space; `arrays` is what `fit_scaled` returned."""
    return label_table(cells, "logistic", list(arrays["labels"]), apply_scaled(arrays, query))


def outlier_factors(sample: np.ndarray, query: np.ndarray, threads: int = 1) -> np.ndarray:
    """Return how much sparser each query cell's surroundings are than those of its neighbours, about 1 for an inlier (local outlier factor, Breunig 2000).

    A ratio, so that latent spaces of different models can be compared. `sample` is of the reference. On the index, where scikit-learn, with the same
    answer, would take longer to import than this to compute.
    """
    k = min(NEIGHBORS, len(sample) - 1)
    index = Index.build(sample)
    found, distances = index.search(sample, k + 1, threads)
    others = found != np.arange(len(sample))[:, None]
    # Of many equal cells one is not among its own nearest.
    others[others.all(axis=1), 0] = False
    found, distances = found[others].reshape(-1, k), distances[others].reshape(-1, k)
    reach = distances[:, -1]

    def density(found: np.ndarray, distances: np.ndarray) -> np.ndarray:
        return 1 / (np.maximum(distances, reach[found]).mean(axis=1) + 1e-10)

    own, (found_of_query, distances_of_query) = density(found, distances), index.search(query, k, threads)
    return own[found_of_query].mean(axis=1) / density(found_of_query, distances_of_query)


def main(smk) -> None:
    reference, query = ReferenceIndex.load(smk.input.index, smk.input.reference), pd.read_parquet(smk.input.query)
    latent = query.to_numpy()
    tables = [vote_in_blocks(reference, latent, query.index, smk.params.k, smk.threads), logistic_table(reference.logistic, latent, query.index)]
    others = [pd.read_parquet(path) for path in (smk.input.classifier, smk.input.get("tree")) if path]
    found = pd.concat([*tables, *(table for table in others if len(table))], ignore_index=True)
    write_table(found, smk.output.labels)
    write_table(pd.DataFrame({"distance": outlier_factors(reference.sample, latent, smk.threads)}, index=query.index), smk.output.distance)
    print(f"{len(query)} cells, sources: {', '.join(found['source'].unique())}")


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
