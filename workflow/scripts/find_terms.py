"""Finds the term of the Cell Ontology of each label.

in:  cells.parquet of the datasets; the user's table of terms, if there is one
out: ontology.csv: label, term, name, origin
"""

from refatlas.annotate.ontology import terms_of_labels
from refatlas.config.ontology import read_terms
from refatlas.io.atomic import write_table
from refatlas.io.cell_tables import label_columns, read_cells
from refatlas.jobs.inputs import by_name
from refatlas.jobs.run import run_job


def main(smk) -> None:
    cells = read_cells(list(by_name(smk.input, "dataset_cells").values()), named=False)
    labels = {label for column in label_columns(cells) for label in cells[column].dropna().unique()}
    terms = read_terms(smk.input.terms) if smk.input.get("terms") else {}
    found = terms_of_labels(labels, terms, smk.params.names)
    write_table(found, smk.output.terms)
    without = found.loc[found["term"] == "", "label"]
    print(f"{len(found) - len(without)} of {len(found)} labels have a term; without: {', '.join(without) or 'none'}")


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
