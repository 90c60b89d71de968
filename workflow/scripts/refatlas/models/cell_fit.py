"""How well a mapped model explains each cell of a query."""

from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from refatlas.transfer.model_fit import deviance_ratio
from refatlas.transfer.neighborhood_shift import shift_from_reference


def fit_table(mapped: Any, counts: AnnData, seed: int) -> pd.DataFrame:
    """Return deviance_ratio, one row per cell of the query."""
    return pd.DataFrame(
        {"deviance_ratio": deviance_ratio(mapped, counts, seed)}, index=pd.Index(counts.obs_names, name="cell")
    )


def with_neighborhood_shift(
    fit: pd.DataFrame,
    reference: Any,
    reference_counts: AnnData,
    counts: AnnData,
    latent: np.ndarray,
    seed: int,
    threads: int,
) -> pd.DataFrame:
    """Return the table with neighborhood_shift, in the latent space of one model.

    Args:
        fit: of `fit_table`. reference: the model before mapping. latent: of the query, shape (n_cells, n_latent).
    """
    shift = shift_from_reference(reference, reference_counts, counts, latent, seed, threads)
    return fit.assign(neighborhood_shift=shift)
