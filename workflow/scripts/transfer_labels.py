"""Labels of query cells out of the latent space of every model: weighted kNN and a logistic
regression, and the labels of the model's own classifier and its tree of labels, where it has
them.

in:  of each model, index.npz of the reference and the latent.parquet that it was made of;
     latent.parquet and classifier.parquet of the query; tree_labels.parquet, if there is a tree
out: of each model, labels.parquet: the sources "knn", "logistic" and, where there are such,
     "classifier" and "tree"; distance.parquet: how far each cell is from the reference
"""

from refatlas.io.atomic import write_table
from refatlas.jobs.inputs import by_name_and_kind
from refatlas.jobs.run import run_job
from refatlas.transfer.model_labels import model_labels


def main(smk) -> None:
    outputs = by_name_and_kind(smk.output, "labels", "distance")
    inputs = by_name_and_kind(smk.input, "index", "reference", "query", "classifier", "tree")
    for model, files in inputs.items():
        labels, distance = model_labels(**files, k=smk.params.k, threads=smk.threads)
        write_table(labels, outputs[model]["labels"])
        write_table(distance, outputs[model]["distance"])
        print(f"{model}: {len(distance)} cells, sources: {', '.join(labels['source'].unique())}", flush=True)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
