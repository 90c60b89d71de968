"""Selects the highly variable genes of all datasets together (seurat_v3, batch by batch), streamed
from the users' files.

in:  each dataset's files, scan.json, cells.parquet and genes.parquet; of a fold, which cells it
     trains on; pretrained.json of pretrained models, whose genes are then taken
out: genes.parquet, one row per gene of any dataset: statistics, rank, and whether and why it is
     selected; the selected ones in the order of the models' genes
"""

import pandas as pd

from refatlas.io.atomic import read_json, write_table
from refatlas.io.fingerprints import read_fingerprints, require_unchanged
from refatlas.jobs.inputs import by_name
from refatlas.jobs.run import print_on_screen, run_job
from refatlas.prepare.gene_selection import read_batches, select_genes, select_pretrained_genes


def main(smk) -> None:
    rows, fold = smk.params.rows, smk.input.get("fold")
    paths, tables, pretrained = (by_name(smk.input, kind) for kind in ("cells", "genes", "pretrained"))
    files = read_fingerprints(list(by_name(smk.input, "scan").values()))
    cells = [read_batches(paths[name], fold) for name in rows]
    measured = [pd.read_parquet(tables[name]) for name in rows]
    genes = select_genes(list(rows.values()), cells, measured, smk.params.settings, smk.threads)
    if pretrained:
        wanted = {name: read_json(path)["genes"] for name, path in pretrained.items()}
        genes = select_pretrained_genes(genes, wanted, any(row.get("previous_symbols") for row in rows.values()))
    print(f"{genes['selected'].sum()} of {len(genes)} genes selected; {genes['candidate'].sum()} were candidates")
    require_unchanged(files)
    write_table(genes, smk.output.genes)
    if fold is None and genes.attrs.get("union"):
        print_on_screen("\n".join(genes.attrs["union"]))


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
