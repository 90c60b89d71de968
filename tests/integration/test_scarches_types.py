"""trVAE, expiMap and scPoli on real blood, with few epochs: surgery holds, labels stay away,
programs and prototypes say what they should.

scvi, scanvi, drvi, sysvi, peakvi and linear go through the same test of surgery.
"""

import subprocess
import sys

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from test_unusual import one_epoch

from conftest import DATA, REPO
from refatlas.errors import InputError
from refatlas.io.cell_tables import UNLABELED
from refatlas.models.interface import JobContext
from refatlas.models.registry import MODEL_TYPES
from refatlas.prepare.normalization import log_normalized

OURS = ("scpoli", "expimap", "trvae")
FURTHER = ("drvi", "sysvi", "peakvi")
JOB = JobContext()
EPOCHS = {"pretrain": 10, "train": 12, "surgery": 4}
DONORS, QUERY = ("101", "1015", "1016"), "107"
# For sysvi: the donors as if they were of two systems.
SYSTEMS = {"101": "a", "1015": "a", "1016": "b", QUERY: "b"}


def few_epochs(kind: str, **sections) -> dict:
    """Return the settings of a type with few epochs, and others by section."""
    settings = one_epoch(kind)
    for name, n_epochs in EPOCHS.items():
        if name in settings:
            # Its decoder takes ten times as long.
            settings[name]["max_epochs"] = min(n_epochs, 3) if kind == "drvi" else n_epochs
    if MODEL_TYPES[kind].needs_systems:
        settings["systems"] = SYSTEMS
    return {
        name: {**part, **sections.get(name, {})} if isinstance(part, dict) else part for name, part in settings.items()
    }


def as_stored(counts, labels: bool):
    """Return real counts as build_reference or build_query write them."""
    obs = pd.DataFrame({"batch": counts.obs["batch"].astype(str).astype("category")}, index=counts.obs_names)
    if labels:
        obs["label"] = counts.obs["cell_type"].astype(str).astype("category")
    return ad.AnnData(
        counts.X, obs=obs, var=pd.DataFrame({"symbol": counts.var_names, "measured": True}, index=counts.var_names)
    )


@pytest.fixture(scope="module")
def donors(real):
    """Return 1,800 labelled cells of three donors, 100 of them without their label, and all of a
    fourth as a query, and the query's labels.
    """
    counts = ad.read_h5ad(real("kang_ctrl_8donors_1287g.h5ad"))
    batch = counts.obs["batch"].astype(str)
    drawn = np.sort(np.random.default_rng(0).permutation(np.flatnonzero(batch.isin(DONORS)))[:1800])
    reference, query = as_stored(counts[drawn].copy(), True), as_stored(counts[batch == QUERY].copy(), False)
    reference.obs.iloc[:100, reference.obs.columns.get_loc("label")] = np.nan
    return reference, query, counts.obs["cell_type"].astype(str)[batch == QUERY]


@pytest.fixture(scope="module")
def mapped(donors):
    """A function from a type to its reference model and the model mapped to the query; each is
    trained once.
    """
    reference, query, _ = donors
    found = {}

    def of(kind: str):
        if kind not in found:
            model = MODEL_TYPES[kind].load_class().fit(reference.copy(), few_epochs(kind), JOB)
            found[kind] = model, model.map_query(query.copy(), few_epochs(kind), JOB)
        return found[kind]

    return of


@pytest.mark.parametrize("kind", [*OURS, *FURTHER, "scvi", "scanvi", "linear"])
def test_surgery_moves_the_query_and_not_the_reference(mapped, donors, kind):
    """Also: it leaves the reference's model alone, knows the batches of both, and gives finite
    expectations of the query's own depth.
    """
    (model, changed), (reference, query, _) = mapped(kind), donors
    some = reference[::20].copy()
    before = model.latent(some.copy())
    assert before.dtype == np.float32
    assert np.abs(changed.latent(some.copy()) - before).max() < 1e-4
    assert set(model.batches()) == set(DONORS)
    assert set(changed.batches()) == {*DONORS, QUERY}
    assert kind == "linear" or changed.training.mean_shift > 1e-3
    assert changed.latent(query.copy()).shape == (query.n_obs, before.shape[1])
    expected = changed.expected(query.copy())
    assert expected.shape == query.shape
    assert np.isfinite(expected).all()
    depth = np.asarray(query.X.sum(axis=1)).ravel()
    assert np.median(expected.sum(axis=1) / depth) == pytest.approx(1, abs=1e-3 if kind in OURS else 0.2)


@pytest.mark.parametrize("kind", FURTHER)
def test_surgery_changes_the_weights_of_new_batches_alone(mapped, kind):
    before, after = (model.model.module.state_dict() for model in mapped(kind))
    assert set(before) == set(after)
    for name, weights in before.items():
        assert (after[name][tuple(slice(0, size) for size in weights.shape)] == weights).all(), name
    extended = [name for name in before if after[name].shape != before[name].shape]
    assert all(after[name].shape[-1] == before[name].shape[-1] + 1 for name in extended)
    assert {"encoder", "decoder"} <= {part for part in ("encoder", "decoder") for name in extended if part in name}


def test_a_query_of_an_unknown_system_is_refused(mapped, donors):
    settings = {**few_epochs("sysvi"), "systems": {QUERY: "c"}}
    with pytest.raises(InputError, match="'107' is of the system 'c', and the model knows a, b alone"):
        mapped("sysvi")[0].map_query(donors[1].copy(), settings, JOB)
    other = donors[1].copy()
    other.obs["batch"] = "new"
    with pytest.raises(InputError, match="the system of new is not known; name it in the column system"):
        mapped("sysvi")[0].map_query(other, {**settings, "systems": {}}, JOB)


def test_a_system_without_cells_in_a_fold_can_be_mapped(donors):
    """The fold holds out all batches of a system, which the sheets name."""
    reference, query, _ = donors
    settings = {**few_epochs("sysvi", train={"max_epochs": 1}), "systems": {**SYSTEMS, QUERY: "c"}}
    model = MODEL_TYPES["sysvi"].load_class().fit(reference[::6].copy(), settings, JOB)
    changed = model.map_query(query.copy(), {**settings, "systems": {}}, JOB)
    assert np.array_equal(changed.latent(reference[:50].copy()), model.latent(reference[:50].copy()))
    assert changed.training.mean_shift > 0


def test_a_reference_of_one_batch_stays_where_it_is(donors):
    """Such as that of a fold: the model has no weights of its batch, and gets some by surgery."""
    reference, query, _ = donors
    one = reference[(reference.obs["batch"] == "101").to_numpy()][::6].copy()
    settings = few_epochs("sysvi", train={"max_epochs": 1})
    model = MODEL_TYPES["sysvi"].load_class().fit(one.copy(), settings, JOB)
    changed = model.map_query(query.copy(), settings, JOB)
    assert np.abs(changed.latent(one.copy()) - model.latent(one.copy())).max() < 1e-4


def test_one_system_is_refused(donors):
    settings = {**few_epochs("sysvi"), "systems": dict.fromkeys(SYSTEMS, "a")}
    with pytest.raises(InputError, match="all datasets are of a; name at least two in the column system"):
        MODEL_TYPES["sysvi"].load_class().fit(donors[0].copy(), settings, JOB)


@pytest.mark.parametrize("kind", OURS)
def test_expected_counts_follow_the_counts_of_the_query(mapped, donors, kind):
    query = donors[1]
    expected, counts = mapped(kind)[1].expected(query.copy()), query.X.toarray()
    assert np.corrcoef(np.sqrt(expected).ravel(), np.sqrt(counts).ravel())[0, 1] > 0.5


def test_saved_models_are_the_same_in_a_fresh_process(mapped, donors, tmp_path):
    """And the files of scArches' types hold plain values alone: another way to load them is not tried."""
    query = donors[1][:50].copy()
    query.write_h5ad(tmp_path / "query.h5ad")
    for kind in (*OURS, *FURTHER):
        # That of scvi-tools has the name of its folder.
        (tmp_path / kind).mkdir()
        mapped(kind)[1].save(tmp_path / kind / "model.pt")
    script = (
        "import sys, anndata, numpy, pathlib, torch; sys.path.insert(0, sys.argv[1]);"
        " from refatlas.models.registry import MODEL_TYPES;"
        " counts = anndata.read_h5ad('query.h5ad')\nfor kind in sys.argv[2:]:\n    model ="
        " MODEL_TYPES[kind].load_class().load(pathlib.Path(kind) / 'model.pt', counts)\n    torch.manual_seed(0)\n"
        "    numpy.savez(kind,"
        " latent=model.latent(counts), expected=model.expected(counts))"
    )
    subprocess.run(
        [sys.executable, "-c", script, REPO / "workflow/scripts", *OURS, *FURTHER],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    for kind in (*OURS, *FURTHER):
        with np.load(tmp_path / f"{kind}.npz") as found:
            # Types of scvi-tools draw from the posterior for what they expect.
            torch.manual_seed(0)
            assert found["latent"] == pytest.approx(mapped(kind)[1].latent(query.copy()), abs=1e-5)
            assert found["expected"] == pytest.approx(mapped(kind)[1].expected(query.copy()), rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("kind", OURS)
def test_a_killed_save_leaves_nothing(mapped, kind, tmp_path, monkeypatch):
    import torch

    monkeypatch.setattr(torch, "save", lambda value, stream: (stream.write(b"half"), 1 / 0))
    with pytest.raises(ZeroDivisionError):
        mapped(kind)[0].save(tmp_path / "model.pt")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", OURS)
def test_a_model_is_saved_in_the_same_bytes_each_time(mapped, kind, tmp_path):
    for name in ("a.pt", "b.pt"):
        mapped(kind)[0].save(tmp_path / name)
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()


@pytest.mark.parametrize("kind", OURS)
def test_genes_in_another_order_are_refused(mapped, donors, kind, tmp_path):
    model, reference = mapped(kind)[0], donors[0]
    model.save(tmp_path / "model.pt")
    with pytest.raises(InputError, match="do not have the model's 1287 genes in their order"):
        type(model).load(tmp_path / "model.pt", reference[:, ::-1].copy())


@pytest.mark.parametrize("kind", OURS)
def test_training_is_recorded_printed_and_repeatable(donors, kind, capsys):
    reference = donors[0][::6].copy()
    settings = {
        name: {**part, "max_epochs": 2} if isinstance(part, dict) and "max_epochs" in part else part
        for name, part in few_epochs(kind).items()
    }
    one, two = (MODEL_TYPES[kind].load_class().fit(reference.copy(), settings, JOB) for _ in range(2))
    assert np.array_equal(one.latent(reference.copy()), two.latent(reference.copy()))
    history = one.training.history
    assert {"stage", "epoch", "seconds", "cells_per_second", "loss_train", "loss_validation"} <= set(history.columns)
    assert history["loss_validation"].notna().all()
    assert one.training.monitor == "loss_validation"
    printed = capsys.readouterr().out
    assert "epoch 2/2  loss_validation" in printed
    assert "cells/s" in printed
    assert "INITIALIZING" not in printed
    assert "Layer" not in printed


@pytest.mark.parametrize("kind", OURS)
def test_a_loss_that_is_not_finite_is_an_error_at_once(donors, kind):
    with pytest.raises(FloatingPointError):
        MODEL_TYPES[kind].load_class().fit(
            donors[0][::6].copy(),
            few_epochs(kind, pretrain={"lr": 1.0, "kl_weight": 1e38}, train={"lr": 1.0, "kl_weight": 1e38}),
            JOB,
        )


@pytest.mark.parametrize("loss", ["mse", "zinb"])
@pytest.mark.parametrize("kind", ["scpoli", "trvae"])
def test_other_distributions_expect_counts_as_well(donors, kind, loss):
    reference = donors[0]
    model = MODEL_TYPES[kind].load_class().fit(reference.copy(), few_epochs(kind, model={"recon_loss": loss}), JOB)
    expected = model.expected(reference[:100].copy())
    assert (expected >= 0).all()
    counts = reference[:100].X.toarray()
    assert np.corrcoef(np.sqrt(expected).ravel(), np.sqrt(counts).ravel())[0, 1] > 0.4
    assert expected.sum(axis=1) == pytest.approx(counts.sum(axis=1), rel=1e-3)


def test_prototypes_classify_the_query(mapped, donors):
    """Also: probabilities sum to 1 and the distance to the nearest prototype, scPoli's uncertainty,
    is told; wrong cells are further away.
    """
    (model, changed), (reference, query, truth) = mapped("scpoli"), donors
    probabilities = changed.predict(query.copy())
    assert UNLABELED not in probabilities.columns
    assert list(probabilities.index) == list(query.obs_names)
    assert probabilities.sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-6)
    assert (probabilities.idxmax(axis=1) == truth.loc[probabilities.index]).mean() > 0.7
    tables = changed.tables(query.copy(), reference.copy())
    assert tables["sample_embeddings"]["origin"].to_dict() == {**dict.fromkeys(DONORS, "reference"), QUERY: "query"}
    assert set(tables["prototypes"].index) == set(reference.obs["label"].dropna())
    assert tables["uncertainty"].index.name == "cell"
    assert (tables["uncertainty"]["label"] == probabilities.idxmax(axis=1)).all()
    before = model.tables(reference.copy())
    assert before["prototypes"].equals(tables["prototypes"])
    assert before["sample_embeddings"].equals(tables["sample_embeddings"].drop(QUERY))


@pytest.fixture(scope="module")
def stimulated(real):
    """Return expiMap trained on control and stimulated cells as two batches, and those cells."""
    counts = ad.read_h5ad(real("kang_ctrl_stim_1975c_6998g.h5ad"))
    x = log_normalized(counts.X)
    variance = np.asarray(x.multiply(x).mean(axis=0) - np.square(x.mean(axis=0))).ravel()
    reference = as_stored(counts[:, np.sort(variance.argsort()[::-1][:2000])].copy(), True)
    settings = few_epochs(
        "expimap", model={"gmt": str(DATA / "c2.cp.reactome.v7.5.1.symbols.gmt")}, train={"max_epochs": 40}
    )
    return MODEL_TYPES["expimap"].load_class().fit(reference.copy(), settings, JOB), reference


def test_interferon_programs_are_on_top_of_stimulated_against_control(stimulated):
    model, reference = stimulated
    enrichment = model.tables(reference.copy())["enrichment"].xs(("batch", "stimulated"), level=("by", "group"))
    up = enrichment[enrichment["bayes_factor"] > 0]
    assert "INTERFERON" in up.index[0]
    assert up["bayes_factor"].iloc[0] > 2.3
    assert len(up.iloc[:10].filter(regex="INTERFERON|CYTOKINE", axis=0)) >= 2


def test_enrichment_is_that_of_the_library(stimulated):
    """latent_enrich, whose pairs of cells are drawn by another generator."""
    model, reference = stimulated
    cells = model.prepare(reference, model.extra)
    # The library can no longer take rows of sparse counts.
    cells.X = cells.X.toarray()
    model.wrapped.latent_directions(adata=cells)
    model.wrapped.latent_enrich("batch", adata=cells, use_directions=True)
    library = pd.Series(cells.uns["bf_scores"]["stimulated"]["p_h0"], index=model.program_names())
    ours = model.tables(reference.copy())["enrichment"].xs(("batch", "stimulated"), level=("by", "group"))[
        "probability"
    ]
    assert np.abs(ours - library[ours.index]).max() < 0.04


def test_a_query_may_learn_programs_that_have_no_place_in_the_latent_space(mapped, donors):
    (model, _), (reference, query, _) = mapped("expimap"), donors
    changed = model.map_query(query.copy(), few_epochs("expimap", surgery={"n_ext": 2}), JOB)
    tables, some = changed.tables(query.copy(), reference.copy()), reference[:50].copy()
    programs = tables["programs"]
    assert list(programs.index[-2:]) == ["new_1", "new_2"]
    assert (programs["genes"].drop(["new_1", "new_2"]) >= 12).all()
    assert set(programs["direction"]) <= {-1, 0, 1}
    assert list(tables["scores"].columns) == list(programs.index[programs["active"]])
    assert changed.latent(some.copy()).shape[1] == len(programs) - 2
    assert changed.latent(some.copy()) == pytest.approx(model.latent(some.copy()), abs=1e-4)


def test_a_program_file_of_other_genes_is_refused_before_training(donors, tmp_path):
    (tmp_path / "p.gmt").write_text("A\tlink\tnaught\tnothing\n")
    with pytest.raises(
        InputError, match=r"p\.gmt: no program has 12 of the reference's 1287 genes; the largest overlap is 0, of A"
    ):
        MODEL_TYPES["expimap"].load_class().fit(
            donors[0].copy(), few_epochs("expimap", model={"gmt": str(tmp_path / "p.gmt")}), JOB
        )
