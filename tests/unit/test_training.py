"""Training of reference models and mapping, with the baseline, and the record of a training."""

import numpy as np
import pytest

from conftest import small_counts
from refatlas.errors import InputError
from refatlas.models.interface import JobContext, Training
from refatlas.models.training import fit_reference, map_to_reference, require_labels, require_proteins, training_report

SETTINGS = {"type": "linear", "model": {"n_latent": 5, "C": 0.1, "max_cells": 1000}}


@pytest.fixture
def counts():
    cells = small_counts()
    cells.obs["label"] = cells.obs["cell_type"]
    return cells


def test_a_reference_is_fitted_and_a_query_mapped(counts):
    reference = fit_reference(counts, SETTINGS, JobContext(), "counts.h5ad")
    query = counts[:20].copy()
    query.obs = query.obs[["batch"]].replace({"b1": "q"})
    mapped = map_to_reference(reference, query, {"type": "linear"}, JobContext())
    assert mapped.batches() == ["b1", "b2", "q"]
    np.testing.assert_array_equal(mapped.latent(query), reference.latent(query))


def test_a_report_has_facts_settings_and_notes(counts):
    counts.obs["batch"] = counts.obs["batch"].replace({"b1": "a|<b>"})
    report = training_report("mine", SETTINGS, 3, counts, Training(notes=["projected"]), 1.25, ["model.pt"])
    lines = report.splitlines()
    assert lines[0] == "# Training of mine"
    assert {"| type | linear |", "| cells | 60 |", "| labels | 2 |", "| seconds | 1.2 |"} <= set(lines)
    assert "a\\|&lt;b>" in report
    assert lines[lines.index("## Settings") :] == [
        "## Settings",
        "- model: n_latent 5, C 0.1, max_cells 1000",
        "- seed: 3",
        "",
        "## Notes",
        "- projected",
    ]


def test_a_report_of_a_pretrained_model_has_no_settings_of_training(counts):
    settings = {"type": "scvi", "pretrained": {"path": "m"}, "train": {"lr": 0.1}}
    report = training_report("mine", settings, 0, counts, Training(), 0, [])
    assert "- pretrained: path m" in report
    assert "lr" not in report


def test_types_that_need_labels_or_proteins_are_refused_without(counts):
    require_labels("m", "scanvi", counts)
    require_labels("m", "scvi", counts[:, :2])
    counts.obs["label"] = "A"
    with pytest.raises(InputError, match=r"config: models: m: type scanvi needs at least two labels .* found A"):
        require_labels("m", "scanvi", counts)
    with pytest.raises(InputError, match="config: models: m: type totalvi needs proteins"):
        require_proteins("m", "totalvi", counts)
