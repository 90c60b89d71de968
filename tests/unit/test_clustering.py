"""Leiden clusters of a latent space, how they split, and how stable they are."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score

from refatlas.annotate.cluster_stability import jaccard_of_best_match, stability, stable_clusters
from refatlas.annotate.clustering import by_size, cluster_cells, cluster_tree, shared_neighbor_edges
from refatlas.annotate.suggested_resolution import finest_stable, suggested, suggestion_notes
from refatlas.report.cluster_figures import plot_clusters


def blobs(sizes, n_latent=5, spread=0.3, seed=0):
    random = np.random.default_rng(seed)
    centers = random.normal(0, 4, (len(sizes), n_latent))
    truth = np.repeat(np.arange(len(sizes)), sizes)
    return (centers[truth] + random.normal(0, spread, (len(truth), n_latent))).astype(np.float32), truth


def test_separate_groups_are_found_and_numbered_by_size():
    latent, truth = blobs([50, 200, 100])
    found = cluster_cells(latent, [0.1], k=15, seed=0)[0.1]
    assert adjusted_rand_score(truth, found) == 1
    assert list(np.bincount(found)) == [200, 100, 50]
    assert found.dtype == np.int32


def test_the_same_seed_gives_the_same_clusters_with_any_number_of_threads():
    latent, _ = blobs([300, 200, 100], spread=2.5)
    once, again = (cluster_cells(latent, [0.5, 2], 15, 3, threads) for threads in (1, 2))
    assert all(np.array_equal(once[r], again[r]) for r in (0.5, 2))


def test_finer_resolutions_have_more_clusters():
    latent, _ = blobs([400, 400], spread=1.5)
    found = cluster_cells(latent, [0.1, 1, 5], 15, 0)
    assert found[0.1].max() < found[1].max() < found[5].max()


@pytest.mark.parametrize("n_cells", [1, 2, 5])
def test_few_cells_have_clusters(n_cells):
    latent = np.random.default_rng(0).normal(size=(n_cells, 3)).astype(np.float32)
    found = cluster_cells(latent, [1.0], 15, 0)
    summary, by_cluster = stability(latent, found, 15, 2, 0)
    assert len(found[1.0]) == n_cells
    assert list(summary["suggested"]) == [True]
    assert by_cluster["n_cells"].sum() == n_cells


def test_identical_cells_are_clustered():
    found = cluster_cells(np.ones((40, 3), dtype=np.float32), [1.0], 15, 0)[1.0]
    assert len(found) == 40


def test_edges_and_weights_by_hand():
    # 0 and 1 are mutual neighbours with the neighbours {0, 1, 2}; 2 has {1, 2, 3}, 3 has {1, 2, 3}.
    neighbors = np.array([[0, 1, 2], [0, 1, 2], [1, 2, 3], [1, 2, 3]], dtype=np.int32)
    edges, weights = shared_neighbor_edges(neighbors)
    found = {tuple(edge): weight for edge, weight in zip(edges.tolist(), weights, strict=True)}
    assert found == {(0, 1): 1.0, (0, 2): 0.5, (1, 2): 0.5, (2, 3): 1.0, (3, 1): 0.5}


def test_codes_by_size():
    assert list(by_size(np.array([7, 7, 3, 9, 9, 9]))) == [1, 1, 2, 0, 0, 0]
    assert list(by_size(np.array([5, 2]))) == [0, 1]


def test_tree_by_hand():
    clusters = pd.DataFrame({"0.5": [0, 0, 0, 1, 1], "1": [0, 0, 1, 2, 1]})
    tree = cluster_tree(clusters)
    rows = [tuple(row) for row in tree[["cluster", "parent", "n_cells", "share"]].to_numpy().tolist()]
    assert rows == [(0, 0, 2, 1.0), (1, 0, 1, 0.5), (1, 1, 1, 0.5), (2, 1, 1, 1.0)]
    assert set(tree["resolution"]) == {"1"}
    assert set(tree["parent_resolution"]) == {"0.5"}


def test_jaccard_by_hand():
    best = jaccard_of_best_match(np.array([0, 0, 0, 0, 2, 2]), np.array([0, 0, 0, 1, 1, 1]))
    assert best[0] == pytest.approx(3 / 4)
    assert np.isnan(best[1])
    assert best[2] == pytest.approx(2 / 3)


def test_real_groups_are_stable_and_slices_of_one_are_not():
    latent, truth = blobs([300, 300, 300])
    found = {0.1: truth.astype(np.int32), 3.0: cluster_cells(latent, [3.0], 15, 0)[3.0]}
    summary, by_cluster = stability(latent, found, 15, 4, 0)
    assert summary["stability"][0] > 0.95
    assert summary["stability"][1] < 0.7
    assert list(summary["suggested"]) == [True, False]
    assert (by_cluster["stability_low"] <= by_cluster["stability"]).all()
    assert np.array_equal(stable_clusters(latent, 15, 0), stable_clusters(latent, 15, 0, 2))


def test_one_cluster_is_suggested_only_without_another():
    low = [1.0, 0.9, 0.86, 0.3]
    table = pd.DataFrame({"n_clusters": [1, 4, 9, 20], "stability": [1.0, 0.95, 0.9, 0.4], "stability_low": low})
    assert suggested(table) == 2
    assert suggested(table.assign(stability_low=[1.0, 0.9, 0.8, 0.3])) == 1
    assert suggested(table.assign(stability=[1.0, 0.5, 0.6, 0.4], stability_low=[1.0, 0.4, 0.5, 0.3])) == 2
    assert suggested(table.assign(n_clusters=1)) == 0


def test_only_several_clusters_that_are_found_again_are_stable():
    table = pd.DataFrame({"n_clusters": [1, 4, 9], "stability": [1.0, 0.95, 0.9], "stability_low": [1.0, 0.9, 0.7]})
    assert finest_stable(table) == 1
    assert finest_stable(table.assign(stability_low=[1.0, 0.8, 0.7])) is None
    assert finest_stable(table.assign(n_clusters=1)) is None


def test_a_suggested_resolution_that_is_not_stable_is_noted():
    table = pd.DataFrame({"n_clusters": [1, 4], "stability": [1.0, 0.9], "stability_low": [1.0, 0.86]})
    table["suggested"] = [False, True]
    assert suggestion_notes(table) == ["", "suggested"]
    assert suggestion_notes(table.assign(stability_low=[1.0, 0.8])) == ["", "most stable; none is stable"]
    # One cluster at all resolutions is nothing unstable.
    assert suggestion_notes(table.assign(n_clusters=1, suggested=[True, False])) == ["suggested", ""]


def test_the_figure_says_that_no_resolution_is_stable():
    latent = np.random.default_rng(0).normal(size=(300, 2)).astype(np.float32)
    found = cluster_cells(latent, [0.5, 2.0], 15, 0)
    summary, by_cluster = stability(latent, found, 15, 3, 0)
    tree = cluster_tree(pd.DataFrame({f"{resolution:g}": codes for resolution, codes in found.items()}))
    figure = plot_clusters("scvi", by_cluster, tree, summary)
    texts = [text.get_text() for ax in figure.axes for text in ax.texts]
    assert any("most stable;\nnone is stable" in text for text in texts)


def test_single_cells_are_not_suggested():
    latent = np.ones((40, 3), dtype=np.float32)
    clusters = cluster_cells(latent, [1.0, 2.0], 15, 0)
    assert [codes.max() + 1 for codes in clusters.values()] == [1, 40]
    assert list(stability(latent, clusters, 15, 2, 0)[0]["suggested"]) == [True, False]
