"""Integration scores of large references: equal to scib-metrics where all cells are sampled,
intervals that hold the full value where they are not.
"""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.spatial.distance import pdist
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_samples

from refatlas.config.schema_files import load_schema
from refatlas.evaluate import estimates, exact_metrics, integration, silhouettes
from refatlas.evaluate.estimates import Estimate, UndefinedMetricError, sampled_median, stratified_mean
from refatlas.evaluate.kbet import diffusion_map, largest_eigenpairs
from refatlas.evaluate.sampled_integration import SampledMetrics
from refatlas.neighbors import graph
from refatlas.neighbors.exact_index import nearest_neighbors

METRICS = load_schema("config")["properties"]["integration"]["properties"]["metrics"]["default"]
# scib-metrics computes in single precision, and stops its search for LISI's kernel at an entropy
# within 1e-5.
TOLERANCE = {"clisi": 1e-5, "ilisi": 1e-5, "pcr_comparison": 5e-6}
REPEATS = 200


@pytest.fixture(scope="module")
def space(real):
    """Latent space, unintegrated PCA, labels and batches of 2,000 real cells."""
    counts = ad.read_h5ad(real("kang_ctrl_8donors_1287g.h5ad"))
    counts = counts[np.sort(np.random.default_rng(0).permutation(counts.n_obs)[:2000])]
    pca = PCA(20, random_state=0).fit_transform(np.log1p(counts.X.toarray())).astype(np.float32)
    batches = counts.obs["batch"].astype(str).to_numpy()
    means = pd.DataFrame(pca).groupby(batches).transform("mean").to_numpy(np.float32)
    return (pca - 0.7 * means)[:, :15], pca, counts.obs["cell_type"].astype(str).to_numpy(), batches


@pytest.fixture(scope="module")
def full(space):
    """scib-metrics' functions, with exact neighbours where kBET takes approximate ones, which take
    a minute to compile.
    """
    import scib_metrics
    from scib_metrics.nearest_neighbors import NeighborsResults

    def exact(x, n_neighbors):
        indices, distances = nearest_neighbors(x, x, n_neighbors)
        return NeighborsResults(indices=indices, distances=distances)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scib_metrics.nearest_neighbors, "pynndescent", exact)
        yield integration.full_functions(*space, threads=1)


@pytest.fixture(scope="module")
def every_cell(space):
    """Metrics whose intervals must be so narrow that all cells are sampled."""
    return SampledMetrics(*space, limit=1e-9)


@pytest.mark.parametrize("metric", METRICS)
def test_all_cells_give_the_value_of_scib_metrics(full, every_cell, metric):
    found = getattr(every_cell, metric)()
    assert found.half_width == 0
    assert found.value == pytest.approx(full[metric](), abs=TOLERANCE.get(metric, 1e-6))


def test_kbet_of_all_cells_is_that_of_scib_metrics(space, every_cell):
    import scib_metrics
    from scib_metrics.nearest_neighbors import NeighborsResults

    latent, _, _, batches = space
    indices, distances = nearest_neighbors(latent, latent, 50)
    expected = scib_metrics.kbet(NeighborsResults(indices=indices, distances=distances), batches)[0]
    found = every_cell.kbet_of_all()
    assert found == Estimate(pytest.approx(float(expected), abs=1e-6), 0.0, 2000)
    assert 0.05 < found.value < 0.95


@pytest.mark.parametrize("metric", ["silhouette_label", "isolated_labels", "ilisi", "clisi", "kbet", "kbet_of_all"])
def test_intervals_hold_the_value_of_all_cells(monkeypatch, every_cell, metric):
    monkeypatch.setattr(estimates, "FIRST_OF_ALL", 100)
    monkeypatch.setattr(estimates, "FIRST_OF_STRATUM", 20)
    found, full_value = [], getattr(every_cell, metric)().value
    with monkeypatch.context() as patch:
        patch.setattr(every_cell, "limit", 0.05)
        for seed in range(REPEATS):
            patch.setattr(every_cell, "seed", seed)
            found.append(getattr(every_cell, metric)())
    assert max(e.half_width for e in found) <= 0.05
    assert np.mean([abs(e.value - full_value) <= e.half_width for e in found]) >= 0.95
    assert len({e.value for e in found}) > 1 or metric == "isolated_labels"


def test_a_graph_by_nn_descent_changes_scores_little(monkeypatch, space, every_cell):
    exact = every_cell.graph_connectivity().value, every_cell.kbet().value, every_cell.graph[1]
    monkeypatch.setattr(graph, "EXACT_GRAPH", 1000)
    found = SampledMetrics(*space, limit=1e-9)
    assert found.graph_connectivity().value == pytest.approx(exact[0], abs=0.002)
    assert found.kbet().value == pytest.approx(exact[1], abs=0.02)
    # In single precision: by the other way.
    assert not np.array_equal(found.graph[1], exact[2])


def test_few_equal_scores_are_not_taken_for_certainty():
    scores = np.zeros(20_000)
    scores[np.random.default_rng(0).permutation(20_000)[:100]] = 1
    found = [
        stratified_mean(lambda rows: scores[rows], np.zeros(20_000, int), np.ones(1), 0.01, seed)
        for seed in range(REPEATS)
    ]
    assert np.mean([abs(e.value - 0.005) <= e.half_width for e in found]) >= 0.95
    assert all(0 < e.half_width <= 0.01 for e in found)


def test_strata_count_by_their_weights_and_cells_outside_not_at_all():
    scores, strata = np.array([0.2, 0.4, 0.9, 1.0]), np.array([0, 0, 1, -1])
    assert stratified_mean(lambda rows: scores[rows], strata, np.array([0.5, 0.5]), 0.01, 0) == Estimate(
        pytest.approx(0.6), 0.0, 3
    )


def test_the_median_of_all_cells_is_exact():
    scores = np.arange(10.0)
    assert sampled_median(lambda rows: scores[rows], 10, 1e-9, 0) == Estimate(4.5, 0.0, 10)


def test_silhouettes_of_some_cells_are_those_among_all():
    x, codes = np.random.default_rng(0).normal(3, 1, (60, 4)), np.append(np.arange(59) % 3, 3)
    rows = np.array([59, 0, 7])
    expected = (silhouette_samples(x, codes)[rows] + 1) / 2
    assert silhouettes.silhouettes(rows, x, codes) == pytest.approx(expected)
    assert expected[0] == 0.5


def test_connectivity_counts_cells_that_reach_each_other():
    # 0 and 1 see each other, 2 sees 1 and is seen by none of its label; 3 and 4 see each other.
    neighbors = np.array([[0, 1], [1, 0], [2, 1], [3, 4], [4, 3]])
    assert exact_metrics.graph_connectivity(neighbors, np.array([0, 0, 0, 1, 1])) == pytest.approx((2 / 3 + 1) / 2)


def test_a_single_batch_has_no_batch_scores():
    x, labels, batches = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2, np.zeros(20, int)
    with pytest.raises(UndefinedMetricError, match="single batch"):
        exact_metrics.pcr_comparison(x, x, batches)
    with pytest.raises(UndefinedMetricError, match="single batch"):
        silhouettes.bras(x, labels, batches)


def test_small_references_are_scored_in_full_and_large_ones_by_sampled_cells(space, full):
    latent, unintegrated, labels, batches = space
    cells = pd.DataFrame({"label": labels, "batch": batches})
    settings = {"metrics": ["silhouette_label", "bras"], "max_half_width": 0.02}
    small, large = (
        integration.scores(latent, unintegrated, cells, settings | {"max_cells": n}, 0, 1) for n in (2000, 1999)
    )
    small, large = (integration.add_totals(table).set_index("metric") for table in (small, large))
    assert small.loc["silhouette_label", "value"] == full["silhouette_label"]()
    assert small["half_width"].eq(0).all()
    assert 0 < large.loc["silhouette_label", "half_width"] <= 0.02
    assert large.loc["silhouette_label", "n_sampled"] < 2000
    assert large.loc["bras", "half_width"] == 0
    assert large.loc["total", "half_width"] == pytest.approx(0.6 * large.loc["silhouette_label", "half_width"])


@pytest.mark.parametrize("both_signs", [False, True])
def test_eigenpairs_by_the_square_are_those_of_the_matrix(both_signs):
    random = np.random.default_rng(0)
    matrix = sparse.random(300, 300, density=0.05, random_state=random, format="csr")
    matrix = matrix + matrix.T
    if both_signs:
        matrix = sparse.block_diag([matrix, -matrix], format="csr")
    values, vectors = largest_eigenpairs(matrix.astype(np.float32), 20)
    exact = np.linalg.eigvalsh(matrix.toarray())
    expected = exact[np.argsort(-np.abs(exact))][:20]
    np.testing.assert_allclose(np.sort(values), np.sort(expected), rtol=1e-5)
    np.testing.assert_allclose(matrix @ vectors, vectors * values, atol=5e-4)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n_components", [1, 2])
def test_a_diffusion_map_of_several_components_does_not_follow_from_rounding(seed, n_components):
    random = np.random.default_rng(seed)
    parts = [sparse.random(150, 150, density=0.1, random_state=random) for _ in range(n_components)]
    graph = sparse.block_diag([part + part.T for part in parts], format="csr")
    found = diffusion_map(graph, 30)
    degrees = np.asarray(graph.sum(axis=0)).ravel()
    kernel = graph.toarray() / degrees / degrees[:, None]
    scale = 1 / np.sqrt(kernel.sum(axis=0))
    values, vectors = np.linalg.eigh(kernel * scale * scale[:, None])
    largest = np.argsort(-np.abs(values))[:30]
    values, vectors = values[largest], vectors[:, largest]
    exact = vectors * np.array([1 if value > 1 - 1e-9 else value / (1 - value) for value in values])
    np.testing.assert_allclose(pdist(found), pdist(exact), rtol=2e-3)


@pytest.mark.parametrize(
    ("single", "undefined"),
    [
        ("batch", ["ilisi", "bras", "pcr_comparison", "kbet_of_all"]),
        ("label", ["clisi", "silhouette_label", "isolated_labels"]),
    ],
)
def test_metrics_of_a_single_batch_or_label_are_undefined(single, undefined):
    x, names = np.random.default_rng(0).normal(size=(200, 3)), np.arange(200) % 2
    labels, batches = (np.zeros(200) if name == single else names for name in ("label", "batch"))
    metrics = SampledMetrics(x, x, labels, batches, limit=0.02)
    for name in undefined:
        with pytest.raises(UndefinedMetricError, match=f"single {single}"):
            getattr(metrics, name)()
