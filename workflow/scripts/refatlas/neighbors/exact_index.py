"""Nearest reference cells in a latent space, exactly, and the weights of their votes; the graph of
all cells of a large reference by NN-descent.

Distances are of the values as they are stored, summed in double precision; of equally near cells
the one that comes first in the reference is nearer. So an exact answer
does not depend on how it was found.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

# Fewer pairs than these are compared one by one: faster than to build an index.
PAIRS_BY_HAND = 3_000_000
LEAF = 256
LEADING = 10
# Beyond these, in units of the reference's radius, single precision would overflow.
FAR = 2.0**40
# Squares of larger values would overflow in double precision; single precision ends before.
LARGEST = 1e100


def nearest(reference: np.ndarray, query: np.ndarray, k: int, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return indices and Euclidean distances of the k nearest reference cells of each query cell,
    each (n_query, min(k, n_reference)), exact.

    Raises:
        ValueError: a value is not finite.
    """
    if len(reference) * len(query) <= PAIRS_BY_HAND:
        return _compare_all(checked(reference), checked(query), k)
    return ExactIndex.build(reference).search(query, k, threads)


@dataclass
class ExactIndex:
    """Reference cells in leaves of a k-d tree over their principal components, each leaf with a box
    around its cells.

    Attributes:
        rows: the reference's values, leaf by leaf, shape (n_cells, n_latent). ids: the place of
            each in the reference.
        leaves: principal components in single precision, shape (n_leaves, n_latent, LEAF), scaled
            by a power of two to a radius below 1.
        low, high: the boxes, shape (n_latent, n_leaves). mean, axes: of the rotation; axes include
            the scale.
        reach: [largest norm of a row, unit of scale].
    """

    rows: np.ndarray
    ids: np.ndarray
    leaves: np.ndarray
    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray
    axes: np.ndarray
    reach: np.ndarray

    @classmethod
    def build(cls, reference: np.ndarray) -> "ExactIndex":
        """Return the index of reference cells, shape (n_cells, n_latent); single precision is kept,
        all else becomes double.
        """
        reference = checked(reference)
        mean = reference.mean(axis=0, dtype=np.float64)
        centered = reference - mean
        axes = np.linalg.eigh(centered.T @ centered)[1][:, ::-1]
        radius = np.sqrt(np.einsum("ij,ij->i", centered, centered).max())
        unit = 2.0 ** -np.ceil(np.log2(radius) + 0.1) if radius > 0 else 1.0
        places = ((centered @ axes) * unit).astype(np.float32)
        ids = _leaf_order(places)
        places = places[ids]
        starts = np.arange(0, len(places), LEAF)
        low, high = (np.ascontiguousarray(part.reduceat(places, starts, axis=0).T) for part in (np.minimum, np.maximum))
        padded = np.full((len(starts) * LEAF, places.shape[1]), 1e15, dtype=np.float32)
        padded[: len(places)] = places
        leaves = np.ascontiguousarray(padded.reshape(len(starts), LEAF, -1).transpose(0, 2, 1))
        largest = np.sqrt(np.einsum("ij,ij->i", reference, reference, dtype=np.float64).max())
        return cls(np.ascontiguousarray(reference[ids]), ids, leaves, low, high, mean, axes, np.array([largest, unit]))

    def in_order(self) -> np.ndarray:
        """Return the reference's values as they were given."""
        rows = np.empty_like(self.rows)
        rows[self.ids] = self.rows
        return rows

    def search(self, query: np.ndarray, k: int, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Return what `nearest` returns."""
        from refatlas.neighbors import kernels

        query = np.ascontiguousarray(checked(query), dtype=np.float64)
        n_query, k = len(query), min(k, len(self.rows))
        indices, squares = np.zeros((n_query, k), dtype=np.int64), np.zeros((n_query, k))
        unit = self.reach[1]
        rotated = (query - self.mean) @ self.axes * unit
        norms = np.linalg.norm(rotated, axis=1)
        far = norms > FAR
        places, slack = np.where(far[:, None], 0, rotated).astype(np.float32), self._slack(query, norms)
        parts = [
            part
            for part in np.array_split(np.flatnonzero(~far), max(4 * threads, n_query // 20_000) if n_query > 64 else 1)
            if len(part)
        ]
        homes = np.zeros(n_query, dtype=np.int64)
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda part: kernels.find_homes(places, part, self.low, self.high, homes), parts))
            # Neighbours in turn, so that they share what the cache holds.
            ordered = np.flatnonzero(~far)[np.argsort(homes[~far], kind="stable")]
            jobs = np.array_split(ordered, len(parts)) if parts else []
            arrays = self.leaves, self.low, self.high, self.rows, self.ids, unit, LEADING
            list(
                pool.map(
                    lambda part: kernels.search(places, query, part, homes, slack, *arrays, indices, squares), jobs
                )
            )
        distances = np.sqrt(squares)
        if far.any():
            indices[far], distances[far] = _compare_all(self.in_order(), query[far], k)
        return indices, distances

    def _slack(self, query: np.ndarray, norms: np.ndarray) -> np.ndarray:
        """Return how far a scaled distance in single-precision components may be from the true one,
        for each query cell, beside errors in proportion to it.

        Rounding a component to single precision moves it by 2^-24 of itself at most: twice that,
        for query and leaf. Rotation in double precision errs by
        less than 8 n_latent 2^-52 of the values' norm.
        """
        largest, unit = self.reach
        rotation = (
            8
            * query.shape[1]
            * 2.0**-52
            * unit
            * (2 * largest + np.linalg.norm(query, axis=1) + np.linalg.norm(self.mean))
        )
        return 2.0**-23 * (1 + norms) + rotation


def checked(x: np.ndarray) -> np.ndarray:
    """Return the values, of single or double precision; refuse those that have no distance."""
    x = np.asarray(x)
    x = x if x.dtype == np.float32 else x.astype(np.float64)
    if x.size and not max(float(x.max()), -float(x.min())) < LARGEST:
        raise ValueError(f"the latent space has values that are not finite, or beyond {LARGEST:g}")
    return x


def _compare_all(reference: np.ndarray, query: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what `nearest` returns, from all distances."""
    k = min(k, len(reference))
    indices, distances = np.empty((len(query), k), dtype=np.int64), np.empty((len(query), k))
    step = max(1, PAIRS_BY_HAND // max(len(reference), 1))
    columns = np.ascontiguousarray(reference.T, dtype=np.float64)
    for start in range(0, len(query), step):
        block = slice(start, start + step)
        # Dimension by dimension: the order of the sum is that of the kernels.
        squares = np.zeros((len(query[block]), len(reference)))
        for column, values in zip(columns, query[block].T.astype(np.float64), strict=True):
            squares += (values[:, None] - column) ** 2
        indices[block] = _smallest(squares, k)
        distances[block] = np.sqrt(np.take_along_axis(squares, indices[block], axis=1))
    return indices, distances


def _smallest(squares: np.ndarray, k: int) -> np.ndarray:
    """Return the columns of the k smallest values of each row, smallest first; of equal ones the
    first columns.
    """
    if k == squares.shape[1]:
        return np.argsort(squares, axis=1, kind="stable")
    found = np.sort(np.argpartition(squares, k - 1, axis=1)[:, :k], axis=1)
    values = np.take_along_axis(squares, found, axis=1)
    tied = (squares <= values.max(axis=1, keepdims=True)).sum(axis=1) > k
    found[tied] = np.sort(np.argsort(squares[tied], axis=1, kind="stable")[:, :k], axis=1)
    values = np.take_along_axis(squares, found, axis=1)
    return np.take_along_axis(found, np.argsort(values, axis=1, kind="stable"), axis=1)


def _leaf_order(places: np.ndarray) -> np.ndarray:
    """Return the cells leaf by leaf: halved again and again in the dimension of largest variance,
    all leaves but the last full.
    """
    leaves, waiting = [], [np.arange(len(places))]
    while waiting:
        cells = waiting.pop()
        n_leaves = -(-len(cells) // LEAF)
        if n_leaves <= 1:
            leaves.append(cells)
            continue
        sample = places[cells[:: max(len(cells) // 10_000, 1)]]
        values = places[cells, sample.var(axis=0).argmax()]
        cut = n_leaves // 2 * LEAF
        order = np.argpartition(values, cut)
        waiting += [cells[order[cut:]], cells[order[:cut]]]
    return np.concatenate(leaves)
