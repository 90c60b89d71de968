"""Rows of the reference that the jobs of a query read: recorded in the sample of the reference, drawn elsewhere."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import anndata as ad

# Where a sample keeps its rows by draw in uns.
DRAWS = "draws"


def rows_of(counts: "ad.AnnData", draw: str, rows: Callable[[], np.ndarray]) -> np.ndarray:
    """Return the rows of counts that a draw takes, in order.

    Args:
        counts: a reference, or the sample of one, which has the rows of each draw in uns.
        draw: its name.
        rows: function that draws from a whole reference.

    Raises:
        KeyError: the sample was not made for this draw.
    """
    if DRAWS not in counts.uns:
        return rows()
    found: np.ndarray = np.asarray(counts.uns[DRAWS][draw])
    return found
