"""Doublets within batches, by scrublet."""

import numpy as np
import pandas as pd

from refatlas.io.count_file import CountFile
from refatlas.prepare.cell_quality import Scan

MIN_CELLS = 100


def drop_doublets(found: Scan, file: CountFile, seed: int) -> None:
    """Mark the doublets that scrublet (Wolock 2019) finds among the kept cells of each batch.

    Batches of fewer than MIN_CELLS cells are not searched.

    Args:
        found: the scan of the file, whose cells and summary are changed.
        file: the counts.
        seed: of scrublet.
    """
    import anndata as ad
    import scanpy as sc
    from scipy import sparse

    for batch, cells in found.cells[found.cells["keep"]].groupby("batch", observed=True):
        if len(cells) < MIN_CELLS:
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
        predicted: pd.Series = data.obs["predicted_doublet"]
        doublets = cells.index[predicted.fillna(False).to_numpy(dtype=bool)]
        found.cells.loc[doublets, "reason"] = "doublet"
        print(f"doublets: {len(doublets)} of {len(cells)} cells of batch {batch}")
    found.cells["keep"] = found.cells["reason"] == ""
    found.summary["n_kept"] = int(found.cells["keep"].sum())
    found.summary["low_quality"] = found.cells.loc[~found.cells["keep"], "reason"].value_counts().to_dict()
