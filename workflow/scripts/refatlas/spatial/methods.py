"""Methods that tell regions by expression: each is fitted to spots, kept as arrays, and gives probabilities."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd

from refatlas.neighbors.exact_index import ExactIndex
from refatlas.spatial.sagenet import apply_sagenet, fit_sagenet, gene_graph
from refatlas.transfer.logistic import Arrays, apply_logistic, fit_logistic
from refatlas.transfer.weighted_knn import neighbor_weights, weighted_shares

# Principal components, neighbours, and the inverse strength of the penalty of logistic regression.
N_LATENT, K, STRENGTH = 20, 30, 0.01


@dataclass
class Training:
    """Spots that methods are fitted to.

    Attributes:
        x: standardised expression, shape (n_spots, n_genes), float32.
        seed: of all draws. epochs: of networks. threads: of searches.
        graph: edges between genes, which only SageNet needs; made once for all partitions.
    """

    x: np.ndarray
    seed: int
    epochs: int
    threads: int = 1
    graph: np.ndarray | None = None

    def edges(self) -> np.ndarray:
        """Return the graph of genes."""
        if self.graph is None:
            self.graph = gene_graph(self.x)
        return self.graph


class Fit(Protocol):
    def __call__(self, spots: Training, codes: np.ndarray, n_regions: int) -> Arrays: ...


class Apply(Protocol):
    def __call__(self, arrays: Arrays, x: np.ndarray, threads: int = 1) -> np.ndarray: ...


def _fit_logistic(spots: Training, codes: np.ndarray, n_regions: int) -> Arrays:
    known = codes >= 0
    found = fit_logistic(spots.x[known], pd.Series(codes[known]).map("{:06d}".format), STRENGTH, seed=spots.seed)
    return {
        "coef": found["coef"],
        "intercept": found["intercept"],
        "codes": found["labels"].astype(int),
        "n_regions": np.array(n_regions),
    }


def _apply_logistic(arrays: Arrays, x: np.ndarray, threads: int = 1) -> np.ndarray:
    found = np.zeros((len(x), int(arrays["n_regions"])))
    found[:, arrays["codes"]] = apply_logistic(arrays, x.astype(np.float64))
    return found


def _fit_knn(spots: Training, codes: np.ndarray, n_regions: int) -> Arrays:
    known = codes >= 0
    components = principal_components(spots.x)
    return {
        "components": components,
        "latent": spots.x[known].astype(np.float64) @ components.T,
        "codes": codes[known].astype(np.int64),
        "n_regions": np.array(n_regions),
    }


def _apply_knn(arrays: Arrays, x: np.ndarray, threads: int = 1) -> np.ndarray:
    index = ExactIndex.build(arrays["latent"])
    near, distances = index.search(x.astype(np.float64) @ arrays["components"].T, K, threads)
    return weighted_shares(arrays["codes"], near, neighbor_weights(distances), int(arrays["n_regions"]))


def _fit_sagenet(spots: Training, codes: np.ndarray, n_regions: int) -> Arrays:
    known = codes >= 0
    return fit_sagenet(spots.x[known], codes[known], n_regions, spots.edges(), spots.epochs, spots.seed)


def _apply_sagenet(arrays: Arrays, x: np.ndarray, threads: int = 1) -> np.ndarray:
    return apply_sagenet(arrays, x)


def principal_components(x: np.ndarray) -> np.ndarray:
    """Return the first principal components of standardised spots, shape (n_latent, n_genes)."""
    from sklearn.decomposition import PCA

    n = min(N_LATENT, min(x.shape) - 1)
    return PCA(n, svd_solver="arpack", random_state=0).fit(x.astype(np.float64)).components_


METHODS: dict[str, tuple[Fit, Apply]] = {
    "sagenet": (_fit_sagenet, _apply_sagenet),
    "logistic_regression": (_fit_logistic, _apply_logistic),
    "knn": (_fit_knn, _apply_knn),
}
