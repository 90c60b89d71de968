"""The search in an exact index of cells, compiled by numba.

A leaf, or a cell, is skipped only if single precision, with its largest possible error, proves that
it is farther than the k-th nearest cell so far. Distances of all others are computed in double
precision.

Each query cell first looks at a few near leaves, for an upper limit of its k-th distance. Then all
leaves within the limit are searched, leaf by leaf: each is read from memory once, for all query
cells that need it.
"""

import numpy as np

from refatlas.numba_cache import cached_njit

# Leaves that share a box, which is compared first.
SPAN = 16
# Such boxes, and leaves of them, that give a query cell its first limit.
NEAR_BOXES, NEAR_LEAVES = 3, 8
BLOCK = 32  # Cells of a leaf that are looked at together.
GROUP = 64  # Query cells that are multiplied with a leaf together.
# Pairs of query cells and leaves that are kept at a time: 12 bytes each, and 8 more while they are sorted.
PAIRS = 2_000_000
# Principal components that are compared first, where differences are squared.
LEADING = 10
# Sums may be reordered, and so vectorised; infinities keep their meaning.
FAST = {"contract", "reassoc", "nsz", "arcp"}


@cached_njit(fastmath=FAST)
def _bounds(place, low, high, bounds):
    """Fill in the squared distance from a query cell to each box; ends are of shape (n_latent, n_boxes)."""
    bounds[:] = 0
    for i in range(low.shape[0]):
        value = place[i]
        for j in range(low.shape[1]):
            beyond = max(max(low[i, j] - value, value - high[i, j]), np.float32(0))
            bounds[j] += beyond * beyond


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
    # A number of the same width as the values is counted twice as fast.
    n = np.float32(0)
    for j in range(len(squares)):
        n += np.float32(1) if squares[j] <= limit else np.float32(0)
    return n


@cached_njit(fastmath=FAST)
def _add_and_count(norms, totals, limits, counts):
    """Add norms to each row of totals; fill in how many sums are within the row's limit."""
    for g in range(totals.shape[0]):
        n, limit = np.float32(0), limits[g]
        for j in range(totals.shape[1]):
            total = totals[g, j] + norms[j]
            totals[g, j] = total
            n += np.float32(1) if total <= limit else np.float32(0)
        counts[g] = n


@cached_njit()
def _keep_smallest(values, smallest, positions, first):
    """Put the smallest values into a sorted list, with their positions, which start at `first`."""
    last = len(smallest) - 1
    for start in range(0, len(values), BLOCK):
        if _n_within(values[start : start + BLOCK], smallest[last]) == 0:
            continue
        for j in range(start, min(start + BLOCK, len(values))):
            if values[j] < smallest[last]:
                place = last
                while place > 0 and smallest[place - 1] > values[j]:
                    smallest[place], positions[place] = smallest[place - 1], positions[place - 1]
                    place -= 1
                smallest[place], positions[place] = values[j], first + j


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
def _limit(scaled, slack, n_latent):
    """Return the single-precision squared distance beyond which a cell is farther than `scaled`."""
    scaled = scaled + slack
    return np.float32(scaled * scaled * (1 + (n_latent + 16) * 2.0**-22) + 1e-30)


@cached_njit()
def _take(values, limit, shift, query, first, tree, slack, own):
    """Insert the cells of a leaf within the limit; return the number of nearest cells, and their limit.

    Args:
        values: squared distances of the leaf's cells, less `shift`.
        first: row of the leaf's first cell.
        own: nearest cells so far, their squared distances and their number.
    """
    rows, ids, unit = tree
    indices, squares, n = own
    for start in range(0, len(values), BLOCK):
        if _n_within(values[start : start + BLOCK], np.float32(limit - shift)) == 0:
            continue
        for j in range(start, start + BLOCK):
            row = first + j
            if values[j] <= np.float32(limit - shift) and row < len(rows):
                n = _insert(indices, squares, n, ids[row], _true_square(query, rows[row]))
                if n == len(squares):
                    limit = min(limit, _limit(np.sqrt(squares[n - 1]) * unit, slack, len(query)))
    return n, limit


@cached_njit()
def find_near_leaves(places, cells, boxes, near):
    """Fill in leaves near to each of these query cells: the nearest of the nearest boxes; -1 if there are fewer."""
    low, high, top_low, top_high = boxes
    tops, nearest_tops = np.empty(top_low.shape[1], dtype=np.float32), np.empty(NEAR_BOXES, dtype=np.int64)
    bounds, smallest = np.empty(SPAN, dtype=np.float32), np.empty(NEAR_LEAVES, dtype=np.float32)
    for cell in cells:
        smallest[:], nearest_tops[:], near[cell] = np.inf, -1, -1
        _bounds(places[cell], top_low, top_high, tops)
        _keep_smallest(tops, smallest[:NEAR_BOXES], nearest_tops, 0)
        smallest[:] = np.inf
        for top in nearest_tops[nearest_tops >= 0]:
            _bounds(places[cell], low[top], high[top], bounds)
            _keep_smallest(bounds, smallest, near[cell], top * SPAN)


@cached_njit()
def _first_limit(place, near, leaves, n_rows, slack, buffer, smallest, positions):
    """Return an upper limit of the squared distance to the k-th nearest cell, from the cells of near leaves."""
    n_cells, n_latent = leaves.shape[2], len(place)
    smallest[:] = np.inf
    for leaf in near[(near >= 0) & (near < len(leaves))]:
        if _squares_if_near(place, leaves[leaf], smallest[-1], buffer):
            _keep_smallest(buffer[: n_rows - leaf * n_cells], smallest, positions, leaf * n_cells)
    # In truth, they are at most as far as single precision says, and its error.
    farthest = np.sqrt(np.float64(smallest[-1])) * (1 + (n_latent + 16) * 2.0**-22) + 1e-15
    return _limit(farthest + slack, slack, n_latent)


@cached_njit()
def _find_pairs(place, limit, n_leaves, boxes, bounds, leaf_of, bound_of, n):
    """Append the leaves within the limit of a query cell; return the new length."""
    low, high, top_low, top_high = boxes
    tops, bounds = bounds[SPAN:], bounds[:SPAN]
    _bounds(place, top_low, top_high, tops)
    for top in range(len(tops)):
        if tops[top] <= limit:
            _bounds(place, low[top], high[top], bounds)
            for j in range(min(SPAN, n_leaves - top * SPAN)):
                if bounds[j] <= limit:
                    leaf_of[n], bound_of[n] = top * SPAN + j, bounds[j]
                    n += 1
    return n


@cached_njit()
def _by_leaf(leaf_of, n_leaves):
    """Return the pairs leaf by leaf, and where each leaf starts among them."""
    starts = np.zeros(n_leaves + 1, dtype=np.int64)
    for leaf in leaf_of:
        starts[leaf + 1] += 1
    starts = np.cumsum(starts)
    ordered, place = np.empty(len(leaf_of), dtype=np.int64), starts.copy()
    for pair, leaf in enumerate(leaf_of):
        ordered[place[leaf]] = pair
        place[leaf] += 1
    return ordered, starts


@cached_njit()
def _squares_if_near(place, components, limit, squares):
    """Fill in squared distances to a leaf's cells; return whether any may be within the limit."""
    leading = min(LEADING, len(place))
    squares[:] = 0
    _add_squares(place[:leading], components[:leading], squares)
    if _n_within(squares, limit) == 0:
        return False
    _add_squares(place[leading:], components[leading:], squares)
    return True


@cached_njit()
def _next_group(pair, end, pairs, places, limits, shifts, group, factors, thresholds):
    """Fill in the next query cells that need a leaf; return their number, and the pair to go on with."""
    ordered, cell_of, bound_of = pairs
    m = 0
    while pair < end and m < len(group):
        cell = cell_of[ordered[pair]]
        if bound_of[ordered[pair]] <= limits[cell]:
            group[m], thresholds[m] = cell, np.float32(limits[cell] - shifts[cell])
            for i in range(factors.shape[1]):
                factors[m, i] = np.float32(-2) * places[cell, i]
            m += 1
        pair += 1
    return m, pair


@cached_njit()
def _search_pairs(pairs, starts, queries, leaves, tree, results):
    """Search leaf by leaf, for all query cells that need a leaf.

    As |x|^2 - 2 x q + |q|^2, squared distances are a product of matrices, which is fast. A shift is
    |q|^2, less the rounding error; it is 0 where differences are squared.
    """
    places, query, slack, shifts = queries
    indices, squares, found, limits = results
    n_latent, n_cells = leaves.shape[1:]
    origin, group = np.zeros(n_latent, dtype=np.float32), np.empty(GROUP, dtype=np.int64)
    factors, values = np.empty((GROUP, n_latent), dtype=np.float32), np.empty((GROUP, n_cells), dtype=np.float32)
    thresholds, counts = np.empty(GROUP, dtype=np.float32), np.ones(GROUP, dtype=np.float32)
    norms = np.empty(n_cells, dtype=np.float32)
    for leaf in np.flatnonzero(np.diff(starts)):
        norms[:] = 0
        _add_squares(origin, leaves[leaf], norms)
        pair = starts[leaf]
        while pair < starts[leaf + 1]:
            m, pair = _next_group(pair, starts[leaf + 1], pairs, places, limits, shifts, group, factors, thresholds)
            if m > 0:
                np.dot(factors[:m], leaves[leaf], values[:m])
                _add_and_count(norms, values[:m], thresholds, counts)
            for g in range(m):
                c, first = group[g], leaf * n_cells
                if shifts[c] == 0:
                    counts[g] = _squares_if_near(places[c], leaves[leaf], limits[c], values[g])
                if counts[g] > 0:
                    own = indices[c], squares[c], found[c]
                    found[c], limits[c] = _take(values[g], limits[c], shifts[c], query[c], first, tree, slack[c], own)


@cached_njit()
def search_cells(cells, near, places, query, slack, norms, boxes, leaves, tree, indices, squares):
    """Fill in the nearest reference cells of these query cells.

    Args:
        cells: positions of the query cells.
        near: leaves near to each query cell, from `find_near_leaves`.
        places, query: principal components of query cells in single precision, and their values.
        slack: error of their distances in single precision.
        norms: squared norms of the places.
        boxes: low and high of the leaves, shape (n_tops, n_latent, SPAN), and of the tops, (n_latent, n_tops).
        leaves: principal components of the reference's cells.
        tree: the reference's rows, their ids, and the unit of the leaves.
    """
    n_query, n_leaves, k = len(places), len(leaves), indices.shape[1]
    found, limits, shifts = np.zeros(n_query, dtype=np.int64), np.empty(n_query, dtype=np.float32), np.zeros(n_query)
    results = indices, squares, found, limits
    bounds, buffer = np.empty(SPAN + boxes[2].shape[1], dtype=np.float32), np.empty(leaves.shape[2], dtype=np.float32)
    smallest, positions = np.empty(k, dtype=np.float32), np.empty(k, dtype=np.int64)
    capacity, n = max(min(PAIRS, len(cells) * n_leaves), n_leaves), 0
    leaf_of, cell_of = np.empty(capacity, dtype=np.int32), np.empty(capacity, dtype=np.int32)
    bound_of = np.empty(capacity, dtype=np.float32)
    for i, cell in enumerate(cells):
        place, n_rows = places[cell], len(tree[0])
        limits[cell] = _first_limit(place, near[cell], leaves, n_rows, slack[cell], buffer, smallest, positions)
        error = (len(place) + 16) * 2.0**-23 * (1 + np.sqrt(norms[cell])) ** 2
        if error < limits[cell] / 16:
            shifts[cell] = norms[cell] - error
        start = n
        n = _find_pairs(place, limits[cell], n_leaves, boxes, bounds, leaf_of, bound_of, n)
        cell_of[start:n] = cell
        if n > capacity - n_leaves or i == len(cells) - 1:
            ordered, starts = _by_leaf(leaf_of[:n], n_leaves)
            pairs, queries = (ordered, cell_of, bound_of), (places, query, slack, shifts)
            _search_pairs(pairs, starts, queries, leaves, tree, results)
            n = 0
