"""Reference models in scvi-hub's format: made, published on a server on 127.0.0.1, and loaded by scvi-tools itself."""

import os
import subprocess
import sys
from copy import deepcopy

import anndata as ad
import numpy as np
import pytest
from scipy import sparse

from conftest import small_counts
from loopback_huggingface import running_hub
from refatlas.config.settings import complete_config
from refatlas.io.atomic import read_json
from refatlas.models.interface import JobContext
from refatlas.models.model_files import save_model
from refatlas.models.registry import MODEL_TYPES
from script_job import run_script
from small_bundle import write_small_bundle

TOKEN = "hf_secretsecretsecret"
REPO = "lab/small_atlas"
SECRET_COLUMN = "donor_name"
PULL = """
import sys
import numpy as np
from scvi.hub import HubModel
found = HubModel.pull_from_huggingface_hub(sys.argv[1], revision=sys.argv[2], cache_dir=sys.argv[3])
np.save(sys.argv[4], found.model.get_latent_representation())
print(found.metadata.model_cls_name, found.model_card.data.license, found.model.minified_data_type)
"""


def reference_counts() -> ad.AnnData:
    """Return counts as the rule build_reference writes them, with proteins and a column that stays here."""
    counts = small_counts(n_cells=120)
    counts.obs.index = [f"data:{name}" for name in counts.obs_names]
    counts.obs["batch"] = [f"data:{name}" for name in counts.obs["batch"]]
    counts.obs["label"] = counts.obs.pop("cell_type")
    counts.obs[SECRET_COLUMN] = "somebody"
    counts.obsm["proteins"] = np.random.default_rng(1).poisson(9, (120, 4)).astype(np.float32)
    counts.uns["protein_names"] = np.array([f"P{i}" for i in range(4)])
    return counts


@pytest.fixture(scope="module", params=["scvi", "scanvi"])
def made(request, tmp_path_factory):
    """A type, the folder hub/ of a trained model, and the model's latent space of the reference."""
    folder = tmp_path_factory.mktemp(request.param) / "results"
    models, file = {request.param: {"type": request.param}}, folder / "reference/models/m/model.pt"
    settings = deepcopy(complete_config({"reference": "r.tsv", "models": models})["models"][request.param])
    for section in ("train", "pretrain"):
        if section in settings:
            settings[section]["max_epochs"] = 2
    counts = reference_counts()
    kind = MODEL_TYPES[request.param].load_class()
    model = kind.fit(counts.copy(), settings, JobContext())
    save_model(model, str(file), settings)
    counts.X = sparse.csr_matrix(counts.X)
    counts.write_h5ad(folder / "reference/counts.h5ad")
    inputs = {"model": file, "counts": folder / "reference/counts.h5ad"}
    outputs, log = {"folder": folder / "bundle/hub"}, str(folder.parent / "make_hub_model.log")
    for _ in range(2):  # a second time, over what is there
        run_script("make_hub_model", log, inputs, outputs, type=request.param, name="m")
    return request.param, folder / "bundle/hub", model.latent(counts.copy())


def test_the_folder_has_no_counts_and_no_other_columns(made):
    folder = made[1]
    names = ["README.md", "_scvi_required_metadata.json", "adata.h5ad", "model.pt"]
    assert sorted(path.name for path in folder.iterdir()) == names
    data = ad.read_h5ad(folder / "adata.h5ad")
    assert data.X.nnz == 0
    assert data.raw is None
    assert [name for name in data.layers if name] == []
    assert SECRET_COLUMN not in data.obs
    assert sorted(data.obsm) == [f"{made[0]}_latent_qzm", f"{made[0]}_latent_qzv"]
    assert data.shape == (len(made[2]), 80)


def test_a_model_that_is_loaded_with_another_latent_space_is_an_error(made):
    from refatlas.publish.hub_model import require_same_latent

    _, folder, latent = made
    require_same_latent(folder, latent)
    with pytest.raises(RuntimeError, match="another latent space"):
        require_same_latent(folder, latent + 0.01)


def test_a_published_model_is_loaded_by_scvi_hub_with_the_latent_space_of_the_reference(made, tmp_path, monkeypatch):
    kind, folder, latent = made
    bundle = write_small_bundle(tmp_path / "bundle")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    with running_hub(TOKEN) as hub:
        settings = {"repo": REPO, "revision": "main", "private": False, "endpoint": hub.url}
        inputs = {"tar": bundle["atlas.tar"], "manifest": bundle["bundle.json"], "card": bundle["README.md"]}
        outputs = {"record": tmp_path / "published.json", "card": tmp_path / "model_card.md"}
        inputs["hub"], log = folder, str(tmp_path / "log")
        run_script("publish_huggingface", log, inputs, outputs, settings=settings, dry_run=False)
        commit = read_json(tmp_path / "published.json")["commit"]
        found = pulled(hub.url, commit, tmp_path)
    assert found.stdout.splitlines()[-1].split() == [kind.upper(), "cc-by-4.0", "latent_posterior_parameters"]
    np.testing.assert_allclose(np.load(tmp_path / "latent.npy"), latent, rtol=0, atol=1e-6)


def pulled(url, commit, folder):
    """Load the model in a process that knows nothing but the address and the commit."""
    own = {"HF_ENDPOINT": url, "HF_HOME": str(folder / "home"), "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": ""}
    command = [sys.executable, "-c", PULL, REPO, commit, str(folder / "cache"), str(folder / "latent.npy")]
    return subprocess.run(command, env={**os.environ, **own}, check=True, stdout=subprocess.PIPE, text=True)
