"""Counts of cells of some types, for tests of labels and novelty: small, and with known answers."""

import numpy as np
from scipy import sparse

N_GENES = 200
MARKERS = 12


def profiles(names: str, strength: float = 3.0, seed: int = 99) -> dict[str, np.ndarray]:
    """Return the expected share of each gene in the counts of each type, by the letter of the type.

    Each type has MARKERS genes of its own, which are expressed by `strength` times the mean gene.
    """
    random = np.random.default_rng(seed)
    base = random.gamma(1.0, 1.0, N_GENES)
    order = np.random.default_rng(seed + 1).permutation(N_GENES)
    found = {}
    for name in names:
        rates, place = base.copy(), (ord(name) - ord("A")) * MARKERS
        rates[order[place : place + MARKERS]] += strength
        found[name] = rates / rates.sum()
    return found


def simulated_cells(
    sizes: dict[str, int], seed: int, depth: float = 1500.0, factors: np.ndarray | float = 1.0, strength: float = 3.0
) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Return Poisson counts of cells, shape (n_cells, N_GENES), and the type of each cell.

    Args:
        sizes: number of cells of each type.
        seed: seed of the counts.
        depth: expected counts of a cell.
        factors: by which the genes of all cells are multiplied, shape (N_GENES,).
        strength: of the types' own genes (see `profiles`).
    """
    known = profiles("".join(sizes), strength)
    types = np.repeat(list(sizes), list(sizes.values()))
    rates = np.stack([known[name] * factors for name in types])
    rates *= depth / rates.sum(axis=1, keepdims=True)
    return sparse.csr_matrix(np.random.default_rng(seed).poisson(rates).astype(np.float32)), types
