"""Type mvtcr on real T cells (screp) after a few epochs: what surgery must not change, and what is the same again."""

import anndata as ad
import numpy as np
import pytest
import torch
from scipy import sparse

from refatlas.errors import InputError
from refatlas.models.checkpoints import Checkpoints
from refatlas.models.interface import JobContext
from refatlas.models.model_files import load_model, save_model
from refatlas.models.mvtcr import MIN_CELLS, MvTCR
from refatlas.models.registry import MODEL_TYPES

pytestmark = pytest.mark.slow
SETTINGS = {
    "type": "mvtcr",
    **{
        section: {name: setting["default"] for name, setting in part.items()}
        for section, part in MODEL_TYPES["mvtcr"].settings_schema().items()
    },
}
SETTINGS["model"] |= {"n_hidden": 32, "n_amino_acid_latent": 4}
SETTINGS["train"]["max_epochs"], SETTINGS["surgery"]["max_epochs"] = 3, 3


@pytest.fixture(scope="module")
def cells(real):
    """Cells with a pair of four batches; the last one is the query."""
    data = ad.read_h5ad(real("screp_500c_2000g_tcr.h5ad"))
    data = data[data.obs["has_paired_tcr"], :300].copy()
    data.X = sparse.csr_matrix(data.X, dtype=np.float32)
    data.obs = data.obs[["batch", "TRA_cdr3", "TRB_cdr3"]].astype(str).set_axis(["batch", "alpha", "beta"], axis=1)
    return data


@pytest.fixture(scope="module")
def parts(cells):
    is_query = cells.obs["batch"].isin(["P20B", "P20L"]).to_numpy()
    return cells[~is_query].copy(), cells[is_query].copy()


@pytest.fixture(scope="module")
def trained(parts):
    return MvTCR.fit(parts[0], SETTINGS, JobContext(seed=1))


def test_training_and_surgery_lower_the_loss_and_no_reference_cell_moves(trained, parts):
    reference, query = parts
    before = trained.latent(reference)
    mapped = trained.map_query(query, SETTINGS, JobContext(seed=1))
    assert before.shape == (reference.n_obs, SETTINGS["model"]["n_latent"])
    for history in (trained.training.history, mapped.training.history):
        assert history["loss_train"].iloc[-1] < history["loss_train"].iloc[0]
    assert np.array_equal(mapped.latent(reference), before)
    assert np.array_equal(trained.latent(reference), before)
    assert mapped.training.mean_shift > 0
    assert mapped.batches() == [*trained.batches(), "P20B", "P20L"]
    with pytest.raises(ValueError, match="does not know batch 'P20"):
        trained.latent(query)


def test_both_receptor_and_expression_say_where_a_cell_is(trained, parts):
    own = parts[0][:20].copy()
    places = trained.latent(own)
    other = own.copy()
    other.obs["beta"] = other.obs["beta"].to_numpy()[::-1]
    assert np.abs(trained.latent(other) - places).max() > 1e-4
    other = own.copy()
    other.X = own.X[::-1]
    assert np.abs(trained.latent(other) - places).max() > 1e-4


def test_the_same_seed_gives_the_same_model(trained, parts):
    again = MvTCR.fit(parts[0], SETTINGS, JobContext(seed=1))
    assert np.array_equal(again.latent(parts[0]), trained.latent(parts[0]))


def test_one_cell_alone_can_be_mapped_and_queries_do_not_know_of_each_other(trained, parts):
    query = parts[1]
    batches = query.obs["batch"]
    first = trained.map_query(query[batches == "P20B"].copy(), SETTINGS, JobContext(seed=1))
    other = trained.map_query(query[batches == "P20L"][:1].copy(), SETTINGS, JobContext(seed=1))
    again = trained.map_query(query[batches == "P20B"].copy(), SETTINGS, JobContext(seed=1))
    assert np.isfinite(other.latent(query[batches == "P20L"][:1].copy())).all()
    own = query[batches == "P20B"].copy()
    assert np.array_equal(first.latent(own), again.latent(own))


def test_a_query_without_any_pair_has_no_places(trained, parts):
    none = parts[1][:0].copy()
    mapped = trained.map_query(none, SETTINGS, JobContext(seed=1))
    assert mapped.latent(none).shape == (0, SETTINGS["model"]["n_latent"])
    assert mapped.batches() == trained.batches()
    with pytest.raises(InputError, match=f"at least {MIN_CELLS} cells with both chains, and the reference has 0"):
        MvTCR.fit(none, SETTINGS, JobContext())


def test_a_saved_model_is_the_same_and_holds_no_code(trained, parts, tmp_path):
    save_model(trained, str(tmp_path / "model.pt"), SETTINGS)
    torch.load(tmp_path / "model.pt", weights_only=True)
    loaded = load_model("mvtcr", str(tmp_path / "model.pt"), parts[0])
    assert np.array_equal(loaded.latent(parts[0]), trained.latent(parts[0]))
    with pytest.raises(InputError, match="do not have the model's 300 genes"):
        MvTCR.load(tmp_path / "model.pt", parts[0][:, ::-1])


def test_an_interrupted_training_continues_as_if_it_had_not_been(trained, parts, tmp_path):
    job = JobContext(1, 1, Checkpoints(tmp_path, {}, 0.0))
    short = {**SETTINGS, "train": {**SETTINGS["train"], "max_epochs": 2, "kl_warmup": 0.45}}
    MvTCR.fit(parts[0], short, job)
    # The state at the start of the second epoch is on disk, as after a kill.
    again = JobContext(1, 1, Checkpoints(tmp_path, {}, 0.0))
    assert again.checkpoints.found["epoch"] == 1
    continued = MvTCR.fit(parts[0], short, again)
    whole = MvTCR.fit(parts[0], short, JobContext(1))
    assert np.array_equal(continued.latent(parts[0]), whole.latent(parts[0]))
    assert len(continued.training.history) == 2
