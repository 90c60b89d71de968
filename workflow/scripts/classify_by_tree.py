"""Labels of query cells by a tree of labels: where each cell stops in the tree, or that it is
rejected; and, as one more source, probabilities of the labels.

in:  tree.npz of the reference; latent.parquet of the query
out: tree.parquet (one row per cell: node, probability, reason), tree_labels.parquet (the source
     "tree")
"""

import pandas as pd

from refatlas.io.atomic import write_table
from refatlas.jobs.run import run_job
from refatlas.transfer.label_table import label_table
from refatlas.transfer.tree import TreeClassifier, node_table


def main(smk) -> None:
    latent, classifier = pd.read_parquet(smk.input.latent), TreeClassifier.load(smk.input.tree)
    found = classifier.decide(latent.to_numpy())
    table = node_table(latent.index, classifier.tree.names(), found)
    p, labels = classifier.label_probabilities(found)
    write_table(table, smk.output.nodes)
    write_table(label_table(latent.index, "tree", labels, p), smk.output.labels)
    reasons = table["reason"].value_counts()
    print(f"{len(table)} cells: " + ", ".join(f"{n} {reason or 'at a leaf'}" for reason, n in reasons.items()))


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
