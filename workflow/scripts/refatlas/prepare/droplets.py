"""Whether the barcodes of a file are all droplets, most of them without a cell."""

import numpy as np
import pandas as pd

from refatlas.errors import shown

# Barcodes with fewer counts are empty whatever the limits, so that they say nothing.
MIN_COUNTS = 10
# Fewer barcodes than an unfiltered matrix has in any sample.
MIN_BARCODES = 1000
# Twice the 100 counts below which EmptyDrops (Lun et al. 2019) takes all droplets to be empty. Of ten times as many
# counts as the median, no tail of cells has a third: log-normal totals would need a standard deviation of 1.3.
MAX_MEDIAN, RATIO, MIN_SHARE = 200, 10, 0.3


def unfiltered_batches(cells: pd.DataFrame, min_counts: float) -> dict[str, str]:
    """Return the batches that seem to hold all droplets, with the figures that say so.

    Half of their barcodes have few counts, as ambient RNA gives, and a few others have many.

    Args:
        cells: with batch and total_counts.
        min_counts: of the config's `qc`; cells with fewer are dropped anyway, so that they do no harm.
    """
    used = cells.loc[cells["total_counts"] >= max(min_counts, MIN_COUNTS), ["batch", "total_counts"]]
    found = {}
    for batch, totals in used.groupby("batch", observed=True, sort=False)["total_counts"]:
        median, large = float(totals.median()), totals[totals > RATIO * totals.median()]
        share = float(large.sum() / totals.sum())
        if len(totals) >= MIN_BARCODES and median < MAX_MEDIAN and share >= MIN_SHARE:
            found[str(batch)] = (
                f"{len(totals):,} barcodes with {median:,.0f} counts in the median, of which {len(large):,} have"
                f" {share:.0%} of all counts, {np.median(large):,.0f} each"
            )
    return found


def droplets_text(batches: dict[str, str]) -> str:
    """Return what is to be said of batches that seem to hold all droplets."""
    figures = "; ".join(f"{shown(batch)} ({said})" for batch, said in list(batches.items())[:3])
    return (
        f"these seem to be all droplets, unfiltered, of which most hold ambient RNA and no cell: {figures}; give the"
        " filtered matrix of the pipeline, or leave out the empty droplets by EmptyDrops or CellBender"
    )
