"""The local density of a reference's cells, of which outlier factors are ratios (Breunig 2000)."""

from dataclasses import dataclass

import numpy as np

from refatlas.neighbors.exact_index import ExactIndex

# Of the local outlier factor.
NEIGHBORS = 15


@dataclass
class LocalDensity:
    """How dense reference cells lie.

    Attributes:
        reach: distance of each cell to its farthest near neighbour, shape (n_cells,).
        density: of each cell, shape (n_cells,).
    """

    reach: np.ndarray
    density: np.ndarray

    @classmethod
    def measure(cls, sample: np.ndarray, threads: int = 1) -> "LocalDensity":
        """Return the density of cells among each other.

        Args:
            sample: latent space of reference cells, shape (n_cells, n_latent).
        """
        k = min(NEIGHBORS, len(sample) - 1)
        found, distances = ExactIndex.build(sample).search(sample, k + 1, threads)
        others = found != np.arange(len(sample))[:, None]
        # Among many identical cells, a cell may not be one of its own nearest.
        others[others.all(axis=1), 0] = False
        found, distances = found[others].reshape(-1, k), distances[others].reshape(-1, k)
        reach = distances[:, -1]
        return cls(reach, local_density(reach, found, distances))


def local_density(reach: np.ndarray, found: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """Return the density around cells, shape (n_cells,).

    Args:
        reach: of the reference's cells.
        found: nearest reference cells of each cell, shape (n_cells, k).
        distances: to them.
    """
    return 1 / (np.maximum(distances, reach[found]).mean(axis=1) + 1e-10)
