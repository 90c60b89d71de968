"""The search in an exact index of cells, compiled by numba.

A leaf, or a cell, is skipped only if single precision, with its largest possible error, proves that
it is farther than the k-th nearest cell so far. Distances of all others are computed in double
precision.
"""

import numpy as np

from refatlas.numba_cache import cached_njit

# Query cells that are searched together, and cells of a leaf that are compared together.
GROUP = 16
BLOCK = 32
# Sums may be reordered, and so vectorised; infinities keep their meaning.
FAST = {"contract", "reassoc", "nsz", "arcp"}


@cached_njit(fastmath=FAST)
def _bounds(place, low, high, bounds):
    """Fill in the squared distance from a query cell to each leaf's bounding box."""
    bounds[:] = 0
    for i in range(low.shape[0]):
        value = place[i]
        for leaf in range(low.shape[1]):
            beyond = max(max(low[i, leaf] - value, value - high[i, leaf]), np.float32(0))
            bounds[leaf] += beyond * beyond


@cached_njit(fastmath=FAST)
def _add_squares(place, components, squares):
    """Add the squared differences in some principal components, shape (n_components, n_cells)."""
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
    """Insert a cell into the sorted list of the n nearest so far; return the new length."""
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
    """Return the single-precision squared distance beyond which a cell is farther than `square`."""
    scaled = np.sqrt(square) * unit + slack
    return np.float32(scaled * scaled * (1 + (n_latent + 16) * 2.0**-22) + 1e-30)


@cached_njit()
def _scan(place, query, leaf, tree, slack, buffer, indices, squares, n, limit):
    """Search the cells of a leaf; return the number of nearest cells so far, and their limit."""
    leaves, rows, ids, unit, n_leading = tree
    components, k = leaves[leaf], len(squares)
    leading = min(n_leading, len(place))
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
def find_nearest_leaves(places, cells, low, high, homes):
    """Fill in the nearest leaf of each of these query cells."""
    bounds = np.empty(low.shape[1], dtype=np.float32)
    for cell in cells:
        _bounds(places[cell], low, high, bounds)
        homes[cell] = np.argmin(bounds)


@cached_njit()
def search_leaves(places, query, cells, homes, slack, leaves, low, high, rows, ids, unit, leading, indices, squares):
    """Fill in the nearest cells of these query cells, a group at a time.

    A leaf is read once for all query cells of the group that need it.
    """
    n_leaves, tree = low.shape[1], (leaves, rows, ids, unit, leading)
    bounds, best = np.empty((GROUP, n_leaves), dtype=np.float32), np.empty(n_leaves, dtype=np.float32)
    buffer, limits = np.empty(leaves.shape[2], dtype=np.float32), np.empty(GROUP, dtype=np.float32)
    found, no_limit = np.empty(GROUP, dtype=np.int64), np.float32(np.inf)
    for start in range(0, len(cells), GROUP):
        group = cells[start : start + GROUP]
        best[:] = np.inf
        for g, cell in enumerate(group):
            home = homes[cell]
            _bounds(places[cell], low, high, bounds[g])
            found[g], limits[g] = _scan(
                places[cell], query[cell], home, tree, slack[cell], buffer, indices[cell], squares[cell], 0, no_limit
            )
            bounds[g, home] = np.inf
            for leaf in range(n_leaves):
                if bounds[g, leaf] <= limits[g]:
                    best[leaf] = min(best[leaf], bounds[g, leaf])
        waiting = np.flatnonzero(best < np.inf)
        for leaf in waiting[np.argsort(best[waiting])]:
            for g, cell in enumerate(group):
                if bounds[g, leaf] <= limits[g] and leaf != homes[cell]:
                    n, limit, error = found[g], limits[g], slack[cell]
                    found[g], limits[g] = _scan(
                        places[cell], query[cell], leaf, tree, error, buffer, indices[cell], squares[cell], n, limit
                    )
