"""Exact nearest neighbours in a latent space.

Distances are computed from the values as they are stored, summed in double precision. Of cells at
the same distance, the first in the reference is nearer. So the result does not depend on how it was
found.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

# Fewer pairs than these are compared one by one, which is faster than building an index.
BRUTE_FORCE_PAIRS = 3_000_000
# Cells of a leaf.
LEAF = 256
# Cells that are rotated at a time, which bounds the memory.
CHUNK = 200_000
# Beyond these, in units of the reference's radius, single precision would overflow.
FAR = 2.0**40
# Squares of larger values would overflow in double precision; single precision ends before.
LARGEST = 1e100


def nearest_neighbors(
    reference: np.ndarray, query: np.ndarray, k: int, threads: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Return the k nearest reference cells of each query cell by Euclidean distance, exactly.

    Args:
        reference: latent space, shape (n_reference, n_latent).
        query: latent space, shape (n_query, n_latent).

    Returns:
        Indices and distances, nearest first, each of shape (n_query, min(k, n_reference)).

    Raises:
        ValueError: a value is not finite.
    """
    if len(reference) * len(query) <= BRUTE_FORCE_PAIRS:
        return _brute_force(checked_latent(reference), checked_latent(query), k)
    return ExactIndex.build(reference).search(query, k, threads)


@dataclass
class ExactIndex:
    """Reference cells in leaves of a k-d tree over their principal components.

    Each leaf has a bounding box of its cells.

    Attributes:
        rows: the reference's values, leaf by leaf, shape (n_cells, n_latent).
        ids: index of each row in the reference.
        leaves: principal components in single precision, shape (n_leaves, n_latent, LEAF), scaled
            by a power of two to a radius below 1.
        low, high: the bounding boxes, shape (n_latent, n_leaves).
        mean, axes: of the rotation, before it is scaled.
        reach: [largest norm of a row, unit of the scale].
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
        """Return the index of reference cells.

        Args:
            reference: latent space, shape (n_cells, n_latent). Single precision is kept, every
                other type becomes double.

        Raises:
            ValueError: a value is not finite.
        """
        reference = checked_latent(reference)
        mean, axes, unit, largest = _rotation(reference)
        places = np.empty(reference.shape, dtype=np.float32)
        for part in _chunks(len(reference)):
            places[part] = ((reference[part] - mean) @ axes) * unit
        ids = _leaf_order(places)
        starts, n_latent = np.arange(0, len(places), LEAF), places.shape[1]
        leaves = np.full((len(starts), n_latent, LEAF), 1e15, dtype=np.float32)
        low, high = np.empty((2, n_latent, len(starts)), dtype=np.float32)
        for i, start in enumerate(starts):
            cells = places[ids[start : start + LEAF]].T
            leaves[i, :, : cells.shape[1]], low[:, i], high[:, i] = cells, cells.min(axis=1), cells.max(axis=1)
        del places
        return cls(reference[ids], ids, leaves, low, high, mean, axes, np.array([largest, unit]))

    def in_order(self) -> np.ndarray:
        """Return the reference's values in their original order, shape (n_cells, n_latent)."""
        rows = np.empty_like(self.rows)
        rows[self.ids] = self.rows
        return rows

    def search(self, query: np.ndarray, k: int, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Return indices and distances of the k nearest cells, as `nearest_neighbors` does."""
        from refatlas.neighbors import kernels

        query = np.ascontiguousarray(checked_latent(query), dtype=np.float64)
        n_query, k = len(query), min(k, len(self.rows))
        indices, squares = np.zeros((n_query, k), dtype=np.int64), np.zeros((n_query, k))
        unit = self.reach[1]
        rotated = (query - self.mean) @ self.axes * unit
        norms = np.einsum("ij,ij->i", rotated, rotated)
        far = norms > FAR**2
        places, slack = np.where(far[:, None], 0, rotated).astype(np.float32), self._slack(query, np.sqrt(norms))
        n_parts = max(4 * threads, n_query // 20_000) if n_query > 64 else 1
        parts = [part for part in np.array_split(np.flatnonzero(~far), n_parts) if len(part)]
        near, boxes = np.empty((n_query, kernels.NEAR_LEAVES), dtype=np.int64), self._boxes(kernels.SPAN)
        tree = self.rows, self.ids, float(unit)

        def find_near_leaves(part: np.ndarray) -> None:
            kernels.find_near_leaves(places, part, boxes, near)

        def search_cells(part: np.ndarray) -> None:
            kernels.search_cells(part, near, places, query, slack, norms, boxes, self.leaves, tree, indices, squares)

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(find_near_leaves, parts))
            # Query cells of the same leaf follow each other, so that they share the processor's cache.
            ordered = np.flatnonzero(~far)[np.argsort(near[~far, 0], kind="stable")]
            list(pool.map(search_cells, np.array_split(ordered, len(parts)) if parts else []))
        distances = np.sqrt(squares)
        if far.any():
            indices[far], distances[far] = _brute_force(self.in_order(), query[far], k)
        return indices, distances

    def _boxes(self, span: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return the leaves' bounding boxes, and those of `span` successive leaves, for the search."""
        n_latent, n_leaves = self.low.shape
        starts = np.arange(0, n_leaves, span)
        tops = np.minimum.reduceat(self.low, starts, axis=1), np.maximum.reduceat(self.high, starts, axis=1)
        padded = np.full((2, n_latent, len(starts) * span), FAR, dtype=np.float32)
        padded[:, :, :n_leaves] = self.low, self.high
        low, high = np.ascontiguousarray(padded.reshape(2, n_latent, len(starts), span).transpose(0, 2, 1, 3))
        return low, high, *tops

    def _slack(self, query: np.ndarray, norms: np.ndarray) -> np.ndarray:
        """Return the rounding error of scaled distances in single-precision components.

        An upper bound for each query cell, shape (n_query,), without errors in proportion to the
        distance. Rounding a component to single precision moves it by at most 2^-24 of itself:
        twice that, for query and leaf. Rotation in double precision errs by less than
        8 n_latent 2^-52 of the values' norm.
        """
        largest, unit = self.reach
        norm = 2 * largest + np.linalg.norm(query, axis=1) + np.linalg.norm(self.mean)
        rotation = 8 * query.shape[1] * 2.0**-52 * unit * norm
        return 2.0**-23 * (1 + norms) + rotation


def checked_latent(x: np.ndarray) -> np.ndarray:
    """Return a latent space in single or double precision.

    Raises:
        ValueError: a value is not finite, or so large that its square overflows.
    """
    x = np.asarray(x)
    x = x if x.dtype == np.float32 else x.astype(np.float64)
    if x.size and not max(float(x.max()), -float(x.min())) < LARGEST:
        raise ValueError(f"the latent space has values that are not finite, or beyond {LARGEST:g}")
    return x


def _brute_force(reference: np.ndarray, query: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return indices and distances of the k nearest cells, from all distances."""
    k = min(k, len(reference))
    indices, distances = np.empty((len(query), k), dtype=np.int64), np.empty((len(query), k))
    step = max(1, BRUTE_FORCE_PAIRS // max(len(reference), 1))
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
    """Return the columns of the k smallest values of each row, smallest first; of ties the first."""
    if k == squares.shape[1]:
        return np.argsort(squares, axis=1, kind="stable")
    found = np.sort(np.argpartition(squares, k - 1, axis=1)[:, :k], axis=1)
    values = np.take_along_axis(squares, found, axis=1)
    tied = (squares <= values.max(axis=1, keepdims=True)).sum(axis=1) > k
    found[tied] = np.sort(np.argsort(squares[tied], axis=1, kind="stable")[:, :k], axis=1)
    values = np.take_along_axis(squares, found, axis=1)
    return np.take_along_axis(found, np.argsort(values, axis=1, kind="stable"), axis=1)


def _chunks(n: int) -> Iterator[slice]:
    return (slice(start, start + CHUNK) for start in range(0, n, CHUNK))


def _rotation(reference: np.ndarray) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Return mean and principal axes of cells, the scale that makes their radius less than 1, and the largest norm."""
    mean = reference.mean(axis=0, dtype=np.float64)
    products, radius, largest = np.zeros((len(mean), len(mean))), 0.0, 0.0
    for part in _chunks(len(reference)):
        centered = reference[part] - mean
        products += centered.T @ centered
        radius = max(radius, np.einsum("ij,ij->i", centered, centered).max())
        largest = max(largest, np.einsum("ij,ij->i", reference[part], reference[part], dtype=np.float64).max())
    unit = 2.0 ** -np.ceil(np.log2(np.sqrt(radius)) + 0.1) if radius > 0 else 1.0
    return mean, np.linalg.eigh(products)[1][:, ::-1], unit, np.sqrt(largest)


def _leaf_order(places: np.ndarray) -> np.ndarray:
    """Return the indices of the cells leaf by leaf; all leaves but the last are full.

    The cells are split into halves again and again, in the dimension of largest variance.
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
