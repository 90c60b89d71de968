"""A latent space that was made elsewhere: read, checked, and a model like others."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from refatlas.errors import InputError
from refatlas.io.raw_counts import open_counts
from refatlas.models.embedding import Embedding, attach_embedding
from refatlas.models.interface import JobContext
from refatlas.prepare.embeddings import read_embedding, require_same_dimensions

N_CELLS, N_GENES, N_DIMENSIONS = 300, 40, 8
SETTINGS = {"type": "embedding", "model": {"key": "X_made", "n_latent": 50, "max_cells": 50_000}}


@pytest.fixture
def counts():
    """Return cells whose expression follows their place on the first axis of an embedding."""
    random = np.random.default_rng(0)
    space = random.normal(size=(N_CELLS, N_DIMENSIONS)).astype(np.float32)
    rates = np.exp(1 + np.outer(space[:, 0], random.normal(0, 0.7, N_GENES)))
    obs = pd.DataFrame({"batch": np.tile(["x", "y"], N_CELLS // 2)}, index=[f"c{i}" for i in range(N_CELLS)])
    x = sparse.csr_matrix(random.poisson(rates).astype(np.float32))
    return ad.AnnData(x, obs=obs, obsm={"X_made": space, "embedding": space}, uns={"rates": rates})


def test_a_small_embedding_keeps_all_distances(counts, tmp_path):
    model = Embedding.fit(counts, SETTINGS, JobContext())
    latent = model.latent(counts)
    space = counts.obsm["embedding"]
    np.testing.assert_allclose(
        np.linalg.norm(latent[:50] - latent[50:100], axis=1),
        np.linalg.norm(space[:50] - space[50:100], axis=1),
        rtol=1e-5,
    )
    model.save(tmp_path / "model.pt")
    again = Embedding.load(tmp_path / "model.pt")
    np.testing.assert_array_equal(again.latent(counts), latent)
    assert again.batches() == ["x", "y"]


def test_the_latent_space_does_not_depend_on_blocks(counts, monkeypatch):
    model = Embedding.fit(counts, SETTINGS, JobContext())
    whole = model.latent(counts)
    monkeypatch.setattr("refatlas.models.embedding.BLOCK", 7)
    np.testing.assert_allclose(model.latent(counts), whole, rtol=1e-6)


def test_a_large_embedding_is_cut_to_its_first_components(counts):
    settings = {**SETTINGS, "model": {**SETTINGS["model"], "n_latent": 3}}
    counts.obsm["embedding"] = counts.obsm["embedding"] * np.array([10, 5, 3, 1, 1, 1, 1, 1], dtype=np.float32)
    latent = Embedding.fit(counts, settings, JobContext()).latent(counts)
    assert latent.shape == (N_CELLS, 3)
    assert latent.var(axis=0) == pytest.approx([100, 25, 9], rel=0.3)


def test_expected_counts_follow_the_embedding(counts):
    model = Embedding.fit(counts, SETTINGS, JobContext())
    expected, x = model.expected(counts), counts.X.toarray()
    np.testing.assert_allclose(expected.sum(axis=1), x.sum(axis=1), rtol=1e-6)
    # Of the variance that the true rates explain, more than half, though the regression is linear in logarithms.
    rates = counts.uns["rates"] / counts.uns["rates"].sum(axis=1, keepdims=True) * x.sum(axis=1, keepdims=True)
    profile = x.sum(axis=0) / x.sum() * x.sum(axis=1, keepdims=True)
    of_profile, of_model, of_rates = (((x - values) ** 2).sum() for values in (profile, expected, rates))
    assert (of_profile - of_model) / (of_profile - of_rates) > 0.5


def test_a_query_of_other_dimensions_is_refused(counts):
    model = Embedding.fit(counts, SETTINGS, JobContext())
    query = counts[:10].copy()
    query.obs["batch"] = "z"
    assert model.map_query(query, SETTINGS, JobContext()).batches() == ["x", "y", "z"]
    query.obsm["embedding"] = query.obsm["embedding"][:, :5]
    with pytest.raises(InputError, match="has 5 dimensions, and that of the reference 8"):
        model.map_query(query, SETTINGS, JobContext())
    with pytest.raises(InputError, match="has 5 dimensions, and that of dataset 'a' has 8"):
        require_same_dimensions(5, {"a": 8}, "q.h5ad")


def test_embeddings_are_joined_by_the_names_of_cells(counts, tmp_path):
    table = pd.DataFrame(counts.obsm["X_made"], index=counts.obs_names, columns=[f"dim_{i}" for i in range(8)])
    table[:100].to_parquet(tmp_path / "a.parquet")
    table[100:].to_parquet(tmp_path / "b.parquet")
    part = counts[[250, 3, 120]].copy()
    paths = {name: str(tmp_path / f"{name}.parquet") for name in "ab"}
    attach_embedding(part, paths)
    np.testing.assert_array_equal(part.obsm["embedding"], counts.obsm["X_made"][[250, 3, 120]])
    with pytest.raises(KeyError, match="2 cells, such as c250, have no embedding"):
        attach_embedding(counts[[250, 3, 120]].copy(), {"a": paths["a"]})
    table.iloc[100:, :5].to_parquet(tmp_path / "b.parquet")
    with pytest.raises(InputError, match="dataset 'b': the embedding has 5 dimensions, and that of dataset 'a' has 8"):
        attach_embedding(part, paths)


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("X_other", None, r"has no 'X_other' in obsm; it has X_made"),
        ("X_made", lambda v: np.where(np.arange(N_CELLS)[:, None] == 7, np.nan, v), "not finite in 1 cells .*d:c7"),
        ("X_made", lambda v: v[:, :1], r"has shape \(300, 1\)"),
    ],
)
def test_what_is_no_embedding_is_refused(counts, tmp_path, key, change, message):
    del counts.obsm["embedding"]
    if change:
        counts.obsm["X_made"] = change(counts.obsm["X_made"])
    counts.write_h5ad(tmp_path / "a.h5ad")
    cells = pd.Index([f"d:{name}" for name in counts.obs_names])
    with pytest.raises(InputError, match=message):
        read_embedding(open_counts(str(tmp_path / "a.h5ad")), key, cells, "config")


def test_an_embedding_is_read_from_the_file(counts, tmp_path):
    counts.write_h5ad(tmp_path / "a.h5ad")
    found = read_embedding(open_counts(str(tmp_path / "a.h5ad")), "obsm/X_made", counts.obs_names, "config")
    np.testing.assert_array_equal(found.to_numpy(), counts.obsm["X_made"])
    assert list(found.columns[:2]) == ["dim_1", "dim_2"]
