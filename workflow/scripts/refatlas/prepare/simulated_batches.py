"""Batches simulated by thinning the counts of a reference that has a single batch."""

import numpy as np
from scipy import sparse

from refatlas.prepare.normalization import log_normalized

# Two batches of half the depth, whose genes' detection rates differ from the reference's by
# log-normal factors of this spread: more than between donors (0.2), less than between technologies
# (1).
DEPTH = 0.5
SPREAD = 0.5
PROGRAMS = 20
# Cells from which gene programs are computed, at most.
MAX_CELLS = 20_000


def technical_factors(counts: sparse.csr_matrix, random: np.random.Generator) -> np.ndarray:
    """Return a factor for each gene, independent of other genes, as of another technology."""
    return np.exp(random.normal(0, SPREAD, counts.shape[1]))


def program_factors(counts: sparse.csr_matrix, random: np.random.Generator) -> np.ndarray:
    """Return a factor for each gene, as of another state of the cells.

    Genes that vary together in the cells change together.
    """
    from sklearn.utils.extmath import randomized_svd

    if counts.shape[0] > MAX_CELLS:
        counts = counts[np.sort(random.permutation(counts.shape[0])[:MAX_CELLS])]
    x = log_normalized(counts)
    _, strength, programs = randomized_svd(
        x.toarray() - np.asarray(x.mean(axis=0)),
        min(PROGRAMS, min(x.shape) - 1),
        random_state=int(random.integers(2**31)),
    )
    change = (random.normal(0, 1, len(strength)) * strength) @ programs
    return np.exp(SPREAD * change / change.std())


def simulate_batches(counts: sparse.csr_matrix, seed: list[int]) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Return thinned counts, and the number of each cell's simulated batch.

    Each count is replaced by a binomial draw with its batch's detection rate of the gene.

    Args:
        counts: cells × genes, float32 integers.
        seed: of all random numbers.
    """
    random = np.random.default_rng(seed)
    factors = np.stack([technical_factors(counts, random), program_factors(counts, random)])
    batches = random.integers(0, len(factors), counts.shape[0])
    rates, rows = np.minimum(DEPTH * factors, 1), np.repeat(batches, np.diff(counts.indptr))
    thinned = counts.copy()
    thinned.data = random.binomial(counts.data.astype(np.int64), rates[rows, counts.indices]).astype(np.float32)
    thinned.eliminate_zeros()
    return thinned, batches
