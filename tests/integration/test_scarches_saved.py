"""Models that scArches itself trained and saved serve as reference models: the same latent space, queries mapped to
them by surgery that leaves the reference alone, and a refusal, by name, of what cannot serve.
"""

import copy
import shutil
import subprocess

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from test_coming_from import blocks
from test_unusual import one_epoch

from refatlas.errors import InputError
from refatlas.io.atomic import write_table
from refatlas.models.interface import JobContext
from refatlas.models.library_patches.environment import import_scarches, scarches_silenced
from refatlas.models.model_files import save_model
from refatlas.models.registry import MODEL_TYPES
from refatlas.models.saved_models import facts_of_usable, read_pretrained
from refatlas.models.scarches_saved import SAVED, require_usable

KINDS = ("trvae", "scpoli", "expimap")
JOB = JobContext()
N_TERMS = 15
TERMS = [f"P{i}" for i in range(N_TERMS)]


@pytest.fixture(scope="module")
def donors(real):
    """Three donors and a fourth to map, 200 genes in another order than the file's, dense counts."""
    data = ad.read_h5ad(real("kang_ctrl_8donors_1287g.h5ad"))[::4]
    random = np.random.default_rng(0)
    data = data[:, random.permutation(data.n_vars)[:200]].copy()
    data.X = data.X.toarray().astype(np.float32)
    data.obs["sample"] = data.obs["batch"].astype(str)
    data.varm["I"] = (random.random((data.n_vars, N_TERMS)) < 0.2).astype(int)
    samples = sorted(data.obs["sample"].unique())
    return data[data.obs["sample"].isin(samples[:3])].copy(), data[data.obs["sample"] == samples[3]].copy()


@pytest.fixture(scope="module")
def made(donors, tmp_path_factory):
    """A function from a type to the folder where scArches saved its model, and the latent space that it gave."""
    found = {}

    def of(kind: str):
        if kind not in found:
            folder = tmp_path_factory.mktemp(kind) / "model"
            with scarches_silenced():
                model, latent = trained(kind, donors[0].copy())
                model.save(str(folder))
            if kind == "expimap":
                (folder / "terms.txt").write_text("\n".join(TERMS) + "\n")
            found[kind] = folder, latent
        return found[kind]

    return of


def trained(kind: str, data, **init):
    """Return a model of scArches, trained for two epochs with its own calls, and its latent space."""
    models = import_scarches().models
    if kind == "scpoli":
        init = {"condition_keys": "sample", "cell_type_keys": "cell_type", "embedding_dims": 5, **init}
        model = models.scPoli(data, hidden_layer_sizes=[32, 32], **init)
        model.train(2, pretraining_epochs=1, eta=5, unlabeled_prototype_training=False)
        return model, model.get_latent(data, mean=True)
    library_class = {"trvae": models.TRVAE, "expimap": models.EXPIMAP}[kind]
    model = library_class(data, condition_key="sample", hidden_layer_sizes=[32, 32], **init)
    model.train(2, **({"alpha": 0.7} if kind == "expimap" else {}))
    return model, model.get_latent(mean=True)


def ours(data, dataset="kang", labels=True):
    """Return counts as the build rules write them."""
    obs = pd.DataFrame(
        {"batch": (dataset + ":" + data.obs["sample"].astype(str)).to_numpy()}, index=dataset + ":" + data.obs_names
    )
    if labels:
        obs["label"] = data.obs["cell_type"].astype(str).to_numpy()
    var = pd.DataFrame({"symbol": data.var_names}, index=data.var_names)
    return ad.AnnData(sparse.csr_matrix(data.X), obs=obs, var=var)


def files_in(kind: str, folder) -> list[str]:
    return MODEL_TYPES[kind].saved_files(str(folder))


def shell_checksum(folder) -> str:
    """Return the checksum by the command that the documentation names."""
    command = f"sha256sum {' '.join(SAVED)} | sha256sum"
    return subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, check=True).stdout.split()[0]


def taken(kind: str, folder, counts):
    where, saved = read_pretrained(kind, files_in(kind, folder), shell_checksum(folder))
    return MODEL_TYPES[kind].load_class().from_pretrained(saved, counts.copy(), where)


@pytest.mark.parametrize(
    ("kind", "init"), [("expimap", {"soft_mask": True}), ("trvae", {"recon_loss": "zinb", "use_ln": False})]
)
def test_further_settings_of_scarches_can_serve(donors, kind, init, tmp_path):
    with scarches_silenced():
        model, latent = trained(kind, donors[0].copy(), **init)
        model.save(str(tmp_path / "model"))
    counts = ours(donors[0])
    taken_over = taken(kind, tmp_path / "model", counts)
    assert np.abs(taken_over.latent(counts) - latent).max() < 1e-5
    mapped = taken_over.map_query(ours(donors[1], "query", labels=False), one_epoch(kind), JOB)
    assert np.abs(mapped.latent(counts) - latent).max() < 1e-4


def test_a_model_that_scarches_mapped_a_query_to_can_serve(made, donors, tmp_path):
    """Its conditions are those of the reference and of the query, which then both are in the reference."""
    with scarches_silenced():
        mapped = import_scarches().models.TRVAE.load_query_data(donors[1].copy(), str(made("trvae")[0]))
        # As its tutorials say: with the default decay, scArches' own surgery moves the reference.
        mapped.train(1, weight_decay=0)
        mapped.save(str(tmp_path / "model"))
    both = ours(ad.concat(donors))
    latent = mapped.get_latent(donors[1].X, donors[1].obs["sample"], mean=True)
    found = taken("trvae", tmp_path / "model", both).latent(both)
    assert np.abs(found[donors[0].n_obs :] - latent).max() < 1e-5
    assert np.abs(found[: donors[0].n_obs] - made("trvae")[1]).max() < 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_of_scarches_is_the_reference_model(made, donors, kind, tmp_path):
    folder, latent = made(kind)
    counts, query = ours(donors[0]), ours(donors[1], "query", labels=False)
    model = taken(kind, folder, counts)
    assert np.abs(model.latent(counts) - latent).max() < 1e-5
    assert set(model.batches()) == set(counts.obs["batch"])
    model.save(tmp_path / "model.pt")
    again = MODEL_TYPES[kind].load_class().load(tmp_path / "model.pt", counts.copy())
    assert np.abs(again.latent(counts) - latent).max() < 1e-5
    mapped = again.map_query(query.copy(), one_epoch(kind), JOB)
    assert set(query.obs["batch"]) <= set(mapped.batches())
    assert mapped.training.mean_shift > 0
    assert np.abs(mapped.latent(counts) - latent).max() < 1e-4
    assert np.isfinite(mapped.expected(query)).all()
    assert mapped.training.history["stage"].unique().tolist() == ["surgery"]
    known = facts_of_usable(kind, files_in(kind, folder), None)
    assert known["genes"] == list(donors[0].var_names)
    assert known["batches"] == donors[0].obs["sample"].unique().tolist()


def test_prototypes_and_labels_are_the_models(made, donors):
    folder, _ = made("scpoli")
    counts = ours(donors[0])
    model = taken("scpoli", folder, counts)
    assert facts_of_usable("scpoli", files_in("scpoli", folder), None)["labels"] == model.labels()
    saved = read_pretrained("scpoli", files_in("scpoli", folder), None)[1]
    prototypes = saved["attributes"]["prototypes_labeled_"]["mean"]
    assert torch.equal(model.wrapped.model.prototypes_labeled["mean"], prototypes)
    assert set(model.predict(counts).columns) == set(counts.obs["label"])
    counts.obs["label"] = "A"
    with pytest.raises(InputError, match="labels A of the reference are none of its labels"):
        taken("scpoli", folder, counts)


def test_programs_are_the_models_also_in_a_fold(made, donors):
    folder, _ = made("expimap")
    counts, mask = ours(donors[0]), donors[0].varm["I"].T.astype(bool)
    model = taken("expimap", folder, counts)
    assert list(model.tables(counts)["programs"].index) == TERMS
    known = facts_of_usable("expimap", files_in("expimap", folder), None)["programs"]
    assert known == {name: np.flatnonzero(row).tolist() for name, row in zip(TERMS, mask, strict=True)}
    settings = {**one_epoch("expimap"), "programs": known}
    fold = MODEL_TYPES["expimap"].load_class().fit(counts[::4].copy(), settings, JOB)
    assert fold.program_names() == TERMS
    assert np.array_equal(np.array(fold.wrapped.mask_), mask[:, mask.any(axis=0)])


def test_the_pages_python_reads_programs_and_their_genes(made, donors, tmp_path, monkeypatch):
    counts = ours(donors[0])
    counts.var["symbol"], counts.var["measured"] = counts.var_names, True
    model, folder = taken("expimap", made("expimap")[0], counts), tmp_path / "results/reference/models/expimap"
    save_model(model, str(folder / "model.pt"), {"type": "expimap"})
    counts.write_h5ad(tmp_path / "results/reference/counts.h5ad")
    (folder / "tables").mkdir()
    tables = model.tables(counts)
    write_table(tables["enrichment"].reset_index(), str(folder / "tables/enrichment.csv"))
    write_table(tables["scores"].reset_index(), str(folder / "tables/scores.parquet"))
    monkeypatch.chdir(tmp_path)
    (text,) = (block for block in blocks("python") if "load_model" in block)
    names: dict = {}
    exec(text, names)
    library = model.wrapped.term_genes(0, terms=TERMS)
    assert names["term_genes"].index.tolist() == library["genes"].tolist()
    assert names["term_genes"].to_numpy() == pytest.approx(library["weights"].to_numpy())
    assert set(names["enriched"].columns) >= {"by", "group", "program", "bayes_factor"}


def test_a_model_without_names_of_its_programs(made, donors, tmp_path):
    bare = shutil.copytree(made("expimap")[0], tmp_path / "model", ignore=shutil.ignore_patterns("terms.txt"))
    model = taken("expimap", bare, ours(donors[0]))
    assert model.program_names()[:2] == ["term_1", "term_2"]
    assert any("have no names: terms.txt is not in its folder" in note for note in model.training.notes)
    (bare / "terms.txt").write_text("A\nB\n")
    with pytest.raises(InputError, match=r"has 15 terms, and terms.txt has 2 names"):
        facts_of_usable("expimap", files_in("expimap", bare), None)


def test_another_file_is_refused(made, tmp_path):
    folder = shutil.copytree(made("trvae")[0], tmp_path / "model")
    with pytest.raises(InputError, match=f"is {shell_checksum(folder)}, but the config has {'0' * 64}"):
        read_pretrained("trvae", files_in("trvae", folder), "0" * 64)
    content = (folder / "model_params.pt").read_bytes()
    (folder / "model_params.pt").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"model_params.pt cannot be read .* is it complete"):
        read_pretrained("trvae", files_in("trvae", folder), None)


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("trvae", {"use_bn_": True}, r"use_bn_ = True, and must have False: with batch norm"),
        ("scpoli", {"use_bn_": True}, r"use_bn_ = True"),
        ("trvae", {"recon_loss_": "mse"}, r"recon_loss_ = 'mse', and must have nb, zinb"),
        ("scpoli", {"recon_loss_": "poisson"}, r"recon_loss_ = 'poisson'"),
        ("expimap", {"recon_loss_": "mse"}, r"recon_loss_ = 'mse', and must have nb:"),
        ("expimap", {"decoder_last_layer_": "softplus"}, r"decoder_last_layer_ = 'softplus'"),
        ("expimap", {"n_ext_": 3}, r"n_ext_ = 3, and must have 0: terms that a query has learned"),
        ("expimap", {"n_ext_m_": 2}, r"n_ext_m_ = 2"),
        ("expimap", {"use_l_encoder_": True}, r"use_l_encoder_ = True"),
        ("expimap", {"mask_": [[1.0, 0.0]]}, r"mask_ is not a matrix of 0 and 1 with a column for each of the 200"),
        ("scpoli", {"condition_keys_": ["a", "b"]}, r"condition_keys_ = \['a', 'b'\], and must have one"),
        ("scpoli", {"cell_type_keys_": None}, r"cell_type_keys_ = None, and must have one"),
        ("scpoli", {"inject_condition_": ["decoder"]}, r"inject_condition_ = \['decoder'\]"),
        ("scpoli", {"prototypes_labeled_": {"mean": None, "cov": None}}, r"prototypes_labeled_ of 0 labels"),
        (
            "scpoli",
            {"condition_keys_": None, "conditions_": ["a"]},
            r"condition_keys_ = None.*missing or of another",
        ),
        ("trvae", {"condition_key_": None, "conditions_": []}, r"condition_key_ = None"),
        ("trvae", {"is_trained_": False}, r"was saved before it was trained"),
        ("trvae", {"conditions_": ["a", "a", "b"]}, r"conditions a, a, b; it needs at least one, each once"),
        ("trvae", {"input_dim_": 7}, r"var_names.csv has 200 genes, 200 of them different, and input_dim_ is 7"),
        ("trvae", {"registry_": {}}, r"saved by scvi-tools before 0.15"),
    ],
)
def test_what_surgery_cannot_serve_is_refused_by_name(made, kind, changes, message):
    _, saved = read_pretrained(kind, files_in(kind, made(kind)[0]), None)
    if changes.get("condition_keys_"):
        changes = {**changes, "conditions_": {key: ["x", "y"] for key in changes["condition_keys_"]}}
    saved["attributes"].update(copy.deepcopy(changes))
    with pytest.raises(InputError, match=message):
        require_usable(saved, MODEL_TYPES[kind].pretrained, "model")


def test_models_of_another_class_or_reference_are_refused(made, donors):
    with pytest.raises(InputError, match="is of class scPoli, and its type in the config needs TRVAE"):
        facts_of_usable("trvae", files_in("trvae", made("scpoli")[0]), None)
    with pytest.raises(InputError, match="of the reference is none of its batches"):
        taken("trvae", made("trvae")[0], ours(donors[1]))
    saved = read_pretrained("trvae", files_in("trvae", made("trvae")[0]), None)[1]
    saved["attributes"]["latent_dim_"] = 7
    with pytest.raises(InputError, match=r"its weights do not fit its attributes \(Error"):
        MODEL_TYPES["trvae"].load_class().from_pretrained(saved, ours(donors[0]), "model")


def test_scvi_of_scarches_is_that_of_scvi_tools(donors, tmp_path):
    """So that its saved models are of type scvi, and need nothing of their own."""
    import scvi

    models = import_scarches().models
    assert (models.SCVI, models.SCANVI, models.TOTALVI) == (scvi.model.SCVI, scvi.model.SCANVI, scvi.model.TOTALVI)
