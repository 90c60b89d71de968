"""Writes what lists of queries show of one query: the index page, the project log, MultiQC.

in:  check.json; mapping.json of each model; labels.csv, verdict.json and novel_groups.csv, if there are any
out: summary.json
"""

import pandas as pd

from refatlas.io.atomic import TEXT_COLUMNS, read_csv, read_json, write_json
from refatlas.jobs.inputs import by_name
from refatlas.jobs.run import run_job
from refatlas.report.query_summary import LABEL_COLUMNS, query_summary


def read_labels(path: str) -> pd.DataFrame:
    """Return the columns of labels.csv that the summary needs."""
    texts = {column: str for column in LABEL_COLUMNS if column in TEXT_COLUMNS}
    return pd.read_csv(path, usecols=list(LABEL_COLUMNS), converters=texts)


def main(smk) -> None:
    i = smk.input
    found = query_summary(
        smk.wildcards.name,
        read_json(i.check),
        {model: read_json(path) for model, path in by_name(i, "mapping").items()},
        read_labels(i.labels) if i.get("labels") else None,
        read_json(i.verdict) if i.get("verdict") else None,
        read_csv(i.novel_groups) if i.get("novel_groups") else None,
    )
    write_json(found, smk.output.summary)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
