"""Writes the counts that models train on: the kept cells of all datasets × the selected genes.

in:  each dataset's files, scan.json, cells.parquet and genes.parquet; the split's genes.parquet; of
     a fold, which cells it trains on; pretrained.json of pretrained models that know proteins
out: counts.h5ad; obs has dataset, batch, label (label_2 … for coarser levels); obsm the proteins of
     all datasets, if any has some
"""

import pandas as pd

from refatlas.io.atomic import read_json
from refatlas.io.cell_tables import mark_training_cells
from refatlas.io.fingerprints import read_fingerprints
from refatlas.jobs.inputs import by_name
from refatlas.jobs.run import run_job
from refatlas.prepare.model_input import write_reference


def main(smk) -> None:
    paths, tables, pretrained = (by_name(smk.input, kind) for kind in ("cells", "genes", "pretrained"))
    files = read_fingerprints(list(by_name(smk.input, "scan").values()))
    rows, fold = smk.params.rows, smk.input.get("fold")
    cells = {name: mark_training_cells(pd.read_parquet(paths[name]), fold) for name in rows}
    genes = pd.read_parquet(smk.input.selected)
    known = {name: read_json(path)["proteins"] for name, path in pretrained.items()}
    write_reference(smk.output.counts, rows, cells, tables, genes, known, unchanged=files)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
