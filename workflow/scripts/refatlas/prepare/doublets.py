"""Doublets within batches, by scrublet."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pandas as pd
from scipy import sparse

from refatlas.io.count_file import CountFile
from refatlas.prepare.cell_quality import Scan

MIN_CELLS = 100
# Cells that are held at a time, unless a single batch has more.
HELD_CELLS = 10_000


def drop_doublets(found: Scan, file: CountFile, seed: int) -> None:
    """Mark the doublets that scrublet (Wolock 2019) finds among the kept cells of each batch.

    Batches of fewer than MIN_CELLS cells are not searched.

    Args:
        found: the scan of the file, whose cells and summary are changed.
        file: the counts.
        seed: of scrublet.
    """
    sizes = found.cells.loc[found.cells["keep"], "batch"].value_counts(sort=False)
    for batch, n_cells in sizes[(sizes > 0) & (sizes < MIN_CELLS)].items():
        print(f"doublets: batch {batch} has only {n_cells} cells; not searched")
    batches = found.cells["batch"].where(
        found.cells["keep"] & found.cells["batch"].map(sizes >= MIN_CELLS).astype(bool)
    )
    for batch, counts in counts_by_batch(file, batches):
        doublets = found.cells.index[batches == batch][is_doublet(counts, seed)]
        found.cells.loc[doublets, "reason"] = "doublet"
        print(f"doublets: {len(doublets)} of {counts.shape[0]} cells of batch {batch}")
    found.cells["keep"] = found.cells["reason"] == ""
    found.summary["n_kept"] = int(found.cells["keep"].sum())
    found.summary["low_quality"] = found.cells.loc[~found.cells["keep"], "reason"].value_counts().to_dict()


def is_doublet(counts: sparse.csr_matrix, seed: int) -> np.ndarray:
    """Return whether scrublet takes each cell of a batch for a doublet, shape (n_cells,)."""
    import anndata as ad
    import scanpy as sc

    data = ad.AnnData(counts.astype(np.float32))
    with neighbors_as_matrix():
        sc.pp.scrublet(data, random_state=seed, n_prin_comps=min(30, min(data.shape) - 1))
    predicted: pd.Series = data.obs["predicted_doublet"]
    return predicted.fillna(False).to_numpy(dtype=bool)


@contextmanager
def neighbors_as_matrix() -> Iterator[None]:
    """Let scanpy 1.12 read neighbours from a sparse array, which scikit-learn 1.9 returns for more than 4,096 cells.

    It calls a method that only sparse matrices have. Observed and simulated cells count, so this is of batches of
    1,366 cells or more.
    """
    from scanpy.neighbors import _common

    own = _common._ind_dist_shortcut
    _common._ind_dist_shortcut = lambda distances: own(sparse.csr_matrix(distances))
    try:
        yield
    finally:
        _common._ind_dist_shortcut = own


def counts_by_batch(file: CountFile, batches: pd.Series) -> Iterator[tuple[str, sparse.csr_matrix]]:
    """Yield each batch with the counts of its cells, in few passes over the file, whatever the order of its cells.

    Args:
        batches: of each cell of the file; missing for cells that are in none.
    """
    codes, names = pd.factorize(batches)
    for chosen in passes(codes, HELD_CELLS):
        left = dict(zip(*np.unique(codes[np.isin(codes, chosen)], return_counts=True), strict=True))
        held: dict[int, list[sparse.csr_matrix]] = {code: [] for code in left}
        for start, block in file.blocks():
            here = codes[start : start + block.shape[0]]
            for code in left.keys() & set(here):
                held[code].append(block[here == code])
                left[code] -= held[code][-1].shape[0]
                if left[code] == 0:
                    del left[code]
                    yield names[code], sparse.vstack(held.pop(code), format="csr")
            if not left:
                break


def passes(codes: np.ndarray, most_cells: int) -> list[list[int]]:
    """Return the batches of each pass over a file, so that few cells are held at a time.

    A batch is held from its first cell to its last.

    Args:
        codes: of the batch of each cell; −1 for none.
        most_cells: that are held at a time; more only of a single batch.
    """
    found, first = np.unique(codes, return_index=True)
    last = len(codes) - 1 - np.unique(codes[::-1], return_index=True)[1]
    sizes = np.unique(codes, return_counts=True)[1]
    waiting = [i for i in np.argsort(first) if found[i] >= 0]
    chosen: list[list[int]] = []
    while waiting:
        # A batch that is taken stays held until its last cell; those that end before the next begins are let go.
        taken: set[int] = set()
        held: list[int] = []
        for i in waiting:
            held = [j for j in held if last[j] >= first[i]]
            if not held or sizes[[*held, i]].sum() <= most_cells:
                held.append(i)
                taken.add(i)
        chosen.append([int(found[i]) for i in waiting if i in taken])
        waiting = [i for i in waiting if i not in taken]
    return chosen
