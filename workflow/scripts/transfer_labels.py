"""Labels of query cells out of a latent space: a weighted vote of their nearest labelled reference
cells, and a logistic regression.

in:  index.npz of the reference, and the latent.parquet that it was made of; latent.parquet of the query; classifier.parquet of the mapped model; tree_labels.parquet, if there is a tree
out: labels.parquet: the sources "knn", "logistic" and, if there are such, the model's own
"classifier" and "tree"; distance.parquet: how far each cell is from the reference
"""

import pandas as pd

from refatlas.io.atomic import write_table
from refatlas.transfer.reference_index import ReferenceIndex
from refatlas.transfer.weighted_knn import logistic_table, outlier_factors, weighted_knn_labels


def main(smk) -> None:
    reference, query = ReferenceIndex.load(smk.input.index, smk.input.reference), pd.read_parquet(smk.input.query)
    latent = query.to_numpy()
    tables = [
        weighted_knn_labels(reference, latent, query.index, smk.params.k, smk.threads),
        logistic_table(reference.logistic, latent, query.index),
    ]
    others = [pd.read_parquet(path) for path in (smk.input.classifier, smk.input.get("tree")) if path]
    found = pd.concat([*tables, *(table for table in others if len(table))], ignore_index=True)
    write_table(found, smk.output.labels)
    write_table(
        pd.DataFrame({"distance": outlier_factors(reference.sample, latent, smk.threads)}, index=query.index),
        smk.output.distance,
    )
    print(f"{len(query)} cells, sources: {', '.join(found['source'].unique())}")


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
