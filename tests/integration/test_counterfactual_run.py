"""Decoding and hidden labels on control and stimulated PBMC: mechanics, after two epochs."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch

from refatlas.evaluate.counterfactual import PROBE
from refatlas.evaluate.counterfactual_file import write_counterfactual
from refatlas.evaluate.hidden_effect import COLUMNS, checked_labels, drawn_cells, measured_errors
from refatlas.io.model_counts import counts_writer, read_counts
from refatlas.models.expression import Decoder
from refatlas.models.expression_file import write_normalized
from refatlas.models.interface import JobContext
from refatlas.models.model_files import save_model
from refatlas.models.registry import MODEL_TYPES
from refatlas.models.scvi_settings import SCVI

N_GENES = 300


def settings_of(epochs: int) -> dict:
    """Return the settings of a small scVI."""
    found = {section: {name: s["default"] for name, s in part.items()} for section, part in SCVI.items()}
    found["train"]["max_epochs"] = epochs
    return {"type": "scvi", **found}


@pytest.fixture(scope="module")
def trained(real, tmp_path_factory):
    """Paths of counts and of a model trained on them for two epochs."""
    folder, data = tmp_path_factory.mktemp("probe"), ad.read_h5ad(real("kang_ctrl_stim_1975c_6998g.h5ad"))
    first = np.asarray(data.X.sum(axis=0)).ravel().argsort()[::-1][:N_GENES]
    data = data[:, np.sort(first)].copy()
    obs = pd.DataFrame({"batch": "k:" + data.obs["batch"].astype(str), "label": data.obs["cell_type"].astype(str)})
    genes = pd.DataFrame({"symbol": data.var_names, "selected": True}, index=data.var_names)
    with counts_writer(folder / "counts.h5ad", obs, genes) as writer:
        writer.append(data.X.tocsr())
    counts, settings = read_counts(folder / "counts.h5ad"), settings_of(2)
    model = MODEL_TYPES["scvi"].load_class().fit(counts, settings, JobContext())
    save_model(model, str(folder / "model.pt"), settings)
    return str(folder / "counts.h5ad"), str(folder / "model.pt"), obs


def test_blocks_are_decoded_as_all_cells_at_once(trained, tmp_path):
    counts, model, _ = trained
    decoder = Decoder(model, counts, n_samples=5, seed=0)
    decoder.block = 500
    genes = list(read_counts(counts).var_names[[3, 7]])
    assert write_normalized(str(tmp_path / "a.h5ad"), decoder, counts, genes, {"model": "scvi"}) == 1975
    found = ad.read_h5ad(tmp_path / "a.h5ad")
    assert found.shape == (1975, 2)
    # The second block, straight from scvi-tools with the same draws.
    torch.manual_seed(500)
    options = {"indices": np.arange(500, 1000), "n_samples": 5, "batch_size": 512, "return_numpy": True}
    straight = decoder.model.model.get_normalized_expression(read_counts(counts), **options)
    assert found.X[500:1000] == pytest.approx(1e4 * straight[:, [3, 7]], rel=1e-4)
    write_normalized(str(tmp_path / "b.h5ad"), decoder, counts, genes, {"model": "scvi"})
    assert np.array_equal(ad.read_h5ad(tmp_path / "b.h5ad").X, found.X)


def test_cells_are_decoded_as_of_another_batch(trained, tmp_path):
    counts, model, obs = trained
    decoder = Decoder(model, counts, n_samples=2, seed=0)
    decoder.block = 200
    genes = list(read_counts(counts).var_names[:4])
    facts = {"from": "k:control", "to": "k:stimulated"}
    changes, table = write_counterfactual(str(tmp_path / "c.h5ad"), decoder, counts, genes, obs["label"], facts)
    found = ad.read_h5ad(tmp_path / "c.h5ad")
    assert found.shape == ((obs["batch"] == "k:control").sum(), 4)
    assert found.uns["refatlas"]["about"] == PROBE
    assert not np.array_equal(found.X, found.layers["normalized"])
    assert len(table) == 4 * obs["label"].nunique()
    assert changes.stability()["r_thinned"].between(-1, 1).all()


def test_a_hidden_label_is_compared_with_its_own_cells(trained):
    counts, _, obs = trained
    sizes = pd.crosstab(obs["label"], obs["batch"])
    support = pd.DataFrame(
        {"label": sizes.index, "cells": sizes["k:control"], "cells_in_target": sizes["k:stimulated"]}
    )
    labels, ends = checked_labels(support, 1), ("k:control", "k:stimulated")
    assert labels == ["CD4T"]
    cells = drawn_cells([counts], obs, ends, labels, seed=0)
    errors = measured_errors(cells, ends, labels, settings_of(2), 2, JobContext())
    assert list(errors.columns) == COLUMNS
    assert (errors.loc[0, "cells"], errors.loc[0, "hidden_cells"]) == (278, 356)
    assert errors[["r_hidden", "r_seen", "r_other_labels"]].notna().all().all()
    # Types share their response to interferon: known without a model.
    assert errors.loc[0, "r_other_labels"] > 0.5
