"""Models pretrained with stock scvi-tools serve as reference models.

The latent space is the same, names are this workflow's, and queries are mapped to them.
"""

import copy
import hashlib
import shutil

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from conftest import planned, small_counts, snakemake, write_sheets
from fault_server import file_server
from refatlas.errors import InputError
from refatlas.models.interface import JobContext
from refatlas.models.pretrained import pretrained_facts, read_saved, require_usable
from refatlas.models.registry import MODEL_TYPES
from refatlas.prepare import gene_selection
from refatlas.prepare.genes import genes_from_names
from refatlas.prepare.proteins import merge_proteins, select_proteins

SURGERY = {"max_epochs": 2, "batch_size": 128, "lr": 1e-3, "patience": 10, "min_delta": 1e-4, "kl_warmup": 0.0}
SETTINGS = {"surgery": SURGERY}


@pytest.fixture(scope="module")
def donors(real):
    """Three donors, and a fourth to map; 300 genes in another order than the file's, integer counts
    in a layer.
    """
    data = ad.read_h5ad(real("kang_ctrl_8donors_1287g.h5ad"))[::4]
    genes = np.random.default_rng(0).permutation(data.n_vars)[:300]
    data = data[:, genes].copy()
    data.obs["sample"] = data.obs["batch"].astype(str)
    data.layers["counts"], data.X = data.X.copy(), np.log1p(data.X)
    samples = sorted(data.obs["sample"].unique())
    return data[data.obs["sample"].isin(samples[:3])].copy(), data[data.obs["sample"] == samples[3]].copy()


@pytest.fixture(scope="module", params=["scvi", "scanvi"])
def made(request, donors, tmp_path_factory):
    """A type, the folder where its model was saved by stock scvi-tools, and the latent space that
    it gave.
    """
    import scvi

    reference = donors[0].copy()
    scvi.settings.seed = 0
    scvi.model.SCVI.setup_anndata(reference, layer="counts", batch_key="sample", labels_key="cell_type")
    model = scvi.model.SCVI(
        reference, encode_covariates=True, use_layer_norm="both", use_batch_norm="none", n_latent=12
    )
    model.train(max_epochs=2)
    if request.param == "scanvi":
        model = scvi.model.SCANVI.from_scvi_model(model, unlabeled_category="Unknown")
        model.train(max_epochs=1)
    folder = tmp_path_factory.mktemp(request.param) / "model"
    model.save(folder)
    return request.param, folder, model.get_latent_representation()


def ours(data, dataset="kang", labels=True):
    """Return counts as the build rules write them."""
    obs = pd.DataFrame(
        {"batch": (dataset + ":" + data.obs["sample"].astype(str)).to_numpy()}, index=dataset + ":" + data.obs_names
    )
    if labels:
        obs["label"] = data.obs["cell_type"].astype(str).to_numpy()
    return ad.AnnData(data.layers["counts"].copy(), obs=obs, var=data.var[[]])


def test_a_pretrained_model_is_the_reference_model(made, donors, tmp_path):
    kind, folder, latent = made
    saved = read_saved(str(folder / "model.pt"), hashlib.sha256((folder / "model.pt").read_bytes()).hexdigest())
    counts = ours(donors[0])
    model = MODEL_TYPES[kind].load_class().from_pretrained(saved, counts.copy(), "model.pt")
    assert np.abs(model.latent(counts.copy()) - latent).max() < 1e-5
    assert set(model.batches()) == set(counts.obs["batch"])
    model.save(tmp_path / "model.pt")
    again = MODEL_TYPES[kind].load_class().load(tmp_path / "model.pt", counts.copy())
    query = ours(donors[1], "query", labels=False)
    mapped = again.map_query(query.copy(), SETTINGS, JobContext())
    assert set(query.obs["batch"]) <= set(mapped.batches())
    assert mapped.training.mean_shift > 0
    assert np.abs(mapped.latent(counts.copy()) - latent).max() < 1e-4
    found = mapped.predict(query.copy())
    if MODEL_TYPES[kind].has_classifier:
        assert set(counts.obs["label"]) <= set(found.columns)
        assert found.sum(axis=1).to_numpy() == pytest.approx(np.ones(query.n_obs), abs=1e-4)


def test_a_minified_model_gives_the_same_latent_space(made, donors, tmp_path):
    """Models on the Hugging Face Hub are often saved so: counts are those of the datasets."""
    import scvi

    kind, folder, latent = made
    stock = {"scvi": scvi.model.SCVI, "scanvi": scvi.model.SCANVI}[kind].load(folder, donors[0].copy())
    mean, variance = stock.get_latent_representation(return_dist=True)
    stock.adata.obsm["X_latent_qzm"], stock.adata.obsm["X_latent_qzv"] = mean, variance
    stock.minify_adata()
    stock.save(tmp_path / "minified", save_anndata=True)
    saved = read_saved(str(tmp_path / "minified/model.pt"), None)
    require_usable(saved, {"scvi": "SCVI", "scanvi": "SCANVI"}[kind], "model.pt")
    counts = ours(donors[0])
    model = MODEL_TYPES[kind].load_class().from_pretrained(saved, counts.copy(), "model.pt")
    assert np.abs(model.latent(counts.copy()) - latent).max() < 1e-5
    model.save(tmp_path / "model.pt")
    again = MODEL_TYPES[kind].load_class().load(tmp_path / "model.pt", counts.copy())
    mapped = again.map_query(ours(donors[1], "query", labels=False), SETTINGS, JobContext())
    assert mapped.training.mean_shift > 0


def test_its_genes_are_taken_in_its_order(made, donors):
    names = pretrained_facts(read_saved(str(made[1] / "model.pt"), None))["genes"]
    assert names == list(donors[0].var_names)
    united = genes_from_names(sorted([*names, "OTHER"])).set_index("name").assign(selected=True, reason="variable")
    genes = gene_selection.select_pretrained_genes(united, {"a": names, "b": names})
    assert list(genes.index[genes["selected"]]) == names
    assert len(genes) == len(names) + 1
    with pytest.raises(InputError, match="1 of its 300 genes are in no dataset of the reference"):
        gene_selection.select_pretrained_genes(united.drop(names[7]), {"a": names})
    with pytest.raises(InputError, match="pretrained on different genes"):
        gene_selection.select_pretrained_genes(united, {"a": names, "b": names[::-1]})


def test_what_cannot_serve_is_refused(made, donors):
    kind, folder, _ = made
    file = str(folder / "model.pt")
    with pytest.raises(InputError, match="not the file that you checked"):
        read_saved(file, "0" * 64)
    saved = read_saved(file, None)
    with pytest.raises(InputError, match="its type in the config needs TOTALVI"):
        require_usable(saved, "TOTALVI", file)
    parameters = copy.deepcopy(saved)
    parameters["attr_dict"]["init_params_"]["kwargs"] = {"model_kwargs": {"encode_covariates": True}}
    with pytest.raises(InputError, match=r"trained with batch norm \(both\)"):
        require_usable(parameters, saved["attr_dict"]["registry_"]["model_name"], file)
    other = ours(donors[1])
    with pytest.raises(InputError, match="of the reference is none of its batches"):
        MODEL_TYPES[kind].load_class().from_pretrained(saved, other, file)
    wrong = ours(donors[0])
    wrong.obs["label"] = "A"
    if MODEL_TYPES[kind].needs_labels:
        with pytest.raises(InputError, match="labels A of the reference are none of its labels"):
            MODEL_TYPES[kind].load_class().from_pretrained(read_saved(file, None), wrong, file)


@pytest.fixture(scope="module", params=["anndata", "mudata"])
def made_with_proteins(request, real, tmp_path_factory):
    """A stock totalVI of two batches with proteins, registered either way: its folder, its cells,
    the latent space that it gave, and a third batch.
    """
    import mudata
    import scvi

    data = ad.read_h5ad(real("citeseq_1400c_3batches_14p.h5ad"))
    data = data[:, np.argsort(-np.asarray(data.X.sum(axis=0)).ravel())[:200]].copy()
    data.obs["sample"], data.layers["counts"] = data.obs["batch"].astype(str), data.X
    query = data[data.obs["sample"] == sorted(data.obs["sample"].unique())[0]].copy()
    reference = data[~data.obs_names.isin(query.obs_names)].copy()
    scvi.settings.seed = 0
    if request.param == "anndata":
        scvi.model.TOTALVI.setup_anndata(reference, "protein_expression", batch_key="sample")
        shown = reference
    else:
        proteins = ad.AnnData(
            np.asarray(reference.obsm["protein_expression"], dtype=np.float32), obs=reference.obs[[]].copy()
        )
        proteins.var_names = protein_names(reference)
        shown = mudata.MuData(
            {"rna": ad.AnnData(reference.X, obs=reference.obs, var=reference.var[[]]), "protein": proteins}
        )
        scvi.model.TOTALVI.setup_mudata(
            shown, batch_key="sample", modalities={"rna_layer": "rna", "protein_layer": "protein", "batch_key": "rna"}
        )
    model = scvi.model.TOTALVI(shown, use_layer_norm="both", use_batch_norm="none", n_latent=12)
    model.train(max_epochs=2)
    folder = tmp_path_factory.mktemp(request.param) / "model"
    model.save(folder)
    return folder, reference, model.get_latent_representation(), query


def protein_names(data) -> list[str]:
    table = data.obsm["protein_expression"]
    return list(table.columns) if hasattr(table, "columns") else [f"protein_{i}" for i in range(table.shape[1])]


def with_proteins(data, dataset: str, wanted: list[str], measured: bool = True):
    """Return counts as the build rules write them, with proteins matched to the model's by name."""
    counts = ours(data, dataset, labels=False)
    table = pd.DataFrame(
        np.asarray(data.obsm["protein_expression"], dtype=np.float32),
        index=counts.obs_names,
        columns=protein_names(data),
    )
    # The file's own order is another.
    table = table.iloc[:, ::-1]
    found = select_proteins(merge_proteins([table]), {"theirs": wanted})
    counts.obsm["proteins"], counts.uns["protein_names"] = (
        found.to_numpy() * measured,
        np.array(found.columns, dtype=object),
    )
    return counts


def test_a_pretrained_totalvi_is_the_reference_model(made_with_proteins, tmp_path):
    folder, reference, latent, query = made_with_proteins
    saved = read_saved(str(folder / "model.pt"), None)
    known = pretrained_facts(saved)
    assert known["genes"] == list(reference.var_names)
    require_usable(saved, "TOTALVI", "model.pt")
    counts = with_proteins(reference, "atlas", known["proteins"])
    model = MODEL_TYPES["totalvi"].load_class().from_pretrained(saved, counts.copy(), "model.pt")
    assert np.abs(model.latent(counts.copy()) - latent).max() < 1e-4
    model.save(tmp_path / "model.pt")
    again = MODEL_TYPES["totalvi"].load_class().load(tmp_path / "model.pt", counts.copy())
    bare = with_proteins(query, "query", known["proteins"], measured=False)
    mapped = again.map_query(bare.copy(), SETTINGS, JobContext())
    assert set(bare.obs["batch"]) <= set(mapped.batches())
    assert mapped.training.mean_shift > 0
    assert np.abs(mapped.latent(counts.copy()) - latent).max() < 1e-4


def test_proteins_of_a_pretrained_model_must_be_the_references():
    table = pd.DataFrame([[1.0, 2.0, 0.0]], index=["c"], columns=["CD3", "CD4_TotalSeqB", "CD8"])
    assert list(select_proteins(table, {"a": ["CD4", "CD8", "CD3"]}).columns) == ["CD4", "CD8", "CD3"]
    assert list(select_proteins(table, {}).columns) == ["CD3", "CD4_TotalSeqB"]
    with pytest.raises(InputError, match="1 of its 2 proteins are in no dataset of the reference: CD19"):
        select_proteins(table, {"a": ["CD3", "CD19"]})
    with pytest.raises(InputError, match="a and b are pretrained on different proteins"):
        select_proteins(table, {"a": ["CD3"], "b": ["CD4"]})


def test_a_model_of_the_hub_is_fetched_by_a_job_and_read_through_its_link(tmp_path, monkeypatch):
    import scvi

    data = small_counts(n_cells=120)
    data.write_h5ad(tmp_path / "a.h5ad")
    scvi.settings.seed = 0
    scvi.model.SCVI.setup_anndata(data, batch_key="batch")
    model = scvi.model.SCVI(data, encode_covariates=True, use_layer_norm="both", use_batch_norm="none", n_latent=5)
    model.train(max_epochs=1)
    model.save(tmp_path / "saved")
    content = (tmp_path / "saved/model.pt").read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    pretrained = {"hub": "lab/model", "revision": "v1", "sha256": sha256}
    models = {"mine": {"type": "scvi", "pretrained": pretrained, "model": {"n_latent": 5}}}
    write_sheets(
        tmp_path, [{"dataset": "a", "path": "a.h5ad"}], [], evaluation={"folds": 0}, qc={"min_genes": 1}, models=models
    )
    monkeypatch.setenv("REFATLAS_CACHE", str(tmp_path / "cache"))
    target = "results/reference/models/mine/latent.parquet"
    with file_server() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        server.files["/lab/model/resolve/v1/model.pt"] = content
        snakemake(tmp_path, "--cores", "2", "--", target)
        assert len(server.requests) == 1
    latent = pd.read_parquet(tmp_path / target)
    assert np.abs(latent.to_numpy() - model.get_latent_representation()).max() < 1e-4
    # Nothing names the cache: it may be moved.
    texts = [path.read_text() for path in (tmp_path / "results/reference/models/mine").glob("*.json")]
    assert texts
    assert not [text for text in texts if str(tmp_path) in text]
    shutil.move(tmp_path / "cache", tmp_path / "moved")
    monkeypatch.setenv("REFATLAS_CACHE", str(tmp_path / "moved"))
    assert planned(snakemake(tmp_path, "--dry-run", "--", target)) == {}
