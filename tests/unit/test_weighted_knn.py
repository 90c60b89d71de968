"""Weighted kNN is that of scArches on real data, and outlier factors are those of scikit-learn."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from sklearn.neighbors import KNeighborsTransformer
from test_coming_from import blocks

from refatlas.neighbors.exact_index import nearest_neighbors
from refatlas.transfer.weighted_knn import neighbor_weights, outlier_factors, weighted_knn_table, weighted_shares


def scarches_transfer(reference, labels, query, k, **settings):
    """Return labels and uncertainties by scArches' own function."""
    ad.read = ad.read_h5ad
    from scarches.utils.knn import weighted_knn_transfer

    finder = KNeighborsTransformer(n_neighbors=k, mode="distance", algorithm="brute", metric="euclidean").fit(reference)
    cells = ad.AnnData(query, obs=pd.DataFrame(index=[str(i) for i in range(len(query))]))
    found, uncertainty = weighted_knn_transfer(cells, "X", labels, "label", finder, **settings)
    return found, uncertainty


def test_weighted_knn_equals_scarches_on_a_real_latent_space(real):
    data = ad.read_h5ad(real("trvae_latent_pancreas_mapindrop.h5ad"))
    batch = data.obs["batch"].astype(str).to_numpy()
    reference, query = data[batch == "0"], data[batch == "1"][::10]
    labels = pd.DataFrame({"label": reference.obs["cell_type"].astype(str).to_numpy()})
    expected, uncertainty = scarches_transfer(reference.X, labels, query.X, 50)
    table = weighted_knn_table(labels["label"], *nearest_neighbors(reference.X, query.X, 50, 2), query.obs_names)
    assert np.array_equal(table["label"], expected["label"])
    assert 1 - table["confidence"].to_numpy() == pytest.approx(uncertainty["label"].to_numpy(dtype=float), abs=1e-5)


def test_the_pages_threshold_is_that_of_scarches(real, tmp_path, monkeypatch):
    """Its documentation calls a label unknown if the uncertainty is above the threshold; its code, if the share is
    below it.
    """
    data = ad.read_h5ad(real("trvae_latent_pancreas_mapindrop.h5ad"))
    batch = data.obs["batch"].astype(str).to_numpy()
    reference, query = data[batch == "0"], data[batch == "1"][::20]
    labels = pd.DataFrame({"label": reference.obs["cell_type"].astype(str).to_numpy()})
    table = weighted_knn_table(labels["label"], *nearest_neighbors(reference.X, query.X, 50, 2), query.obs_names)
    folder = tmp_path / "results/queries/my_query"
    folder.mkdir(parents=True)
    table[["label", "confidence"]].add_prefix("scvi_").rename_axis("cell").to_csv(folder / "labels.csv")
    monkeypatch.chdir(tmp_path)
    (text,) = (block for block in blocks("python") if "threshold" in block)
    names: dict = {}
    exec(text, names)
    share = 1 - names["threshold"]
    found, uncertainty = scarches_transfer(reference.X, labels, query.X, 50, threshold=share, pred_unknown=True)
    assert (found["label"] == "Unknown").any()
    assert (found["label"] != "Unknown").any()
    assert np.array_equal(names["prediction"], found["label"])
    assert names["uncertainty"].to_numpy() == pytest.approx(uncertainty["label"].to_numpy(dtype=float), abs=1e-5)


def test_published_accuracy_of_the_trvae_latent_space(real):
    # Its publication (Symphony, Kang 2021) uses 5 neighbours.
    data = ad.read_h5ad(real("trvae_latent_pancreas_mapindrop.h5ad"))
    is_reference = (data.obs["batch"].astype(str) == "0").to_numpy()
    found = nearest_neighbors(data.X[is_reference], data.X[~is_reference], 5, 2)
    table = weighted_knn_table(data.obs["cell_type"].astype(str)[is_reference], *found, data.obs_names[~is_reference])
    correct = pd.Series(table["label"].to_numpy() == data.obs["cell_type"].astype(str)[~is_reference].to_numpy())
    accuracy = correct.groupby(data.obs["species"].astype(str)[~is_reference].to_numpy()).mean()
    assert accuracy["human"] == pytest.approx(0.709, abs=0.02)
    assert accuracy["mouse"] == pytest.approx(0.211, abs=0.02)


def test_shares_are_sums_of_weights():
    share = weighted_shares(np.array([0, 0, 1]), np.array([[0, 1, 2]]), np.array([[0.1, 0.1, 0.8]]), n_labels=2)
    assert share == pytest.approx(np.array([[0.2, 0.8]]))


def test_equal_distances_give_equal_weights():
    assert neighbor_weights(np.array([[1.0, 1.0, 1.0]])) == pytest.approx(np.full((1, 3), 1 / 3))
    assert neighbor_weights(np.array([[0.0]])) == pytest.approx(np.ones((1, 1)))
    assert neighbor_weights(np.array([[1e3, 1e6, 2e6]])) == pytest.approx(np.full((1, 3), 1 / 3))


def test_fewer_reference_cells_than_k():
    indices, distances = nearest_neighbors(np.array([[0.0], [3.0]]), np.array([[1.0]]), k=50)
    assert indices.tolist() == [[0, 1]]
    assert distances.tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize("copies", [1, 30])
def test_outlier_factors_are_scikit_learns(copies):
    """Also where more cells are equal than neighbours are asked for."""
    from sklearn.neighbors import LocalOutlierFactor

    random = np.random.default_rng(0)
    sample = random.normal(size=(900, 8)) * random.gamma(2, 1, (900, 1))
    sample[:copies] = sample[0]
    query = np.vstack([random.normal(size=(100, 8)) * 3, sample[:20]])
    expected = -LocalOutlierFactor(n_neighbors=15, novelty=True).fit(sample).score_samples(query)
    np.testing.assert_allclose(outlier_factors(sample, query, 2), expected, rtol=1e-9)
