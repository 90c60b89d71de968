"""All sources of labels of one model: weighted kNN, logistic regression, its classifier, its label tree."""

import pandas as pd

from refatlas.transfer.reference_index import ReferenceIndex
from refatlas.transfer.weighted_knn import logistic_table, outlier_factors, weighted_knn_labels


def model_labels(
    index: str, reference: str, query: str, classifier: str, tree: str | None = None, *, k: int, threads: int = 1
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the labels of a query's cells by all sources of one model, and how far they are from the reference.

    Args:
        index: path of index.npz of the reference.
        reference: path of the latent.parquet of which the index was made.
        query: path of the query's latent.parquet.
        classifier: path of classifier.parquet of the mapped model, which may have no rows.
        tree: path of tree_labels.parquet, if the model has a label tree.
        k: number of neighbours of weighted kNN.
        threads: number of threads.

    Returns:
        labels.parquet with the sources "knn", "logistic" and, where there are such, "classifier"
        and "tree" (see `label_table`), and distance.parquet with the column distance (see
        `outlier_factors`).

    Raises:
        InputError: the index is damaged or was made of another latent space.
    """
    indexed, latent = ReferenceIndex.load(index, reference), pd.read_parquet(query)
    x, cells = latent.to_numpy(), latent.index
    tables = [
        weighted_knn_labels(indexed, x, cells, k, threads),
        logistic_table(indexed.logistic, x, cells),
        *(pd.read_parquet(path) for path in (classifier, tree) if path),
    ]
    # pandas will no longer ignore the columns of tables without rows.
    labels = pd.concat([table for table in tables if len(table)], ignore_index=True)
    factors = outlier_factors(indexed.sample, x, threads, indexed.density)
    return labels, pd.DataFrame({"distance": factors}, index=cells)
