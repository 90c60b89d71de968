"""Describes the clusters of one model, suggests names for them, and writes templates for people to fill in.

in:  clusters.parquet and markers.parquet of the model; cells.parquet of the datasets; genes.parquet of the
     reference; the users' tables of marker genes and of labels, if the config names some
out: clusters.csv (composition, quality, flags), suggestions.csv (names with the evidence for and
     against), and for each resolution annotation/RESOLUTION.tsv, whose column label is empty
"""

import pandas as pd

from refatlas.annotate.annotation import annotation_template
from refatlas.annotate.cluster_summary import summarize_clusters
from refatlas.annotate.held_cells import cell_hashes
from refatlas.annotate.suggestions import overall, suggest_names
from refatlas.io.atomic import write_table
from refatlas.io.cell_tables import read_cells
from refatlas.jobs.inputs import by_name
from refatlas.jobs.run import run_job


def main(smk) -> None:
    i, out, p = smk.input, smk.output, smk.params
    clusters, markers, genes = (pd.read_parquet(path) for path in (i.clusters, i.markers, i.genes))
    cells = read_cells(list(by_name(i, "dataset_cells").values())).loc[clusters.index]
    summary = summarize_clusters(clusters, cells, markers)
    suggestions = suggest_names(clusters, cells, markers, genes, p.suggestions, p.unlabeled)
    names = overall(suggestions)
    write_table(summary, out.clusters)
    write_table(suggestions, out.suggestions)
    hashes = cell_hashes(clusters.index)
    for resolution, path in by_name(out, "template").items():
        of_resolution = (table[table["resolution"].astype(str) == resolution] for table in (summary, names))
        template = annotation_template(smk.wildcards.model, clusters[resolution], hashes, *of_resolution, p.n_levels)
        write_table(template, path)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
