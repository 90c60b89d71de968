"""Parts of an AnnData of counts with the types that they have in this workflow.

anndata declares them as unions over all of its backends.
"""

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from anndata import AnnData


def count_matrix(counts: "AnnData") -> Any:
    """Return the counts, CSR, shape (n_cells, n_genes)."""
    return counts.X


def cell_column(counts: "AnnData", name: str) -> "pd.Series":
    """Return a column of the cells."""
    return cast("pd.Series", counts.obs[name])


def protein_counts(counts: "AnnData") -> "np.ndarray":
    """Return the counts of proteins, shape (n_cells, n_proteins)."""
    return cast("np.ndarray", counts.obsm["proteins"])
