"""Writes the deliverable: one row for every cell of the query's file.

in:  delivered.parquet and verdict.json; labels.parquet of each model, and tree.parquet of those
     with a tree of labels; the query's cells.parquet; ontology.csv, if labels have terms
out: labels.csv: cell (as in the user's file), label, confidence, status, query_verdict, batch_verdict,
     coarser levels, set, set_label, novelty, novelty_fdr, then {model}_label and
     {model}_confidence, {model}_tree_node where there is a tree, and label_ontology_term_id where
     labels have terms
"""

import pandas as pd

from refatlas.annotate.ontology import read_term_table, with_terms
from refatlas.evaluate.verdict import report_verdict
from refatlas.io.atomic import read_json, write_table
from refatlas.jobs.inputs import by_name
from refatlas.jobs.run import run_job
from refatlas.transfer.deliverable import deliverable, require_accepted, status_counts, with_nodes
from refatlas.transfer.delivery import read_delivered


def main(smk) -> None:
    i, name = smk.input, smk.wildcards.name
    cells, found = pd.read_parquet(i.cells), read_json(i.verdict)
    require_accepted(name, found, smk.params.stop, i.verdict)
    files = {**by_name(i, "labels"), **by_name(i, "external")}
    tables = {source: pd.read_parquet(path) for source, path in files.items()}
    trees = {model: pd.read_parquet(path) for model, path in by_name(i, "tree").items()}
    delivered = read_delivered(i.delivered)
    rows = deliverable(cells, delivered, tables, smk.params.min_confidence, smk.params.alpha, found)
    rows = with_nodes(rows, cells.index, trees)
    write_table(with_terms(rows, read_term_table(i.terms)) if i.get("terms") else rows, smk.output.labels)
    print(status_counts(rows))
    report_verdict(name, found)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
