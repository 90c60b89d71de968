"""kBET (Büttner 2019) in the diffusion maps of labels, as in scib-metrics."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse, special
from scipy.sparse.csgraph import connected_components

from refatlas.neighbors.exact_index import nearest_neighbors
from refatlas.numba_cache import cache_umap_functions


def memberships(neighbors: np.ndarray, distances: np.ndarray) -> sparse.csr_matrix:
    """Return UMAP's directed memberships of each cell's nearest cells, shape (n_cells, n_cells).

    Args:
        neighbors: nearest cells of each cell, itself included, shape (n_cells, k).
        distances: to these cells, shape (n_cells, k).
    """
    from umap.umap_ import compute_membership_strengths, smooth_knn_dist

    cache_umap_functions()
    n_cells, k = neighbors.shape
    distances = distances.astype(np.float32)
    sigmas, rhos = smooth_knn_dist(distances, float(k), local_connectivity=1.0)
    _, columns, values, _ = compute_membership_strengths(neighbors, distances, sigmas, rhos)
    graph = sparse.csr_matrix((values, columns, np.arange(0, n_cells * k + 1, k)), shape=(n_cells, n_cells))
    graph.eliminate_zeros()
    return graph


def diffusion_map(graph: sparse.csr_matrix, n_comps: int) -> np.ndarray:
    """Return scanpy's multiscale diffusion components (Haghverdi 2016), as in scib-metrics.

    They are computed in single precision, which halves the memory. Each connected component has an
    eigenvalue of 1, whose weight is 1; rounding must not change this.

    Args:
        graph: symmetric, shape (n_cells, n_cells).
        n_comps: number of components.

    Returns:
        Components, shape (n_cells, n_comps).
    """
    graph = graph.astype(np.float32, copy=False)
    inverse = sparse.diags_array((1 / _column_sums(graph)).astype(np.float32))
    kernel = inverse @ graph @ inverse
    scale = sparse.diags_array((1 / np.sqrt(_column_sums(kernel))).astype(np.float32))
    transitions = (scale @ kernel @ scale).tocsr()
    values, vectors = largest_eigenpairs(transitions, n_comps)
    n_components, rank = connected_components(graph, directed=False)[0], np.argsort(np.argsort(-values))
    of_component = (rank == 0) | ((rank < n_components) & (values > 1 - 1e-5))
    weights = np.where(of_component, 1, values / np.maximum(1 - values, np.finfo(np.float32).epsneg))
    return vectors * weights.astype(np.float32)


def _column_sums(matrix: sparse.csr_matrix) -> np.ndarray:
    # In double precision, because errors in the sums move the eigenvalues of 1.
    return np.asarray(matrix.sum(axis=0, dtype=np.float64)).ravel()


def largest_eigenpairs(matrix: sparse.csr_matrix, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the k eigenvalues of largest magnitude of a symmetric matrix, and their eigenvectors.

    They are found by the square of the matrix, which has the same eigenvectors in the same order,
    but with larger gaps. This halves the number of steps, each of which costs more to keep
    orthogonal than to multiply.

    Args:
        matrix: shape (n, n).
        k: number of eigenvalues.

    Returns:
        Eigenvalues in double precision, shape (k,), and eigenvectors in the matrix's precision,
        shape (n, k).
    """
    square = sparse.linalg.LinearOperator(matrix.shape, matvec=lambda x: matrix @ (matrix @ x), dtype=matrix.dtype)
    start = np.ones(matrix.shape[0], matrix.dtype)
    squares, vectors = sparse.linalg.eigsh(square, k=k, which="LM", v0=start)
    values = np.array([_rayleigh_quotient(matrix, vector) for vector in vectors.T])
    # Values of equal magnitude and opposite sign may share vectors in the square.
    if not np.allclose(values**2, squares, rtol=1e-4, atol=1e-5):
        values, vectors = sparse.linalg.eigsh(matrix, k=k, which="LM", v0=start)
    return values, vectors


def _rayleigh_quotient(matrix: sparse.csr_matrix, vector: np.ndarray) -> float:
    # The sums are in double precision, because the distance of an eigenvalue from 1 matters.
    exact = vector.astype(np.float64)
    return exact @ (matrix @ vector) / (exact @ exact)


@dataclass
class LabelSpace:
    """A label's cells in the space in which kBET searches their neighbours.

    Attributes:
        rows: of these cells among all cells.
        space: diffusion components, shape (n_rows, n_comps).
        batches: batch of each of these cells, an integer.
        k: number of neighbours.
    """

    rows: np.ndarray
    space: np.ndarray
    batches: np.ndarray
    k: int

    def accepted(self, wanted: np.ndarray, threads: int) -> np.ndarray:
        """Return whether the batches around each cell may be a random draw of the label's batches.

        By a chi-squared test at 0.05 (Büttner 2019).

        Args:
            wanted: positions of the cells to test among the label's.
            threads: number of threads.

        Returns:
            1.0 or 0.0, shape (n_wanted,).
        """
        neighbors, _ = nearest_neighbors(self.space, self.space[wanted], self.k + 1, threads)
        share = np.bincount(self.batches) / len(self.batches)
        flat = self.batches[neighbors] + len(share) * np.arange(len(wanted))[:, None]
        counts = np.bincount(flat.ravel(), minlength=len(share) * len(wanted)).reshape(len(wanted), len(share))
        expected = share * neighbors.shape[1]
        statistic = (np.square(counts - expected) / expected).sum(axis=1)
        return (special.chdtrc(len(share) - 1, statistic) >= 0.05).astype(float)


def label_spaces(graph: sparse.csr_matrix, labels: np.ndarray, batches: np.ndarray) -> list[LabelSpace | None]:
    """Return the space in which kBET searches neighbours, for each label that it judges.

    It is None for a label in too many components, whose score is 0. Labels with fewer than 10 cells
    or with a single batch are left out. As in scib-metrics, components smaller than three
    neighbourhoods are left out if the others hold three quarters of the cells, and a small label
    lowers the number of diffusion components of the labels after it.

    Args:
        graph: directed memberships, shape (n_cells, n_cells).
        labels: label of each cell, an integer.
        batches: batch of each cell, an integer.
    """
    spaces: list[LabelSpace | None] = []
    n_comps = 100
    for label in range(labels.max() + 1):
        rows = np.flatnonzero(labels == label)
        sizes = np.unique(batches[rows], return_counts=True)[1]
        if len(rows) < 10 or len(sizes) == 1:
            continue
        k = int(np.clip(np.floor(sizes.mean() / 4), 10, 70))
        part = graph[rows][:, rows]
        part = part + part.T - part.multiply(part.T)
        kept = large_components(part, 3 * k)
        if len(kept) < 0.75 * len(rows):
            spaces.append(None)
            continue
        n_comps = min(n_comps, len(kept) - 1)
        space = diffusion_map(part.tocsr()[kept][:, kept], n_comps)
        spaces.append(LabelSpace(rows[kept], space, np.unique(batches[rows[kept]], return_inverse=True)[1], k))
    return spaces


def large_components(graph: sparse.csr_matrix, least: int) -> np.ndarray:
    """Return the cells in components of at least `least` cells; all cells if there is one component."""
    n, components = connected_components(graph, directed=False)
    return np.flatnonzero((np.bincount(components)[components] >= least) | (n == 1))
