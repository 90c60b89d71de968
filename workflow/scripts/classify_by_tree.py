"""Labels of query cells by a tree of labels: where each cell stops in the tree, or that it is rejected; and, as one more source, probabilities of the labels.

in:  tree.npz of the reference; latent.parquet of the query
out: tree.parquet (a row a cell: node, probability, reason), tree_labels.parquet (the source "tree")
"""

import numpy as np
import pandas as pd

from refatlas.jobs import run_job, write_table
from refatlas.labels import label_table
from refatlas.tree import REJECTED, Decision, TreeClassifier


def node_table(cells: pd.Index, names: list[str], found: Decision) -> pd.DataFrame:
    """Return where each cell stops: node (a leaf, an inner node, "root" or "rejected"), its probability (missing for a rejected cell), and the reason.

    Args:
        names: of the tree's nodes.
    """
    rejected = found.rejected()
    node = np.where(rejected, REJECTED, np.array(names, dtype=object)[found.node])
    probability = np.where(rejected, np.nan, found.reached[np.arange(len(cells)), found.node])
    return pd.DataFrame({"node": node, "probability": probability, "reason": found.reason}, index=pd.Index(cells, name="cell"))


def main(smk) -> None:
    latent, classifier = pd.read_parquet(smk.input.latent), TreeClassifier.load(smk.input.tree)
    found = classifier.decide(latent.to_numpy())
    table = node_table(latent.index, classifier.tree.names(), found)
    p, labels = classifier.label_probabilities(found)
    write_table(table, smk.output.nodes)
    write_table(label_table(latent.index, "tree", labels, p), smk.output.labels)
    print(f"{len(table)} cells: " + ", ".join(f"{n} {reason or 'at a leaf'}" for reason, n in table["reason"].value_counts().items()))


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
