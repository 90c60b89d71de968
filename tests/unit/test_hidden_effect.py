"""Labels that are hidden from a training: which cells are drawn, and what cannot be hidden. Nothing is trained here."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from refatlas.evaluate import hidden_effect
from refatlas.evaluate.hidden_effect import COLUMNS, drawn_cells, measured_errors
from refatlas.io.model_counts import counts_writer
from refatlas.models.interface import JobContext

ENDS = ("d:a", "d:b")


@pytest.fixture
def predicted(monkeypatch):
    """Replace training by a change of 1 of every gene, and return the cells that each model was trained on."""
    trained = []

    def changes(cells, _, ends, labels, *rest):
        trained.append(cells.obs[["batch", "label"]].copy())
        return {label: np.ones(cells.n_vars) for label in labels}

    monkeypatch.setattr(hidden_effect, "predicted_changes", changes)
    return trained


def counts_of(path, sizes: dict[tuple[str, str], int]) -> pd.DataFrame:
    """Write counts of some numbers of cells by batch and label, and return batch and label."""
    obs = pd.DataFrame([key for key, n in sizes.items() for _ in range(n)], columns=["batch", "label"])
    obs.index = [f"c{i}" for i in range(len(obs))]
    genes = pd.DataFrame({"symbol": list("ABCD"), "selected": True}, index=list("ABCD"))
    with counts_writer(path, obs, genes) as writer:
        writer.append(sparse.csr_matrix(np.random.default_rng(0).poisson(3, (len(obs), 4)).astype(np.float32)))
    return obs


def test_a_label_that_is_rare_in_a_large_batch_is_drawn_and_hidden(tmp_path, predicted, monkeypatch):
    monkeypatch.setattr(hidden_effect, "MAX_CELLS", 400)
    sizes = {("d:a", "T"): 3000, ("d:a", "rare"): 60, ("d:b", "T"): 3000, ("d:b", "rare"): 60}
    obs = counts_of(tmp_path / "counts.h5ad", sizes)
    cells = drawn_cells([str(tmp_path / "counts.h5ad")], obs, ENDS, ["rare"], seed=0)
    found = cells.obs.groupby(["batch", "label"], observed=True).size()
    assert (found[:, "rare"] >= 50).all()
    assert (found.groupby("batch").sum() <= 250).all()
    errors = measured_errors(cells, ENDS, ["rare"], {}, 1, JobContext())
    assert errors.loc[0, ["r_hidden", "mae_hidden", "mae_seen"]].notna().tolist() == [False, True, True]
    assert errors.loc[0, "reason"] == ""
    assert (predicted[1]["label"] == "rare").sum() == found["d:a", "rare"]


def test_a_draw_with_enough_cells_stays_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(hidden_effect, "MAX_CELLS", 400)
    obs = counts_of(tmp_path / "counts.h5ad", {("d:a", "T"): 500, ("d:a", "B"): 500, ("d:b", "T"): 90})
    path = str(tmp_path / "counts.h5ad")
    with_labels, without = (drawn_cells([path], obs, ENDS, names, seed=0) for names in (["T", "B"], []))
    assert list(with_labels.obs_names) == list(without.obs_names)
    assert with_labels.n_obs == 290


def test_a_label_that_is_alone_in_the_target_batch_is_not_hidden(tmp_path, predicted):
    obs = counts_of(tmp_path / "counts.h5ad", {("d:a", "B"): 60, ("d:a", "T"): 60, ("d:b", "B"): 60})
    cells = drawn_cells([str(tmp_path / "counts.h5ad")], obs, ENDS, ["B"], seed=0)
    errors = measured_errors(cells, ENDS, ["B"], {}, 1, JobContext())
    assert list(errors.columns) == COLUMNS
    assert errors.loc[0, ["cells", "hidden_cells"]].tolist() == [60, 60]
    assert "all labelled cells of the target batch" in errors.loc[0, "reason"]
    assert np.isnan(errors.loc[0, "r_hidden"])
    assert not predicted
    assert measured_errors(cells, ENDS, [], {}, 1, JobContext()).empty
