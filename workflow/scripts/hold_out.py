"""Writes the cells that a fold holds out as if they were a query: counts without labels for the
models, and labels apart.

Their proteins are left out as well, unless the config keeps them: most queries have none, and
models that lean on proteins would look better than they are.

in:  each dataset's files, scan.json, cells.parquet and genes.parquet; fold.parquet, fold.json and
     genes.parquet of the fold; its counts.h5ad, for the names of its proteins, if there are any
out: counts.h5ad (obs has the batch alone, obsm the proteins), cells.parquet (with labels, for
     scoring)
"""

import pandas as pd

from refatlas.io.atomic import read_json, write_table
from refatlas.io.fingerprints import read_fingerprints
from refatlas.io.model_counts import protein_names
from refatlas.jobs.inputs import by_name
from refatlas.jobs.run import run_job
from refatlas.prepare.model_input import write_held_out


def main(smk) -> None:
    paths, tables = by_name(smk.input, "cells"), by_name(smk.input, "genes")
    files = read_fingerprints(list(by_name(smk.input, "scan").values()))
    roles, genes = pd.read_parquet(smk.input.fold)["role"], pd.read_parquet(smk.input.selected)
    cells = {name: pd.read_parquet(paths[name]) for name in smk.params.rows}
    held = roles.index[roles == "held_out"]
    seed = smk.params.seed if read_json(smk.input.plan)["simulated"] else None
    known = protein_names(smk.input.reference or None)
    held_out = write_held_out(
        smk.output.counts, smk.params.rows, cells, tables, held, genes, known,
        keep_proteins=smk.params.proteins, simulate=seed, fold=smk.wildcards.fold, unchanged=files,
    )  # fmt: skip
    write_table(held_out, smk.output.cells)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
