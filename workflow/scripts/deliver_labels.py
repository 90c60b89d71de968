"""Writes the deliverable: one row for every cell of the query's file.

in:  delivered.parquet and verdict.json; labels.parquet of each model, and tree.parquet of those with a tree of labels; the query's cells.parquet
out: labels.csv: cell (as in the user's file), label, confidence, status, coarser levels, set,
set_label, novelty, then {model}_label and {model}_confidence,
     and {model}_tree_node where there is a tree
"""

import pandas as pd

from refatlas.errors import InputError
from refatlas.io.atomic import read_json, write_table
from refatlas.transfer.delivery import SEVERITY, deliverable, with_nodes


def main(smk) -> None:
    cells, found = pd.read_parquet(smk.input.cells), read_json(smk.input.verdict)
    said = f"query {smk.wildcards.query!r}: {found['verdict'].upper()}: {found['reason']}"
    if found["verdict"] in SEVERITY[smk.params.stop]:
        raise InputError(
            f"{said}. Its labels are not written, because verdict.stop is {smk.params.stop}; {smk.input.verdict} has"
            " every reason and what to do"
        )
    tables = {model: pd.read_parquet(path) for model, path in zip(smk.params.models, smk.input.labels, strict=True)}
    rows = deliverable(cells, pd.read_parquet(smk.input.delivered), tables, smk.params.min_confidence, found["verdict"])
    trees = {model: pd.read_parquet(path) for model, path in zip(smk.params.tree_models, smk.input.trees, strict=True)}
    write_table(with_nodes(rows, cells.index, trees), smk.output.labels)
    print(f"{len(rows)} cells: " + ", ".join(f"{n} {status}" for status, n in rows["status"].value_counts().items()))
    for reason in found["reasons"]:
        print(f"  {reason['verdict']}: {reason['check']} {reason['value']}: {reason['says']}; {reason['do']}")
    print(said)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
