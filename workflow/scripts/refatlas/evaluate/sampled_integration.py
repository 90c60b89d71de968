"""The scib metrics (Luecken 2022) of references that are too large to compute them as scib-metrics
does, on all cells.

Nothing is computed on a part of the graph, which would change the scale of neighbourhoods. What has
a cheap exact form is exact; where a metric
is an average of scores of cells, the scores of sampled cells are computed against all cells, and
the estimate has an interval:

| metric | how |
|---|---|
| silhouette_label | mean of sampled cells' silhouettes, stratified by label: distances of sampled
cells to all cells, O(sampled × cells) |
| isolated_labels | the same silhouettes, with equal weight for each isolated label |
| clisi, ilisi | median of sampled cells' LISI, from their neighbours among all cells; interval by
order statistics |
| kbet | graph and diffusion map of each label with all its cells; sampled cells' tests, stratified
by label |
| bras | exact: a mean cosine distance to a group follows from the mean of its unit vectors, O(cells
× batches) |
| pcr_comparison | exact: with all components kept, it is the share of the variance between batches
|
| kmeans_nmi, kmeans_ari | exact up to rounding: scib-metrics' own first centroids, then Lloyd's
iterations to the same fixed point on all cells |
| graph_connectivity | exact: strongly connected components of the graph of all cells |

The graph of all cells is exact up to `knn.EXACT_GRAPH` cells; that of more is found by NN-descent,
as in scib-metrics, and no half-width tells of what that misses.

Intervals are of 99 % and hold for the value over all cells, so that they shrink to nothing where
all are sampled.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import sparse, special, stats
from scipy.sparse.csgraph import connected_components

from refatlas.neighbors.exact_index import nearest
from refatlas.neighbors.graph import neighbor_graph
from refatlas.neighbors.lisi import lisi
from refatlas.numba_cache import cache_umap_functions

CONFIDENCE = 0.99
# Of each stratum, and of all cells for a median: with fewer, the spread that sets the sample's size
# is itself too uncertain.
FIRST_OF_STRATUM, FIRST_OF_ALL = 200, 1000
K_LISI, K_KBET, K_CONNECTIVITY = 90, 50, 15
BLOCK = 2**22


@dataclass(frozen=True)
class Estimate:
    """A metric's value; half the width of its interval, 0 if exact; the cells that were scored,
    None for all.
    """

    value: float
    half_width: float = 0.0
    n_sampled: int | None = None


class Remembered:
    """Scores of cells, each computed once however often it is asked for."""

    def __init__(self, score: Callable[[np.ndarray], np.ndarray], n_cells: int):
        self.score, self.values, self.known = score, np.zeros(n_cells), np.zeros(n_cells, bool)

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Return the scores of cells `rows`."""
        new = rows[~self.known[rows]]
        if len(new):
            self.values[new], self.known[new] = self.score(new), True
        return self.values[rows]


def stratified_mean(
    score: Callable[[np.ndarray], np.ndarray], strata: np.ndarray, weights: np.ndarray, limit: float, seed: int
) -> Estimate:
    """Return the weighted mean of the strata's mean scores, from as many cells as an interval of
    half-width `limit` takes.

    Variance by Cochran 1977, 5.6, for sampling without replacement. Each stratum's spread counts a
    0 and a 1 besides its scores (as Agresti and
    Coull 1998 do), so that a few equal scores are not taken for certainty.

    Args:
        score: from rows to scores between 0 and 1. strata: of each cell, 0 … len(weights) - 1; -1
            for cells that take no part.
        weights: of the strata, summing to 1; none is empty.
    """
    order = np.random.default_rng(seed).permutation(len(strata))
    members = [order[strata[order] == stratum] for stratum in range(len(weights))]
    sizes = np.array([len(m) for m in members])
    n, z = np.minimum(sizes, FIRST_OF_STRATUM), stats.norm.ppf((1 + CONFIDENCE) / 2)
    while True:
        scores = np.split(score(np.concatenate([m[:k] for m, k in zip(members, n, strict=True)])), np.cumsum(n)[:-1])
        spreads = np.array([np.var(np.append(s, (0, 1)), ddof=1) for s in scores])
        half = z * np.sqrt((weights**2 * spreads * (1 / n - 1 / sizes)).sum())
        if half <= limit:
            return Estimate(float(weights @ [s.mean() for s in scores]), float(half), int(n.sum()))
        n = enlarged(n, sizes, weights * np.sqrt(spreads), (0.95 * limit / z) ** 2)


def enlarged(n: np.ndarray, sizes: np.ndarray, deviations: np.ndarray, variance: float) -> np.ndarray:
    """Return larger samples of the strata, by Neyman's allocation for the wanted variance of the
    mean (Cochran 1977, 5.9); more in any case.

    Args:
        n, sizes: cells sampled, and all cells, of each stratum. deviations: weight times standard
            deviation.
    """
    wanted = deviations * deviations.sum() / (variance + (deviations**2 / sizes).sum())
    larger = np.clip(np.ceil(wanted).astype(int), n, sizes)
    return larger if (larger > n).any() else np.minimum(2 * n, sizes)


def sampled_median(score: Callable[[np.ndarray], np.ndarray], n_cells: int, limit: float, seed: int) -> Estimate:
    """Return the median score, from as many cells as an interval of half-width `limit` takes.

    The interval is free of assumptions on the scores: the ranks between which the median of all
    cells lies are hypergeometric.
    """
    order = np.random.default_rng(seed).permutation(n_cells)
    n = min(FIRST_OF_ALL, n_cells)
    while True:
        ranked = np.sort(score(order[:n]))
        low, high = stats.hypergeom.interval(CONFIDENCE, n_cells, n_cells // 2, n)
        middle = np.median(ranked)
        half = (
            max(middle - ranked[max(int(low) - 1, 0)], ranked[min(int(high), n - 1)] - middle) if n < n_cells else 0.0
        )
        if half <= limit:
            return Estimate(float(middle), float(half), n)
        n = min(n_cells, int(n * np.clip((half / limit) ** 2, 1.5, 8)))


def silhouettes(rows: np.ndarray, latent: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return the Euclidean silhouettes (Rousseeuw 1987) of cells `rows` among all cells, scaled to
    0 … 1; 0.5 for the only cell of its label.
    """
    centered = latent - latent.mean(axis=0)
    sizes = np.bincount(codes)
    means = np.stack(
        [summed_distances(centered[rows], centered[codes == group]) for group in range(len(sizes))], axis=1
    )
    own = (np.arange(len(rows)), codes[rows])
    within = means[own] / np.maximum(sizes[codes[rows]] - 1, 1)
    means /= sizes
    means[own] = np.inf
    between = means.min(axis=1)
    widest = np.maximum(within, between)
    width = np.divide(between - within, widest, out=np.zeros(len(rows)), where=(widest > 0) & (sizes[codes[rows]] > 1))
    return (width + 1) / 2


def summed_distances(points: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Return the sum of each point's Euclidean distances to all cells, shape (n_points,), in
    blocks.
    """
    squares, sums = np.square(cells).sum(axis=1), np.empty(len(points))
    step = max(BLOCK // max(len(cells), 1), 1)
    for start in range(0, len(points), step):
        block = points[start : start + step]
        distances = block @ (-2 * cells.T)
        distances += squares
        distances += np.square(block).sum(axis=1)[:, None]
        sums[start : start + step] = np.sqrt(np.maximum(distances, 0, out=distances), out=distances).sum(axis=1)
    return sums


def bras(latent: np.ndarray, labels: np.ndarray, batches: np.ndarray) -> float:
    """Return BRAS (Rautenstrauch 2025), exact: 1 - |cosine silhouette of batches| within each
    label, the mean of labels' means.

    Raises:
        ValueError: if no label has cells of two batches.
    """
    units = latent / np.linalg.norm(latent, axis=1, keepdims=True)
    scores = []
    for label in range(labels.max() + 1):
        inside = labels == label
        names, codes, sizes = np.unique(batches[inside], return_inverse=True, return_counts=True)
        if 1 < len(names) < inside.sum():
            scores.append(1 - np.abs(batch_silhouettes(units[inside], codes, sizes)).mean())
    if not scores:
        raise ValueError("every label has cells of a single batch")
    return float(np.mean(scores))


def batch_silhouettes(units: np.ndarray, codes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return silhouettes by mean cosine distances to the cell's own batch and to all cells of
    others; 0 for the only cell of its batch.
    """
    totals = np.stack([units[codes == code].sum(axis=0) for code in range(len(sizes))])
    own = (units * totals[codes]).sum(axis=1)
    within = (sizes[codes] - own) / np.maximum(sizes[codes] - 1, 1)
    n_others = len(codes) - sizes[codes]
    between = (n_others - (units @ totals.sum(axis=0) - own)) / n_others
    widest = np.maximum(within, between)
    return np.divide(between - within, widest, out=np.zeros(len(codes)), where=(widest > 0) & (sizes[codes] > 1))


def between_share(latent: np.ndarray, batches: np.ndarray) -> float:
    """Return the share of the variance that lies between batches: principal component regression
    (Büttner 2018) with all components.
    """
    sizes = np.bincount(batches)
    centered = latent - latent.mean(axis=0)
    sums = np.stack([np.bincount(batches, column) for column in centered.T], axis=1)
    return float((np.square(sums) / sizes[:, None]).sum() / np.square(centered).sum())


def pcr_comparison(unintegrated: np.ndarray, latent: np.ndarray, batches: np.ndarray) -> float:
    """Return the share by which the variance between batches fell from `unintegrated` to `latent`,
    at least 0.

    Raises:
        ValueError: with a single batch.
    """
    if batches.max() == 0:
        raise ValueError("there is a single batch")
    before = between_share(unintegrated, batches)
    return max(0.0, (before - between_share(latent, batches)) / before)


def kmeans_labels(latent: np.ndarray, n_clusters: int) -> np.ndarray:
    """Return the clusters that scib-metrics' k-means ends with: its first centroids (its seed,
    k-means++), Lloyd's iterations, its rule of when to stop.
    """
    from scib_metrics.utils import KMeans

    x = latent.astype(np.float32)
    centroids = (KMeans(n_clusters, max_iter=0).fit(x).cluster_centroids_ - x.mean(axis=0)).astype(float)
    x -= x.mean(axis=0)
    tolerance, inertia, clusters = 1e-4 * x.var(axis=0).mean(), np.inf, None
    columns, squares = np.ascontiguousarray(x.T, dtype=float), float(np.square(x, dtype=float).sum())
    for turn in range(1, 10**6):
        scores = x @ (-2 * centroids.T).astype(np.float32) + np.square(centroids).sum(axis=1).astype(np.float32)
        before, clusters = clusters, scores.argmin(axis=1)
        last, inertia = inertia, squares + float(scores.min(axis=1).sum(dtype=float))
        if np.array_equal(before, clusters) or (turn > 300 and abs(last - inertia) <= tolerance):
            return clusters
        sizes = np.maximum(np.bincount(clusters, minlength=n_clusters), 1)
        centroids = (
            np.stack([np.bincount(clusters, column, minlength=n_clusters) for column in columns], axis=1)
            / sizes[:, None]
        )
    raise RuntimeError("k-means did not converge")


def graph_connectivity(neighbors: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of a label's cells in its largest strongly connected component, mean of
    labels, for the directed graph of nearest cells.
    """
    n_cells = len(neighbors)
    same = labels[neighbors] == labels[:, None]
    starts = np.append(0, np.cumsum(same.sum(axis=1)))
    graph = sparse.csr_matrix((np.ones(starts[-1], np.int8), neighbors[same], starts), shape=(n_cells, n_cells))
    components = connected_components(graph, connection="strong")[1]
    sizes = pd.DataFrame({"label": labels, "component": components}).value_counts().groupby("label").max()
    return float((sizes.sort_index() / np.bincount(labels)).mean())


def memberships(neighbors: np.ndarray, distances: np.ndarray) -> sparse.csr_matrix:
    """Return UMAP's directed memberships of each cell's nearest cells, shape (n_cells, n_cells)."""
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
    """Return scanpy's multiscale diffusion components (Haghverdi 2016) of a symmetric graph, as
    scib-metrics makes them, shape (n_cells, n_comps).

    In single precision, which halves the memory. Each connected component has an eigenvalue of 1,
    whose weight is 1: it must not follow from rounding.
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
    # In double precision: what is off in them moves the eigenvalues of 1.
    return np.asarray(matrix.sum(axis=0, dtype=np.float64)).ravel()


def largest_eigenpairs(matrix: sparse.csr_matrix, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the k eigenvalues of largest magnitude of a symmetric matrix, in double precision, and
    their eigenvectors, shape (n, k), in the matrix's.

    By the square of the matrix, which has the same eigenvectors in the same order, further apart:
    half the steps, each of which costs more to keep orthogonal than to multiply.
    """
    square = sparse.linalg.LinearOperator(matrix.shape, matvec=lambda x: matrix @ (matrix @ x), dtype=matrix.dtype)
    start = np.ones(matrix.shape[0], matrix.dtype)
    squares, vectors = sparse.linalg.eigsh(square, k=k, which="LM", v0=start)
    values = np.array([_rayleigh_quotient(matrix, vector) for vector in vectors.T])
    # Values of one magnitude and both signs may share vectors in the square.
    if not np.allclose(values**2, squares, rtol=1e-4, atol=1e-5):
        values, vectors = sparse.linalg.eigsh(matrix, k=k, which="LM", v0=start)
    return values, vectors


def _rayleigh_quotient(matrix: sparse.csr_matrix, vector: np.ndarray) -> float:
    # The sums in double precision: of an eigenvalue near 1 the distance from 1 counts.
    exact = vector.astype(np.float64)
    return exact @ (matrix @ vector) / (exact @ exact)


@dataclass
class LabelSpace:
    """A label's cells in the space where kBET looks for their neighbours: rows of all cells,
    diffusion components, batch codes, number of neighbours.
    """

    rows: np.ndarray
    space: np.ndarray
    batches: np.ndarray
    k: int

    def accepted(self, wanted: np.ndarray, threads: int) -> np.ndarray:
        """Return for positions `wanted` whether the batches of the nearest cells may be a draw of
        the label's (Büttner 2019: chi-squared test at 0.05).
        """
        neighbors, _ = nearest(self.space, self.space[wanted], self.k + 1, threads)
        share = np.bincount(self.batches) / len(self.batches)
        flat = self.batches[neighbors] + len(share) * np.arange(len(wanted))[:, None]
        counts = np.bincount(flat.ravel(), minlength=len(share) * len(wanted)).reshape(len(wanted), len(share))
        expected = share * neighbors.shape[1]
        statistic = (np.square(counts - expected) / expected).sum(axis=1)
        return (special.chdtrc(len(share) - 1, statistic) >= 0.05).astype(float)


def label_spaces(graph: sparse.csr_matrix, labels: np.ndarray, batches: np.ndarray) -> list[LabelSpace | None]:
    """Return where kBET looks for neighbours, for each label that it judges; None for a label in
    too many pieces, whose score is 0.

    Labels with fewer than 10 cells or a single batch are left out. As in scib-metrics, components
    smaller than three neighbourhoods are left out
    if the others hold three quarters of the cells, and a small label lowers the number of diffusion
    components of those after it.

    Args:
        graph: directed memberships.
    """
    spaces, n_comps = [], 100
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
    """Return the cells in components of `least` cells; all cells if there is a single component."""
    n, components = connected_components(graph, directed=False)
    return np.flatnonzero((np.bincount(components)[components] >= least) | (n == 1))


class SampledMetrics:
    """The metrics of one latent space; methods of the metrics' names return their `Estimate`.

    Args:
        latent, unintegrated: shape (n_cells, n_dimensions). labels, batches: names. limit: largest
            half-width of an interval.
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
    ):
        self.latent, self.unintegrated = latent.astype(float), unintegrated.astype(float)
        self.labels, self.batches = (np.unique(names, return_inverse=True)[1] for names in (labels, batches))
        self.n_labels, self.n_batches = self.labels.max() + 1, self.batches.max() + 1
        self.limit, self.threads, self.seed = limit, threads, seed
        self.silhouettes = Remembered(lambda rows: silhouettes(rows, self.latent, self.labels), len(latent))

    @cached_property
    def graph(self) -> tuple[np.ndarray, np.ndarray]:
        """Indices and distances of all cells' nearest cells, themselves included."""
        return neighbor_graph(self.latent, K_KBET, self.seed, self.threads)

    @cached_property
    def clusters(self) -> np.ndarray:
        """k-means, as many clusters as labels."""
        return kmeans_labels(self.latent, self.n_labels)

    def silhouette_label(self) -> Estimate:
        """Return the mean silhouette of labels."""
        return stratified_mean(
            self.silhouettes, self.labels, np.bincount(self.labels) / len(self.labels), self.limit, self.seed
        )

    def isolated_labels(self) -> Estimate:
        """Return the mean silhouette of the labels that fewest batches have, each label alike."""
        pairs = np.unique(np.stack([self.labels, self.batches]), axis=1)
        n_batches = np.bincount(pairs[0])
        isolated = np.flatnonzero(n_batches == n_batches.min())
        stratum = np.full(self.n_labels, -1)
        stratum[isolated] = np.arange(len(isolated))
        return stratified_mean(
            self.silhouettes, stratum[self.labels], np.full(len(isolated), 1 / len(isolated)), self.limit, self.seed
        )

    def lisi(self, rows: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Return the LISI of cells `rows`, from their nearest cells among all, themselves left out."""
        neighbors, distances = nearest(self.latent, self.latent[rows], K_LISI, self.threads)
        own = neighbors == rows[:, None]
        own[~own.any(axis=1), -1] = True
        shape = (len(rows), K_LISI - 1)
        return lisi(distances[~own].reshape(shape), codes[neighbors[~own].reshape(shape)], perplexity=K_LISI // 3)

    @cached_property
    def label_lisi(self) -> Remembered:
        """cLISI of cells, 1 if neighbours are of one label."""
        return Remembered(
            lambda rows: (self.n_labels - self.lisi(rows, self.labels)) / (self.n_labels - 1), len(self.labels)
        )

    @cached_property
    def batch_lisi(self) -> Remembered:
        """iLISI of cells, 1 if neighbours are of all batches alike."""
        return Remembered(lambda rows: (self.lisi(rows, self.batches) - 1) / (self.n_batches - 1), len(self.labels))

    def clisi(self) -> Estimate:
        """Return the median of cells' cLISI."""
        return sampled_median(self.label_lisi, len(self.labels), self.limit, self.seed)

    def ilisi(self) -> Estimate:
        """Return the median of cells' iLISI."""
        return sampled_median(self.batch_lisi, len(self.labels), self.limit, self.seed)

    @cached_property
    def acceptance(self) -> tuple[Remembered, np.ndarray, float]:
        """kBET's acceptance of cells; which of the labels with a diffusion map each cell is of, -1
        for none; the share of these labels, the others' score being 0.
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
        """Return the share of cells whose neighbourhood has the batches of its label, the mean of
        labels.
        """
        score, stratum, share = self.acceptance
        if not share > 0:
            return Estimate(share)
        n_judged = stratum.max() + 1
        mean = stratified_mean(score, stratum, np.full(n_judged, 1 / n_judged), self.limit / share, self.seed)
        return Estimate(share * mean.value, share * mean.half_width, mean.n_sampled)

    def bras(self) -> Estimate:
        """Return `bras`."""
        return Estimate(bras(self.latent, self.labels, self.batches))

    def pcr_comparison(self) -> Estimate:
        """Return `pcr_comparison`."""
        return Estimate(pcr_comparison(self.unintegrated, self.latent, self.batches))

    def graph_connectivity(self) -> Estimate:
        """Return `graph_connectivity`."""
        return Estimate(graph_connectivity(self.graph[0][:, :K_CONNECTIVITY], self.labels))

    def kmeans_nmi(self) -> Estimate:
        """Return the mutual information of labels and clusters."""
        from sklearn.metrics import normalized_mutual_info_score

        return Estimate(float(normalized_mutual_info_score(self.labels, self.clusters)))

    def kmeans_ari(self) -> Estimate:
        """Return the adjusted Rand index of labels and clusters."""
        from sklearn.metrics import adjusted_rand_score

        return Estimate(float(adjusted_rand_score(self.labels, self.clusters)))
