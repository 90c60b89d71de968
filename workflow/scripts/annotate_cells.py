"""Gives the cells of the reference the labels of the annotation and the label map.

in:  cells.parquet of the datasets; the annotation with clusters.parquet of the model that it names; the
     label map; both as people wrote them
out: labelled_cells.parquet of each dataset (label, label_2 … and excluded); annotation.json (who named
     what, what changed since the round before, and how many cells each label has);
     annotation_changes.csv (clusters that no longer contain the same cells);
     excluded_cells.tsv (cells of clusters that are excluded, for the config's exclude)
"""

import pandas as pd

from refatlas.annotate.annotation import annotate_datasets
from refatlas.annotate.rounds import record_round
from refatlas.config.annotation import parse_annotation
from refatlas.config.label_map import read_label_map
from refatlas.io.atomic import write_json, write_table
from refatlas.jobs.inputs import by_name
from refatlas.jobs.run import run_job


def main(smk) -> None:
    i, out = smk.input, smk.output
    cells = {name: pd.read_parquet(path) for name, path in by_name(i, "dataset_cells").items()}
    written = {kind: i.get(kind) for kind in ("annotation", "label_map")}
    rows = parse_annotation(written["annotation"]) if written["annotation"] else []
    names = read_label_map(written["label_map"], cells) if written["label_map"] else []
    clusters = pd.read_parquet(i.clusters) if i.get("clusters") else None
    found = annotate_datasets(cells, rows, names, clusters, written, smk.params.changed)
    for name, path in by_name(out, "cells").items():
        write_table(found.cells[name], path)
    write_table(found.changes, out.changes)
    write_table(found.excluded, out.excluded)
    write_json(record_round(out.summary, rows, names, written, found), out.summary)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
