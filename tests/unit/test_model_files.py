"""Models on disk: checksums, descriptions, and loading one of the results."""

import json

import numpy as np
import pytest

from conftest import small_counts
from refatlas.errors import InputError
from refatlas.io.model_counts import counts_writer
from refatlas.models.interface import JobContext
from refatlas.models.linear import Linear
from refatlas.models.model_files import load_trained, save_model

SETTINGS = {"type": "linear", "model": {"n_latent": 5, "C": 0.1, "max_cells": 1000}}


@pytest.fixture
def results(tmp_path):
    """Results with counts and a trained baseline: the model and its folder."""
    cells = small_counts()
    cells.obs["label"] = cells.obs["cell_type"]
    genes = cells.var.assign(symbol=cells.var_names, selected=True)
    with counts_writer(str(tmp_path / "counts.h5ad"), cells.obs[["batch", "label"]], genes) as writer:
        writer.append(cells.X)
    model = Linear.fit(cells, SETTINGS, JobContext())
    folder = tmp_path / "models" / "baseline"
    save_model(model, str(folder / "model.pt"), SETTINGS)
    return model, folder


def test_a_trained_model_is_loaded_with_its_counts(results, monkeypatch):
    trained, folder = results
    monkeypatch.chdir(folder)
    for place in (folder, str(folder), "."):
        model, counts = load_trained(place)
        assert counts.shape == (60, 80)
        np.testing.assert_array_equal(model.latent(counts), trained.latent(counts))
    model, counts = load_trained(folder, from_disk=True)
    np.testing.assert_allclose(model.latent(counts), trained.latent(counts), atol=1e-5)


def test_a_description_has_type_settings_and_versions(results):
    described = json.loads((results[1] / "model.json").read_text())
    assert described["type"] == "linear"
    assert described["settings"] == SETTINGS
    assert {"refatlas", "scvi-tools", "torch"} <= set(described["versions"])


@pytest.mark.parametrize("name", ["model.pt", "model.json"])
def test_a_missing_file_is_named(results, name):
    (results[1] / name).unlink()
    with pytest.raises(InputError, match=rf"{name}: no such file; give the folder of a finished model"):
        load_trained(results[1])


def test_a_changed_model_is_not_loaded(results):
    file = results[1] / "model.pt"
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(InputError, match="it is not the file that was written"):
        load_trained(results[1])
