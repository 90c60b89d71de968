"""Evidence on whether the labels of a batch are right that needs no known label of it.

Two classifiers that see disjoint halves of the genes err almost independently where their labels
are right for a reason: how often they agree bounds how often they err (Platanios 2014). The way back
asks more: the labels that one half gives to the query must teach a classifier on the other half to
give the reference its own labels again. Both also depend on depth, genes and composition, so each is
given together with what reference cells reach that were thinned and drawn to resemble the query.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from refatlas.neighbors.exact_index import nearest_neighbors
from refatlas.transfer.logistic import Arrays, apply_logistic, fit_logistic
from refatlas.transfer.matched_reference import GENES_STRENGTH, MatchedReference
from refatlas.transfer.novelty_measures import AlignedCells

# Query cells that teach on the way back, and reference cells to fit to and to compare with, at most.
MAX_CELLS = 2000
# Fits need not be exact: what is counted is which label is first.
TOLERANCE = 1e-2
# Labels that fewer cells are given take no part in the way back.
MIN_LABEL_CELLS = 5
NEIGHBORS = 15
# Names of the measures of a batch.
AGREEMENT = ("halves", "halves_expected", "way_back", "way_back_expected", "sources", "coherence")
Agreement = dict[str, float | None]


@dataclass
class HalfClassifiers:
    """Logistic regressions on two disjoint halves of the genes.

    Attributes:
        labels: names of the labels.
        genes: mask of the genes of each half, shape (2, n_genes).
        arrays: the regression of each half, from `fit_logistic`.
        fitted: expression and label codes of the reference cells that they were fitted to.
        others: expression and label codes of further reference cells.
    """

    labels: np.ndarray
    genes: np.ndarray
    arrays: list[Arrays]
    fitted: tuple[sparse.csr_matrix, np.ndarray]
    others: tuple[sparse.csr_matrix, np.ndarray]

    @classmethod
    def fit(cls, reference: MatchedReference, seed: int) -> "HalfClassifiers":
        """Return the classifiers of a random split of the genes, fitted to half of the reference's cells."""
        random = np.random.default_rng(seed)
        first = random.permutation(reference.expression.shape[1]) % 2 == 0
        # Every second cell of each label, in random order.
        order = random.permutation(len(reference.codes))
        order = order[np.argsort(reference.codes[order], kind="stable")]
        parts = [random.permutation(order[i::2])[:MAX_CELLS] for i in (0, 1)]
        cells = [(reference.expression[rows], reference.codes[rows]) for rows in parts]
        labels = pd.Series(reference.labels[cells[0][1]])
        genes = np.stack([first, ~first])
        arrays = [fit_logistic(cells[0][0][:, half], labels, GENES_STRENGTH, tolerance=TOLERANCE) for half in genes]
        return cls(reference.labels, genes, arrays, cells[0], cells[1])

    def probabilities(self, expression: sparse.csr_matrix, shift: np.ndarray) -> list[np.ndarray]:
        """Return the probabilities of the labels by each half, shape (n_cells, n_labels).

        Args:
            expression: of cells, shape (n_cells, n_genes).
            shift: that is subtracted from it, shape (n_genes,).
        """
        found = []
        for half, arrays in zip(self.genes, self.arrays, strict=True):
            moved = {**arrays, "intercept": arrays["intercept"] - arrays["coef"] @ shift[half]}
            p = apply_logistic(moved, expression[:, half])
            wide = np.zeros((len(p), len(self.labels)))
            wide[:, np.searchsorted(self.labels, arrays["labels"])] = p
            found.append(wide)
        return found

    def agreement(self, expression: sparse.csr_matrix, by_halves: list[np.ndarray], seed: int) -> Agreement:
        """Return halves and way_back of some cells, and what reference cells of the same composition reach."""
        found = {"halves": _agree(by_halves), "way_back": self._way_back(expression, by_halves, seed)}
        alike = self._others_like(by_halves, seed)
        given = self.probabilities(alike, np.zeros(alike.shape[1]))
        return {
            **found,
            "halves_expected": _agree(given),
            "way_back_expected": self._way_back(alike, given, seed),
        }

    def _others_like(self, by_halves: list[np.ndarray], seed: int) -> sparse.csr_matrix:
        """Return further reference cells, drawn with the composition of the labels that cells are given."""
        given = (by_halves[0] + by_halves[1]).argmax(axis=1)
        expression, codes = self.others
        shares = np.bincount(given, minlength=len(self.labels)) / len(given)
        weights = shares[codes] / np.maximum(np.bincount(codes, minlength=len(self.labels))[codes], 1)
        if not weights.any():
            return expression
        n_cells = min(len(given), MAX_CELLS)
        drawn = np.random.default_rng(seed).choice(len(codes), n_cells, p=weights / weights.sum())
        return expression[np.sort(drawn)]

    def _way_back(self, expression: sparse.csr_matrix, by_halves: list[np.ndarray], seed: int) -> float | None:
        """Return how often the reference is given its own labels by what the labels of some cells teach.

        It is the mean recall over the labels that the cells are given, less chance, and averaged
        over both directions between the halves; None with a single label.
        """
        rows = np.sort(np.random.default_rng(seed).permutation(expression.shape[0])[:MAX_CELLS])
        taught = [p.argmax(axis=1)[rows] for p in by_halves]
        found = [
            self._recall(expression[rows][:, half], codes, half)
            for half, codes in zip(self.genes, taught[::-1], strict=True)
        ]
        numbers = [value for value in found if value is not None]
        return float(np.mean(numbers)) if numbers else None

    def _recall(self, expression: sparse.csr_matrix, taught: np.ndarray, half: np.ndarray) -> float | None:
        names, sizes = np.unique(taught, return_counts=True)
        names = names[sizes >= MIN_LABEL_CELLS]
        if len(names) < 2:
            return None
        kept = np.isin(taught, names)
        labels = pd.Series(self.labels[taught[kept]])
        arrays = fit_logistic(expression[kept], labels, GENES_STRENGTH, tolerance=TOLERANCE)
        reference, codes = self.fitted
        # The reference is moved so that its mean is that of the cells.
        move = np.asarray(expression[kept].mean(axis=0) - reference[:, half].mean(axis=0)).ravel()
        moved = {**arrays, "intercept": arrays["intercept"] + arrays["coef"] @ move}
        predicted = arrays["labels"][apply_logistic(moved, reference[:, half]).argmax(axis=1)]
        recalls = [(predicted[codes == k] == self.labels[k]).mean() for k in names if (codes == k).any()]
        return float((np.mean(recalls) - 1 / len(names)) / (1 - 1 / len(names)))


def _agree(by_halves: list[np.ndarray]) -> float:
    """Return the mean probability that both halves draw the same label."""
    return float((by_halves[0] * by_halves[1]).sum(axis=1).mean())


def source_agreement(query: AlignedCells, part: np.ndarray, seed: int) -> Agreement:
    """Return how much the labels of some query cells agree among each other.

    Args:
        query: all cells after alignment.
        part: mask of the cells.
        seed: seed of the draw of cells whose neighbours are searched.

    Returns:
        "sources", the share of cells whose label is the same by kNN and by the regressions on genes
        and on components; "coherence", the share of a cell's neighbours with its label.
    """
    best = {name: p[part].argmax(axis=1) for name, p in query.probabilities.items()}
    given, latent = query.pooled[part].argmax(axis=1), query.latent[part]
    drawn = np.random.default_rng(seed).permutation(len(latent))[:MAX_CELLS]
    neighbors, _ = nearest_neighbors(latent, latent[drawn], min(NEIGHBORS + 1, len(latent)))
    return {
        "sources": float(np.mean([best["knn"] == best["classifier"], best["logistic"] == best["classifier"]])),
        "coherence": float((given[neighbors[:, 1:]] == given[drawn, None]).mean()),
    }
