"""Measures of a query: by hand, on shuffled genes, and on files of a small query."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from conftest import small_counts
from refatlas.evaluate import query_measures
from refatlas.evaluate.mixing import batch_mixing, mixing, novel_groups
from refatlas.evaluate.query_measures import measure, profile_correlation, without_unseen
from refatlas.io.atomic import write_json


def test_novel_cells_that_lie_together_are_a_group():
    random = np.random.default_rng(0)
    places = np.vstack([random.normal(0, 1, (970, 5)), random.normal(30, 1, (30, 5))])
    here = np.arange(1000) >= 970
    assert novel_groups(here, places) == pytest.approx(0.03)
    assert novel_groups(random.permutation(here), places) == 0
    assert novel_groups(here[:20], places[:20]) is None


def test_profiles_of_shuffled_genes_do_not_correlate():
    counts = small_counts(n_cells=200, n_genes=300).X
    assert profile_correlation(counts[:100], counts[100:]) > 0.9
    order = np.random.default_rng(0).permutation(counts.shape[1])
    assert abs(profile_correlation(counts[:100][:, order], counts[100:])) < 0.3
    assert profile_correlation(sparse.csr_matrix(counts[:5].shape), counts) == 0.0


def test_mixing_distinguishes_shared_from_separate_spaces():
    random = np.random.default_rng(0)
    reference, labels = random.normal(size=(300, 5)), np.repeat(["A", "B", "C"], 100)
    reference += 6 * (labels == "B")[:, None]
    query, given = random.normal(size=(100, 5)), np.repeat("A", 100)
    assert mixing(reference, labels, query, given, 0) > 0.8
    assert mixing(reference, labels, query + 20, given, 0) < 0.05
    assert mixing(reference, labels, query[:9], given[:9], 0) is None
    assert batch_mixing(query, np.repeat(["x", "y"], 50)) > 0.8
    assert batch_mixing(query, given) is None


class Baseline:
    """A model whose latent space is the counts of two genes."""

    def latent(self, counts):
        return np.asarray(counts.X[:, :2].todense(), dtype=np.float32)


@pytest.fixture
def files(tmp_path):
    """Files of a reference and of a query with a batch of 20 cells, and paths of two models."""
    reference, query = small_counts(n_cells=100), small_counts(n_cells=80, seed=1)
    reference.obs["label"] = reference.obs["cell_type"]
    reference.obs_names, query.obs_names = "r:" + reference.obs_names, "q:" + query.obs_names
    query.obs["batch"] = np.repeat(["large", "small"], [60, 20])
    query.var["measured"] = True
    reference.write_h5ad(tmp_path / "reference.h5ad")
    query.write_h5ad(tmp_path / "query.h5ad")
    models = {}
    for model, ratio in (("linear", 1.0), ("m", 2.0)):
        (tmp_path / model).mkdir()
        for kind, cells in (("latent", query), ("reference_latent", reference)):
            latent = pd.DataFrame(cells.X[:, :2].toarray(), cells.obs_names, ["latent_1", "latent_2"])
            latent.to_parquet(tmp_path / model / kind)
        pd.DataFrame({"deviance_ratio": ratio}, index=query.obs_names).to_parquet(tmp_path / model / "fit")
        write_json({"masking_shift": ratio, "late_fall": 0.0}, tmp_path / model / "mapping")
        kinds = ("latent", "reference_latent", "fit", "mapping")
        models[model] = {kind: str(tmp_path / model / kind) for kind in kinds}
    cells = query.obs[["batch"]].assign(keep=np.arange(80) > 0)
    delivered = pd.DataFrame({"label": "A", "confidence": 0.9, "novelty": 0.5, "novel": False}, index=query.obs_names)
    return tmp_path, cells, delivered, models


def test_a_query_and_its_large_batches_are_measured(files, monkeypatch):
    folder, cells, delivered, models = files
    monkeypatch.setattr(query_measures, "load_model", lambda kind, path: Baseline())
    counts, reference = str(folder / "query.h5ad"), str(folder / "reference.h5ad")
    found = measure(counts, reference, cells, delivered, models, "model.pt", 0)
    assert list(found["batches"]) == ["large"]
    assert found["absent_labels"] == ["B"]
    assert found["query"]["n_cells"] == 80
    assert found["query"]["low_quality"] == pytest.approx(1 / 80)
    assert (found["query"]["deviance_ratio:linear"], found["query"]["deviance_ratio:m"]) == (0.0, 1.0)
    assert (found["query"]["masking_shift"], found["query"]["novel"]) == (2.0, 0.0)
    again = measure(counts, reference, cells, delivered, dict(reversed(models.items())), "model.pt", 0)
    assert again["query"] == found["query"]
    without_novelty = measure(counts, reference, cells, delivered.assign(novelty=np.nan), models, "model.pt", 0)
    assert without_novelty["query"]["novel"] is None


def test_held_out_cells_of_labels_that_the_reference_lacks_take_no_part(files, monkeypatch):
    folder, cells, delivered, models = files
    monkeypatch.setattr(query_measures, "load_model", lambda kind, path: Baseline())
    labels = np.array(["A"] * 40 + ["B"] * 10 + ["new"] * 25 + [None] * 5, dtype=object)
    seen = without_unseen(cells.assign(label=labels), str(folder / "reference.h5ad"))
    assert seen["keep"].tolist() == [False] + [True] * 49 + [False] * 25 + [True] * 5
    delivered.loc[labels == "new", "novel"] = True
    counts, reference = str(folder / "query.h5ad"), str(folder / "reference.h5ad")
    found = measure(counts, reference, seen, delivered, models, "model.pt", 0)
    assert found["query"]["novel"] == 0.0
    everything = measure(counts, reference, cells, delivered, models, "model.pt", 0)
    assert everything["query"]["novel"] == pytest.approx(25 / 79)
