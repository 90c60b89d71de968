"""Selects the highly variable genes of all datasets together (seurat_v3, batch by batch), streamed
from the users' own files.

in:  each dataset's file, cells.parquet and genes.parquet; of a fold, which cells it trains on; facts.json of models made elsewhere, whose genes are then taken
out: genes.parquet, one row a gene of any dataset: statistics, rank, and whether and why it is
selected; selected ones in the order of the models' genes
"""

import pandas as pd

from refatlas.io.atomic import read_json, write_table
from refatlas.io.fingerprints import read_fingerprints, require_unchanged
from refatlas.prepare.gene_selection import batches_of, select, take_pretrained


def main(smk) -> None:
    files = read_fingerprints(smk.input.scans)
    cells = [batches_of(path, smk.input.get("fold")) for path in smk.input.cells]
    tables = [pd.read_parquet(path) for path in smk.input.genes]
    genes = select(smk.params.rows, cells, tables, smk.params.settings, smk.threads)
    if smk.params.pretrained:
        genes = take_pretrained(
            genes,
            {
                name: read_json(path)["genes"]
                for name, path in zip(smk.params.pretrained, smk.input.pretrained, strict=True)
            },
        )
    print(
        f"{int(genes['selected'].sum())} of {len(genes)} genes selected; {int(genes['candidate'].sum())} were"
        " candidates"
    )
    require_unchanged(files)
    write_table(genes, smk.output.genes)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
