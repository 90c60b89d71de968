"""Doublets within batches, by scrublet."""

import numpy as np

from refatlas.io.count_file import CountFile
from refatlas.prepare.cell_quality import Scan


def drop_doublets(found: Scan, file: CountFile, seed: int) -> None:
    """Mark the doublets that scrublet (Wolock 2019) finds among the kept cells of each batch;
    batches under 100 cells are left alone.
    """
    import anndata as ad
    import scanpy as sc
    from scipy import sparse

    for batch, cells in found.cells[found.cells["keep"]].groupby("batch", observed=True):
        if len(cells) < 100:
            print(f"doublets: batch {batch} has only {len(cells)} cells; not searched")
            continue
        wanted = (found.cells["batch"] == batch).to_numpy() & found.cells["keep"].to_numpy()
        parts = [
            block[wanted[start : start + block.shape[0]]]
            for start, block in file.blocks()
            if wanted[start : start + block.shape[0]].any()
        ]
        data = ad.AnnData(sparse.vstack(parts, format="csr").astype(np.float32))
        sc.pp.scrublet(data, random_state=seed, n_prin_comps=min(30, len(cells) - 1, len(found.genes) - 1))
        doublets = cells.index[data.obs["predicted_doublet"].fillna(False).to_numpy(dtype=bool)]
        found.cells.loc[doublets, "reason"] = "doublet"
        print(f"doublets: {len(doublets)} of {len(cells)} cells of batch {batch}")
    found.cells["keep"] = found.cells["reason"] == ""
