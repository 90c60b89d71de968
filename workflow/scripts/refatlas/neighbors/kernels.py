"""The search in an index of cells (refatlas.knn), compiled.

A leaf, or a cell, is passed over only where single precision with its largest possible error proves
it to be beyond the k-th nearest found so far;
all others are measured in double precision.
"""

import numpy as np

from refatlas.numba_cache import cached_njit

GROUP = 16
BLOCK = 32
# Reordered sums may be vectorised; infinities stay as they are.
FAST = {"contract", "reassoc", "nsz", "arcp"}


@cached_njit(fastmath=FAST)
def _bounds(place, low, high, bounds):
    """Fill in the squared distance from a place to each leaf's box."""
    bounds[:] = 0
    for i in range(low.shape[0]):
        value = place[i]
        for leaf in range(low.shape[1]):
            beyond = max(max(low[i, leaf] - value, value - high[i, leaf]), np.float32(0))
            bounds[leaf] += beyond * beyond


@cached_njit(fastmath=FAST)
def _add_squares(place, components, squares):
    """Add the squared differences in some components, shape (n_components, n_cells)."""
    for i in range(components.shape[0]):
        value = place[i]
        for j in range(components.shape[1]):
            difference = value - components[i, j]
            squares[j] += difference * difference


@cached_njit(fastmath=FAST)
def _n_within(squares, limit):
    n = 0
    for j in range(len(squares)):
        n += squares[j] <= limit
    return n


@cached_njit()
def _true_square(query, row):
    total = 0.0
    for i in range(len(query)):
        difference = query[i] - np.float64(row[i])
        total += difference * difference
    return total


@cached_njit()
def _insert(indices, squares, n, index, square):
    """Take a cell into the sorted list of the nearest, n of them so far; return how many they are
    then.
    """
    k = len(squares)
    if n == k:
        if square > squares[k - 1] or (square == squares[k - 1] and index > indices[k - 1]):
            return n
        n -= 1
    place = n
    while place > 0 and (squares[place - 1] > square or (squares[place - 1] == square and indices[place - 1] > index)):
        squares[place], indices[place] = squares[place - 1], indices[place - 1]
        place -= 1
    squares[place], indices[place] = square, index
    return n + 1


@cached_njit()
def _limit(square, unit, slack, n_latent):
    """Return the squared distance in single precision beyond which a cell is proved to be further
    than a true squared distance.
    """
    scaled = np.sqrt(square) * unit + slack
    return np.float32(scaled * scaled * (1 + (n_latent + 16) * 2.0**-22) + 1e-30)


@cached_njit()
def _scan(place, query, leaf, leaves, rows, ids, unit, slack, leading, buffer, indices, squares, n, limit):
    """Measure the cells of a leaf; return how many nearest are known, and the limit that they set."""
    components, k = leaves[leaf], len(squares)
    leading = min(leading, len(place))
    buffer[:] = 0
    _add_squares(place[:leading], components[:leading], buffer)
    if leading < len(place):
        if _n_within(buffer, limit) == 0:
            return n, limit
        _add_squares(place[leading:], components[leading:], buffer)
    for start in range(0, len(buffer), BLOCK):
        if _n_within(buffer[start : start + BLOCK], limit) == 0:
            continue
        for j in range(start, start + BLOCK):
            row = leaf * len(buffer) + j
            if buffer[j] <= limit and row < len(rows):
                n = _insert(indices, squares, n, ids[row], _true_square(query, rows[row]))
                if n == k:
                    limit = _limit(squares[k - 1], unit, slack, len(place))
    return n, limit


@cached_njit()
def find_homes(places, cells, low, high, homes):
    """Fill in the nearest leaf of each of some query cells."""
    bounds = np.empty(low.shape[1], dtype=np.float32)
    for cell in cells:
        _bounds(places[cell], low, high, bounds)
        homes[cell] = np.argmin(bounds)


@cached_njit()
def search(places, query, cells, homes, slack, leaves, low, high, rows, ids, unit, leading, indices, squares):
    """Fill in the nearest of some query cells, a group at a time, so that a leaf is read once for
    all cells of the group that need it.
    """
    n_leaves = low.shape[1]
    bounds, best = np.empty((GROUP, n_leaves), dtype=np.float32), np.empty(n_leaves, dtype=np.float32)
    buffer, limits, found = (
        np.empty(leaves.shape[2], dtype=np.float32),
        np.empty(GROUP, dtype=np.float32),
        np.empty(GROUP, dtype=np.int64),
    )
    for start in range(0, len(cells), GROUP):
        group = cells[start : start + GROUP]
        best[:] = np.inf
        for g, cell in enumerate(group):
            home = homes[cell]
            _bounds(places[cell], low, high, bounds[g])
            found[g], limits[g] = _scan(
                places[cell],
                query[cell],
                home,
                leaves,
                rows,
                ids,
                unit,
                slack[cell],
                leading,
                buffer,
                indices[cell],
                squares[cell],
                0,
                np.float32(np.inf),
            )
            bounds[g, home] = np.inf
            for leaf in range(n_leaves):
                if bounds[g, leaf] <= limits[g]:
                    best[leaf] = min(best[leaf], bounds[g, leaf])
        waiting = np.flatnonzero(best < np.inf)
        for leaf in waiting[np.argsort(best[waiting])]:
            for g, cell in enumerate(group):
                if bounds[g, leaf] <= limits[g] and leaf != homes[cell]:
                    found[g], limits[g] = _scan(
                        places[cell],
                        query[cell],
                        leaf,
                        leaves,
                        rows,
                        ids,
                        unit,
                        slack[cell],
                        leading,
                        buffer,
                        indices[cell],
                        squares[cell],
                        found[g],
                        limits[g],
                    )
