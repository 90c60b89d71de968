"""The sample of a reference: the cells whose counts the jobs of a query read, so that none reads all."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from refatlas.evaluate.query_measures import measured_rows
from refatlas.evaluate.simulated_counts import simulated_counts
from refatlas.io.atomic import atomic_path
from refatlas.io.model_counts import read_counts
from refatlas.io.row_reader import take_rows
from refatlas.transfer.model_fit import moved_rows
from refatlas.transfer.neighborhood_shift import compared_rows
from refatlas.transfer.query_match import matched_rows
from refatlas.transfer.recorded_rows import DRAWS

Draw = Callable[[pd.DataFrame, int], np.ndarray]
# What each job draws from obs and the seed. It draws the same cells from the sample as from the reference.
OF_JOBS: dict[str, Draw] = {
    "matched": matched_rows,
    "compared": compared_rows,
    "moved": lambda obs, seed: moved_rows(len(obs), seed),
    "measured": lambda obs, seed: measured_rows(len(obs), seed),
}


def write_sample(counts: str | Path, path: str | Path, seed: int, latent: str | None = None) -> int:
    """Write the sample of a reference as h5ad, and return its number of cells.

    It has the cells of all draws and one of each batch and label, in the reference's order; uns["draws"] has the
    rows of each draw in the sample. Only the counts of these cells are read.

    Args:
        counts: path of the reference's counts.
        path: of the new file.
        seed: seed of all draws.
        latent: path of a latent space of the reference, if its cells are to have simulated counts.
    """
    reference = read_counts(counts, True)
    obs: Any = reference.obs
    drawn = {name: draw(obs, seed) for name, draw in OF_JOBS.items()}
    rows = np.unique(np.concatenate([*drawn.values(), first_rows(obs)]))
    x: Any = reference.X
    sample = ad.AnnData(
        take_rows(x, rows),
        obs=obs.iloc[rows],
        var=reference.var,
        obsm={name: np.asarray(values)[rows] for name, values in reference.obsm.items()},
        uns={**reference.uns, DRAWS: {name: np.searchsorted(rows, found) for name, found in drawn.items()}},
    )
    if latent:
        sample = simulated_counts(sample, pd.read_parquet(latent).loc[sample.obs_names].to_numpy(), seed)
    with atomic_path(path) as part:
        sample.write_h5ad(part, compression="gzip")
    return len(rows)


def first_rows(obs: pd.DataFrame) -> np.ndarray:
    """Return the first row of each batch and of each label: models look for all that they were trained on."""
    columns = [name for name in obs if name == "batch" or name.startswith("label")]
    firsts = [np.flatnonzero(obs[name].notna() & ~obs[name].duplicated()) for name in columns]
    return np.concatenate([np.zeros(0, dtype=int), *firsts])
