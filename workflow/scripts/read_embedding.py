"""Reads an embedding of cells that was made elsewhere, ahead of all training.

in:  a dataset's or query's files, and its cells.parquet; of a query, the embeddings of the datasets, which it must fit
out: embeddings/MODEL.parquet: cells × dimensions
"""

import pandas as pd
import pyarrow.parquet as parquet

from refatlas.io.atomic import write_table
from refatlas.io.fingerprints import fingerprints, require_unchanged
from refatlas.io.raw_counts import open_row
from refatlas.jobs.inputs import by_name
from refatlas.jobs.run import run_job
from refatlas.prepare.embeddings import read_embedding, require_same_dimensions
from refatlas.remote.fetched import data_files


def main(smk) -> None:
    row, name = smk.params.row, smk.wildcards.model
    where = f"config: models: {name}: model: key {smk.params.key!r}"
    before = fingerprints(data_files(smk.input.files))
    cells = pd.read_parquet(smk.input.cells, columns=["barcode"]).index
    found = read_embedding(open_row(row), smk.params.key, cells, where)
    others = {other: _dimensions(path) for other, path in by_name(smk.input, "embedding").items()}
    require_same_dimensions(found.shape[1], others, f"{where}: {row['path']}")
    require_unchanged(before)
    write_table(found, smk.output.embedding)
    print(f"{row['path']}: {found.shape[0]} cells × {found.shape[1]} dimensions of {smk.params.key}")


def _dimensions(path: str) -> int:
    return sum(name.startswith("dim_") for name in parquet.read_schema(path).names)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
