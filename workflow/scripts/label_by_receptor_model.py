"""Labels of the cells with a pair, by their neighbours in the latent space of a model of paired T-cell receptors.

in:  latent.parquet of the reference and of the query, of cells with a pair; the datasets' cells.parquet, with labels;
     the query's cells.parquet
out: labels.parquet of all cells with the source "external", without a label for cells without a pair; votes.json: how
     many cells have a label
"""

import pandas as pd

from refatlas.io.atomic import write_json, write_table
from refatlas.io.cell_tables import read_cells
from refatlas.jobs.inputs import by_name
from refatlas.jobs.run import run_job
from refatlas.transfer.external_labels import report_votes
from refatlas.transfer.partial_labels import label_placed_cells


def main(smk) -> None:
    i = smk.input
    reference = pd.read_parquet(i.reference)
    labels = read_cells(list(by_name(i, "dataset_cells").values()), ["label"])["label"].loc[reference.index]
    cells = pd.read_parquet(i.cells, columns=["batch"]).index
    found = label_placed_cells(reference, labels, pd.read_parquet(i.latent), cells, smk.params.k)
    report_votes(found.facts, f"{smk.wildcards.receptor_model}: {smk.wildcards.query}")
    write_table(found.table, smk.output.labels)
    write_json(found.facts, smk.output.votes)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
