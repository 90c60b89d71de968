"""The scib metrics (Luecken 2022) of references that are too large for scib-metrics, which uses all cells.

No metric is computed on a part of the graph, which would change the scale of neighbourhoods. What
has a cheap exact form is exact. Where a metric is an average of scores of cells, sampled cells are
scored against all cells, and the estimate has an interval:

| metric | how it is computed |
|---|---|
| silhouette_label | mean silhouette of sampled cells among all cells, stratified by label |
| isolated_labels | the same silhouettes, with equal weight of each isolated label |
| clisi, ilisi | median LISI of sampled cells among all cells; interval by order statistics |
| kbet | diffusion map of all cells of each label; tests of sampled cells, stratified by label |
| kbet without labels | tests of sampled cells and their nearest among all cells in the latent space |
| bras | exact: a mean cosine distance to a group follows from the mean of its unit vectors |
| pcr_comparison | exact: with all components, the share of the variance between batches |
| kmeans_nmi, kmeans_ari | exact up to rounding: first centroids of scib-metrics, then Lloyd's |
| graph_connectivity | exact: strongly connected components of the graph of all cells |

The graph is exact up to `graph.EXACT_GRAPH` cells. That of more cells is found by NN-descent,
as in scib-metrics, and intervals do not cover its errors.

Intervals are of 99 % and refer to the value over all cells: their width is 0 if all are sampled.
"""

from functools import cached_property

import numpy as np

from refatlas.evaluate.estimates import Estimate, Remembered, UndefinedMetricError, sampled_median, stratified_mean
from refatlas.evaluate.exact_metrics import graph_connectivity, kmeans_labels, pcr_comparison
from refatlas.evaluate.kbet import LabelSpace, label_spaces, memberships
from refatlas.evaluate.silhouettes import bras, silhouettes
from refatlas.neighbors.exact_index import nearest_neighbors
from refatlas.neighbors.graph import neighbor_graph
from refatlas.neighbors.lisi import lisi

K_LISI, K_KBET, K_CONNECTIVITY = 90, 50, 15


class SampledMetrics:
    """The metrics of one latent space; methods with the names of metrics return their `Estimate`.

    They raise an `UndefinedMetricError` if the metric is not defined on these cells.

    Args:
        latent: latent space, shape (n_cells, n_latent).
        unintegrated: latent space before integration, shape (n_cells, n_components).
        labels: label of each cell; all equal if there are none.
        batches: batch of each cell.
        limit: largest half-width of an interval.
        threads: number of threads.
        seed: seed of the sampling.
    """

    def __init__(
        self,
        latent: np.ndarray,
        unintegrated: np.ndarray,
        labels: np.ndarray,
        batches: np.ndarray,
        limit: float,
        threads: int = 1,
        seed: int = 0,
    ) -> None:
        self.latent, self.unintegrated = latent.astype(float), unintegrated.astype(float)
        self.labels, self.batches = (np.unique(names, return_inverse=True)[1] for names in (labels, batches))
        self.n_labels, self.n_batches = int(self.labels.max()) + 1, int(self.batches.max()) + 1
        self.limit, self.threads, self.seed = limit, threads, seed
        self.silhouettes = Remembered(lambda rows: silhouettes(rows, self.latent, self.labels), len(latent))

    def _require_several_labels(self) -> None:
        if self.n_labels == 1:
            raise UndefinedMetricError("there is a single label")

    def _require_several_batches(self) -> None:
        if self.n_batches == 1:
            raise UndefinedMetricError("there is a single batch")

    @cached_property
    def graph(self) -> tuple[np.ndarray, np.ndarray]:
        """Indices and distances of the nearest cells of each cell, itself included, shape (n_cells, k)."""
        return neighbor_graph(self.latent, K_KBET, self.seed, self.threads)

    @cached_property
    def clusters(self) -> np.ndarray:
        """Clusters by k-means, as many as labels."""
        return kmeans_labels(self.latent, self.n_labels)

    def silhouette_label(self) -> Estimate:
        """Return the mean silhouette of labels."""
        self._require_several_labels()
        return stratified_mean(
            self.silhouettes, self.labels, np.bincount(self.labels) / len(self.labels), self.limit, self.seed
        )

    def isolated_labels(self) -> Estimate:
        """Return the mean silhouette of the labels that occur in the fewest batches, with equal weights."""
        self._require_several_labels()
        pairs = np.unique(np.stack([self.labels, self.batches]), axis=1)
        n_batches = np.bincount(pairs[0])
        isolated = np.flatnonzero(n_batches == n_batches.min())
        stratum = np.full(self.n_labels, -1)
        stratum[isolated] = np.arange(len(isolated))
        return stratified_mean(
            self.silhouettes, stratum[self.labels], np.full(len(isolated), 1 / len(isolated)), self.limit, self.seed
        )

    def lisi(self, rows: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Return the LISI of some cells among all cells.

        Args:
            rows: cells to score.
            codes: label or batch of each cell, an integer.
        """
        neighbors, distances = nearest_neighbors(self.latent, self.latent[rows], K_LISI, self.threads)
        own = neighbors == rows[:, None]
        own[~own.any(axis=1), -1] = True
        shape = (len(rows), K_LISI - 1)
        return lisi(distances[~own].reshape(shape), codes[neighbors[~own].reshape(shape)], perplexity=K_LISI // 3)

    @cached_property
    def label_lisi(self) -> Remembered:
        """cLISI of cells: 1 if all neighbours have the same label."""
        return Remembered(
            lambda rows: (self.n_labels - self.lisi(rows, self.labels)) / (self.n_labels - 1), len(self.labels)
        )

    @cached_property
    def batch_lisi(self) -> Remembered:
        """iLISI of cells: 1 if neighbours are of all batches equally."""
        return Remembered(lambda rows: (self.lisi(rows, self.batches) - 1) / (self.n_batches - 1), len(self.labels))

    def clisi(self) -> Estimate:
        """Return the median of cells' cLISI."""
        self._require_several_labels()
        return sampled_median(self.label_lisi, len(self.labels), self.limit, self.seed)

    def ilisi(self) -> Estimate:
        """Return the median of cells' iLISI."""
        self._require_several_batches()
        return sampled_median(self.batch_lisi, len(self.labels), self.limit, self.seed)

    @cached_property
    def acceptance(self) -> tuple[Remembered, np.ndarray, float]:
        """kBET's acceptance of cells, their strata, and the share of labels that have a stratum.

        A stratum is a label with a diffusion map; -1 for cells of none. The score of other labels
        is 0.
        """
        spaces = label_spaces(memberships(*self.graph), self.labels, self.batches)
        judged = [space for space in spaces if space is not None]
        stratum, position = np.full(len(self.labels), -1), np.zeros(len(self.labels), int)
        for code, space in enumerate(judged):
            stratum[space.rows], position[space.rows] = code, np.arange(len(space.rows))

        def score(rows: np.ndarray) -> np.ndarray:
            found = np.zeros(len(rows))
            for code in np.unique(stratum[rows]):
                inside = stratum[rows] == code
                found[inside] = judged[code].accepted(position[rows[inside]], self.threads)
            return found

        return Remembered(score, len(self.labels)), stratum, len(judged) / len(spaces) if spaces else np.nan

    def kbet(self) -> Estimate:
        """Return the mean over labels of the share of cells whose neighbourhood has the label's batches."""
        score, stratum, share = self.acceptance
        if not share > 0:
            return Estimate(share)
        n_judged = stratum.max() + 1
        mean = stratified_mean(score, stratum, np.full(n_judged, 1 / n_judged), self.limit / share, self.seed)
        return Estimate(share * mean.value, share * mean.half_width, mean.n_sampled)

    def kbet_of_all(self) -> Estimate:
        """Return the share of cells whose nearest cells have the batches of all cells; needs no labels (Büttner 2019).

        Nearest in the latent space, the cell itself included, as in scib-metrics' `kbet`.
        """
        self._require_several_batches()
        n_cells = len(self.batches)
        space = LabelSpace(np.arange(n_cells), self.latent, self.batches, K_KBET - 1)
        score = Remembered(lambda rows: space.accepted(rows, self.threads), n_cells)
        return stratified_mean(score, np.zeros(n_cells, int), np.ones(1), self.limit, self.seed)

    def bras(self) -> Estimate:
        """Return BRAS, exactly."""
        return Estimate(bras(self.latent, self.labels, self.batches))

    def pcr_comparison(self) -> Estimate:
        """Return the comparison of principal component regressions, exactly."""
        return Estimate(pcr_comparison(self.unintegrated, self.latent, self.batches))

    def graph_connectivity(self) -> Estimate:
        """Return the connectivity of labels, exactly."""
        return Estimate(graph_connectivity(self.graph[0][:, :K_CONNECTIVITY], self.labels))

    def kmeans_nmi(self) -> Estimate:
        """Return the normalised mutual information of labels and clusters."""
        from sklearn.metrics import normalized_mutual_info_score

        return Estimate(float(normalized_mutual_info_score(self.labels, self.clusters)))

    def kmeans_ari(self) -> Estimate:
        """Return the adjusted Rand index of labels and clusters."""
        from sklearn.metrics import adjusted_rand_score

        return Estimate(float(adjusted_rand_score(self.labels, self.clusters)))
