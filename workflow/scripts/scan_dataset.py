"""Reads a reference dataset once: checks every value, measures every cell, and decides which cells to keep.

in:  the dataset's own file
out: cells.parquet (one row a cell), genes.parquet (one row a gene column), scan.json (what was read, files by size and time, and notes)
"""

import numpy as np
import pandas as pd

from refatlas.apart import run_apart
from refatlas.counts import CountFile, open_counts
from refatlas.errors import InputError
from refatlas.files import require_unchanged, stamps
from refatlas.jobs import write_json, write_table
from refatlas.scanning import Scan, scan


def drop_doublets(found: Scan, file: CountFile, seed: int) -> None:
    """Mark the doublets that scrublet (Wolock 2019) finds among the kept cells of each batch; batches under 100 cells are left alone."""
    import anndata as ad
    import scanpy as sc
    from scipy import sparse

    for batch, cells in found.cells[found.cells["keep"]].groupby("batch", observed=True):
        if len(cells) < 100:
            print(f"doublets: batch {batch} has only {len(cells)} cells; not searched")
            continue
        wanted = (found.cells["batch"] == batch).to_numpy() & found.cells["keep"].to_numpy()
        parts = [block[wanted[start : start + block.shape[0]]] for start, block in file.blocks() if wanted[start : start + block.shape[0]].any()]
        data = ad.AnnData(sparse.vstack(parts, format="csr").astype(np.float32))
        sc.pp.scrublet(data, random_state=seed, n_prin_comps=min(30, len(cells) - 1, len(found.genes) - 1))
        doublets = cells.index[data.obs["predicted_doublet"].fillna(False).to_numpy(dtype=bool)]
        found.cells.loc[doublets, "reason"] = "doublet"
        print(f"doublets: {len(doublets)} of {len(cells)} cells of batch {batch}")
    found.cells["keep"] = found.cells["reason"] == ""


def report_scan(found: Scan) -> None:
    """Print what was read and what was dropped."""
    summary = found.summary
    print(f"{summary['path']}: {summary['n_cells']} cells × {summary['n_genes']} genes; {summary['n_kept']} cells of good quality")
    for reason, n in summary["low_quality"].items():
        print(f"  {n} cells: {reason}")
    for note in summary["notes"]:
        print(f"  {note}")


def main(smk) -> None:
    row, qc, files = smk.params.row, smk.params.qc, stamps(smk.input.files)
    file = open_counts(row["path"], row["layer"], row["metadata"])
    found = scan(file, smk.wildcards.dataset, row, qc, smk.params.unlabeled, smk.threads)
    if qc["doublets"]:
        drop_doublets(found, file, smk.params.seed)
        found.summary["n_kept"] = int(found.cells["keep"].sum())
        found.summary["low_quality"] = found.cells.loc[~found.cells["keep"], "reason"].value_counts().to_dict()
    report_scan(found)
    if not found.cells["keep"].any():
        raise InputError(
            f"dataset {smk.wildcards.dataset!r} ({row['path']}): none of its {len(found.cells)} cells passes the quality limits ({found.summary['low_quality']}); lower the limits in the config's qc, or leave the dataset out"
        )
    require_unchanged(files)
    found.summary["files"] = files
    write_table(pd.DataFrame(found.cells), smk.output.cells)
    write_table(found.genes, smk.output.genes)
    write_json(found.summary, smk.output.summary)


if "snakemake" in globals():
    run_apart(main, snakemake)  # noqa: F821
