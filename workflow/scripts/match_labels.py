"""Compares the labels of datasets: which are the same, by where they lie in a model's latent space.

in:  latent.parquet of the model; cells.parquet of the datasets with their own labels; tree.csv
     and tree.nwk of the model, if a tree of labels was learned
out: label_agreement.csv (which label lies by which), label_map_template.tsv (suggested names in common, to fill
     in), label_agreement.png
"""

import pandas as pd

from refatlas.annotate.label_matching import agreement_table, same_groups, suggest_names
from refatlas.annotate.label_positions import LabelPositions
from refatlas.annotate.label_relations import relate_labels
from refatlas.annotate.label_text import TreeOfLabels
from refatlas.io.atomic import write_table
from refatlas.io.cell_tables import label_columns, read_cells
from refatlas.jobs.inputs import by_name
from refatlas.jobs.run import run_job
from refatlas.plots import save_figure
from refatlas.report.label_matching_figure import plot_label_agreement


def main(smk) -> None:
    p, latent = smk.params, pd.read_parquet(smk.input.latent)
    cells = read_cells(list(by_name(smk.input, "dataset_cells").values())).loc[latent.index]
    tree = TreeOfLabels.read(smk.input.tree, smk.input.get("newick")) if smk.input.get("tree") else None
    found = relate_labels(LabelPositions.measure(latent, cells, p.k, p.seed, smk.threads), tree)
    template, agreement = suggest_names(found, len(label_columns(cells))), agreement_table(found)
    print(template["relation"].str.split(" ").str[0].value_counts().to_string(header=False))
    write_table(agreement, smk.output.agreement)
    write_table(template, smk.output.template)
    title = f"Labels of datasets in the latent space of {smk.wildcards.model}"
    save_figure(plot_label_agreement(agreement, same_groups(found), title), smk.output.figure)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
