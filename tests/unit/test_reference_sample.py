"""The sample of a reference: every job draws the same cells from it as from the whole reference."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from refatlas.evaluate import query_measures, reference_sample
from refatlas.evaluate.query_measures import draw_reference
from refatlas.io.model_counts import read_counts
from refatlas.transfer import model_fit, neighborhood_shift, query_match
from refatlas.transfer.query_match import drawn_reference
from refatlas.transfer.recorded_rows import rows_of

N_CELLS, N_GENES, SEED = 3000, 20, 3


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Return paths of a reference and its sample, which is smaller because all limits are."""
    monkeypatch.setattr(query_match, "MAX_CELLS", 200)
    monkeypatch.setattr(query_match, "MIN_PER_LABEL", 5)
    monkeypatch.setattr(neighborhood_shift, "MAX_REFERENCE", 300)
    monkeypatch.setattr(neighborhood_shift, "MIN_PER_REFERENCE_LABEL", 5)
    monkeypatch.setattr(model_fit, "MOVED", 50)
    monkeypatch.setattr(query_measures, "N_CELLS", 40)
    random = np.random.default_rng(0)
    labels = random.choice(np.array(["B", "T", "NK", None], dtype=object), N_CELLS, p=[0.5, 0.45, 0.01, 0.04])
    batches = np.where(np.arange(N_CELLS) == 2500, "d:rare", "d:x")
    obs = pd.DataFrame({"batch": batches, "label": labels}, index=[f"d:{i}" for i in range(N_CELLS)]).astype("category")
    x = sparse.csr_matrix(random.poisson(0.5, (N_CELLS, N_GENES)).astype(np.uint8))
    counts = ad.AnnData(x, obs=obs, obsm={"proteins": random.poisson(3, (N_CELLS, 2)).astype(np.float32)})
    counts.uns["protein_names"] = np.array(["CD3", "CD19"], dtype=object)
    counts.write_h5ad(tmp_path / "counts.h5ad")
    n = reference_sample.write_sample(tmp_path / "counts.h5ad", tmp_path / "sample.h5ad", SEED)
    assert n < 600
    return tmp_path / "counts.h5ad", tmp_path / "sample.h5ad"


def test_every_job_draws_the_same_cells_from_the_sample(files):
    whole, sample = (read_counts(path) for path in files)
    for name, draw in reference_sample.OF_JOBS.items():
        rows = draw(whole.obs, SEED)
        found = rows_of(sample, name, lambda: pytest.fail("drawn anew"))
        assert whole.obs_names[rows].tolist() == sample.obs_names[found].tolist()
        assert (whole.X[rows] != sample.X[found]).nnz == 0


def test_the_jobs_read_the_same_from_both(files):
    (whole, whole_labels), (sample, sample_labels) = (drawn_reference(read_counts(p, True), SEED) for p in files)
    assert (whole != sample).nnz == 0
    assert whole_labels.tolist() == sample_labels.tolist()
    (whole, whole_labels), (sample, sample_labels) = (draw_reference(str(p), SEED) for p in files)
    assert whole.obs_names.tolist() == sample.obs_names.tolist()
    assert (whole_labels, (whole.X != sample.X).nnz) == (sample_labels, 0)


def test_the_sample_has_every_batch_and_label_and_the_proteins(files):
    whole, sample = (read_counts(path) for path in files)
    assert set(sample.obs["batch"]) == {"d:x", "d:rare"}
    assert set(sample.obs["label"].dropna()) == {"B", "T", "NK"}
    rows = whole.obs_names.get_indexer(sample.obs_names)
    assert (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(sample.obsm["proteins"], whole.obsm["proteins"][rows])
    assert list(sample.uns["protein_names"]) == ["CD3", "CD19"]
    assert sample.X.dtype == np.float32
    assert read_counts(files[1], True).X.dtype == np.uint8


def test_a_reference_without_labels_is_sampled_too(files, tmp_path):
    counts = ad.read_h5ad(files[0])
    del counts.obs["label"]
    counts.write_h5ad(tmp_path / "plain.h5ad")
    reference_sample.write_sample(tmp_path / "plain.h5ad", tmp_path / "plain_sample.h5ad", SEED)
    assert len(rows_of(read_counts(tmp_path / "plain_sample.h5ad"), "matched", lambda: pytest.fail("drawn anew"))) == 0


def test_a_sample_that_lacks_a_draw_is_no_whole_reference(files):
    with pytest.raises(KeyError, match="other"):
        rows_of(read_counts(files[1]), "other", lambda: np.arange(3))
