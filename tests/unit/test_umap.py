"""The UMAP of a large reference is as good as that of a small one, and query cells are placed on its clusters."""

import numpy as np
import pandas as pd
import pytest
from sklearn.manifold import trustworthiness
from umap import umap_

from refatlas.neighbors import graph
from refatlas.neighbors.exact_index import nearest_neighbors
from refatlas.report import query_figure, umap
from refatlas.report.query_figure import drawn_places
from refatlas.report.umap import (
    initialization,
    nearest_cells,
    place_cells,
    query_umap,
    reference_umap,
    umap_layout,
)
from refatlas.transfer.reference_index import index_cells


def test_query_cells_are_placed_on_a_cluster_and_not_between():
    reference = np.array([[0.0], [0.1], [0.2], [9.0], [9.1]])
    places = np.array([[0, 0], [0, 1], [1, 0], [50, 50], [51, 50]], dtype=float)
    assert np.all(place_cells(places, *nearest_neighbors(reference, np.array([[0.05]]), 5)) < 2)


def test_a_query_cell_of_the_reference_is_placed_between_its_neighbors():
    reference, places = np.array([[0.0], [1.0], [50.0]]), np.array([[0.0, 0], [4, 0], [90, 90]])
    query = pd.DataFrame([[0.5]], index=["q:a"])
    found = query_umap(query, places, *nearest_neighbors(reference, query.to_numpy(), 2))
    assert found.index.tolist() == ["q:a"]
    assert (found.columns.tolist(), found.dtypes.unique().tolist()) == (["umap_1", "umap_2"], [np.float32])
    assert found["umap_2"].tolist() == [0.0]


def test_neighbors_by_the_index_are_those_of_all_cells(tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    names = [f"latent_{i}" for i in range(3)]
    latent = pd.DataFrame(random.normal(size=(300, 3)).astype(np.float32), columns=names)
    query = random.normal(size=(20, 3)).astype(np.float32)
    latent.to_parquet(tmp_path / "latent.parquet")
    labels = pd.Series(random.choice(["A", "B"], 300))
    for n in (300, 200):
        path = tmp_path / f"{n}.npz"
        index_cells(latent.to_numpy()[:n], labels[:n], 0).save(path, tmp_path / "latent.parquet")
        found = nearest_cells(query, str(tmp_path / "latent.parquet"), str(path), 300, 5)
        np.testing.assert_array_equal(found[0], nearest_neighbors(latent.to_numpy(), query, 5)[0])
    # The latent space is not read where the index has all cells.
    monkeypatch.setattr(umap, "read_values", None)
    nearest_cells(query, str(tmp_path / "latent.parquet"), str(tmp_path / "300.npz"), 300, 5)
    with pytest.raises(TypeError):
        nearest_cells(query, str(tmp_path / "latent.parquet"), str(tmp_path / "200.npz"), 300, 5)


def test_a_figure_draws_some_cells_of_a_large_reference(monkeypatch):
    monkeypatch.setattr(query_figure, "MAX_DRAWN", 5)
    places = np.arange(20.0).reshape(10, 2)
    assert set(map(tuple, drawn_places(places))) < set(map(tuple, places))
    assert len(drawn_places(places)) == 5
    assert drawn_places(places[:4]).tolist() == places[:4].tolist()


def test_the_umap_of_many_cells_is_as_good_as_that_of_few(monkeypatch):
    random = np.random.default_rng(0)
    centers = random.normal(size=(12, 10))[random.integers(0, 12, 1500)]
    cells = (centers * 3 + random.normal(size=(1500, 10))).astype(np.float32)
    found, settings = {}, {"n_neighbors": 15, "min_dist": 0.3, "n_epochs": 100}
    for limit in (2000, 1000):
        monkeypatch.setattr(graph, "EXACT_GRAPH", limit)
        monkeypatch.setattr(umap, "EXACT_GRAPH", limit)
        found[initialization(len(cells))] = trustworthiness(cells, umap_layout(cells, settings, 0), n_neighbors=15)
    assert set(found) == {"spectral", "pca"}
    assert found["pca"] > found["spectral"] - 0.02 > 0.85
    assert initialization(50) == "random"


def test_many_groups_of_cells_stored_several_times_have_a_umap(monkeypatch):
    random = np.random.default_rng(0)
    # Far apart, so that no cell's neighbours are of another group.
    groups = random.normal(size=(60, 5)) * 100
    cells = (np.repeat(groups, 20, axis=0) + random.normal(size=(1200, 5)) * 0.01).astype(np.float32)
    monkeypatch.setattr(umap, "MANY_PARTS", 50)
    settings = {"n_neighbors": 15, "min_dist": 0.3, "n_epochs": 50}
    own = umap_.spectral_layout
    found = umap_layout(cells, settings, 0)
    assert umap_.spectral_layout is own
    assert np.isfinite(found).all()
    group = np.repeat(np.arange(60), 20)
    nearest = nearest_neighbors(found, found, 5)[0]
    assert (group[nearest] == group[:, None]).mean() > 0.9
    # By UMAP's own way, the groups lie elsewhere.
    monkeypatch.setattr(umap, "MANY_PARTS", 61)
    assert not np.allclose(umap_layout(cells, settings, 0), found)


def test_a_reference_of_few_cells_has_a_umap():
    latent = pd.DataFrame(np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32), index=list("abcdefghijkl"))
    found = reference_umap(latent, {"n_neighbors": 15, "min_dist": 0.3, "n_epochs": 20}, seed=0)
    assert found.index.tolist() == latent.index.tolist()
    assert found.shape == (12, 2)
    assert np.isfinite(found.to_numpy()).all()
