"""Grids of regions over the sections of a tissue."""

import numpy as np


def grid_names(xy: np.ndarray, sections: np.ndarray, n: int) -> np.ndarray:
    """Return the region of each spot in a grid of n × n for each section.

    Bands along x have as many spots each, and each is cut along y likewise: so no region is rare, and chance is the
    same for all tissues. "x1y2" is the first band along x, and the second part of it along y.
    """
    names = np.empty(len(xy), dtype=object)
    several = len(np.unique(sections)) > 1
    for section in np.unique(sections):
        own = np.flatnonzero(sections == section)
        along_x = _bands(xy[own, 0], n)
        for band in range(n):
            inside = own[along_x == band]
            along_y = _bands(xy[inside, 1], n)
            prefix = f"{section}:" if several else ""
            names[inside] = [f"{prefix}x{band + 1}y{part + 1}" for part in along_y]
    return names


def _bands(values: np.ndarray, n: int) -> np.ndarray:
    """Return the band of each value, of n bands with about as many values each; equal values share one."""
    if not len(values):
        return np.zeros(0, dtype=int)
    return np.searchsorted(np.quantile(values, np.arange(1, n) / n), values, side="left")
