"""The baseline fitted to the reference as a query would have measured it: the query's genes, at the query's depth.

A reference that was sequenced deeper, or that has genes which the query lacks, gives other
expression values for the same cell. Both differences are removed from the reference rather than
from the query, whose counts stay as they are.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from refatlas.neighbors.exact_index import ExactIndex
from refatlas.prepare.normalization import log_normalized
from refatlas.transfer.label_table import draw_evenly
from refatlas.transfer.logistic import Arrays, apply_scaled, fit_logistic, fit_scaled
from refatlas.transfer.weighted_knn import neighbor_weights, weighted_shares

# Reference cells to fit to, drawn evenly from its labels.
MAX_CELLS = 10_000
MIN_PER_LABEL = 50
N_LATENT = 30
NEIGHBORS = 50
# Inverse strength of the penalties of logistic regression, on genes and on principal components.
GENES_STRENGTH = 0.1
LATENT_STRENGTH = 1.0
TOLERANCE = 1e-3
# A reference is thinned if the query's median depth is less than this share of its own.
MIN_DEPTH_RATIO = 0.8


@dataclass
class MatchedReference:
    """The baseline as a query measures the reference.

    Attributes:
        labels: sorted names of the labels.
        codes: label of each drawn cell, a position in `labels`.
        expression: log-normalised expression of the drawn cells, shape (n_cells, n_measured).
        components, mean: of the principal components, shapes (n_latent, n_measured) and (n_measured,).
        latent: of the drawn cells, shape (n_cells, n_latent).
        classifier: logistic regression on genes.
        logistic: logistic regression on principal components.
        index: of `latent`.
        depth_ratio: median depth of the query as a multiple of the reference's, over the measured genes.
    """

    labels: np.ndarray
    codes: np.ndarray
    expression: sparse.csr_matrix
    components: np.ndarray
    mean: np.ndarray
    latent: np.ndarray
    classifier: Arrays
    logistic: Arrays
    index: ExactIndex
    depth_ratio: float

    @classmethod
    def fit(
        cls, counts: sparse.csr_matrix, labels: np.ndarray, depth: float, seed: int, max_cells: int = MAX_CELLS
    ) -> "MatchedReference":
        """Return the baseline fitted to reference cells.

        Args:
            counts: of labelled cells and the genes that the query has measured.
            labels: of the cells.
            depth: median counts of a query cell in these genes.
            seed: seed of the draw and of the thinning.
            max_cells: most cells to fit to.
        """
        from sklearn.decomposition import PCA

        names, codes = np.unique(labels.astype(str), return_inverse=True)
        if len(codes) > max_cells:
            drawn = draw_evenly(codes, max_cells, MIN_PER_LABEL, seed)
            counts, codes = counts[drawn], codes[drawn]
        ratio = depth / max(float(np.median(np.asarray(counts.sum(axis=1)))), 1.0)
        expression = log_normalized(thinned(counts, ratio, seed) if ratio < MIN_DEPTH_RATIO else counts)
        pca = PCA(min(N_LATENT, min(expression.shape) - 1), svd_solver="arpack", random_state=0).fit(expression)
        latent = _project(expression, pca.components_, pca.mean_)
        given = pd.Series(names[codes])
        return cls(
            names,
            codes.astype(np.int64),
            expression,
            pca.components_,
            pca.mean_,
            latent,
            fit_logistic(expression, given, GENES_STRENGTH, tolerance=TOLERANCE),
            fit_scaled(latent, given, LATENT_STRENGTH),
            ExactIndex.build(latent),
            ratio,
        )

    def project(self, expression: sparse.csr_matrix | np.ndarray, shift: np.ndarray | float = 0.0) -> np.ndarray:
        """Return the latent space of cells after their shift is subtracted, shape (n_cells, n_latent)."""
        return _project(expression, self.components, self.mean + shift)

    def gene_scores(self, expression: sparse.csr_matrix, shift: np.ndarray) -> np.ndarray:
        """Return the linear scores of the labels by the regression on genes, shape (n_cells, n_labels)."""
        coefficients = self.classifier["coef"].T
        return np.asarray(expression @ coefficients) - shift @ coefficients + self.classifier["intercept"]

    def probabilities(
        self, expression: sparse.csr_matrix, shift: np.ndarray, latent: np.ndarray, threads: int = 1
    ) -> dict[str, np.ndarray]:
        """Return the probabilities of the labels by each source, shape (n_cells, n_labels).

        Args:
            expression: log-normalised expression of query cells, shape (n_cells, n_measured).
            shift: that is subtracted from it, shape (n_measured,).
            latent: of these cells after the shift, from `project`.
            threads: number of threads.
        """
        neighbors, distances = self.index.search(latent, min(NEIGHBORS, len(self.latent)), threads)
        scores = self.gene_scores(expression, shift)
        return {
            "classifier": _softmax(scores),
            "knn": weighted_shares(self.codes, neighbors, neighbor_weights(distances), len(self.labels)),
            "logistic": apply_scaled(self.logistic, latent),
        }


def thinned(counts: sparse.csr_matrix, share: float, seed: int) -> sparse.csr_matrix:
    """Return a binomial draw that keeps this share of all counts."""
    found = counts.copy()
    found.data = np.random.default_rng(seed).binomial(counts.data.astype(np.int64), share).astype(np.float32)
    found.eliminate_zeros()
    return found


def _project(expression: sparse.csr_matrix | np.ndarray, components: np.ndarray, mean: np.ndarray) -> np.ndarray:
    return np.asarray(expression @ components.T - mean @ components.T, dtype=np.float32)


def _softmax(scores: np.ndarray) -> np.ndarray:
    from scipy.special import softmax

    return softmax(scores, axis=1)
