"""A model type is added by one file and one line in the registry, and runs through every rule."""

import json
import shutil

import pandas as pd

import conftest
from conftest import REPO, small_counts, write_sheets

TOY = '''
"""A random projection of log-normalised counts."""

from pathlib import Path

import numpy as np
import pandas as pd

from refatlas.models.interface import Training
from refatlas.prepare.normalization import log_normalized


class Toy:
    settings = {"model": {"n_latent": {"description": "dimensions", "type": "integer", "minimum": 2, "default": 5}}}

    def __init__(self, weights, batches):
        self.weights, self.known, self.training = weights, batches, Training()

    @classmethod
    def fit(cls, counts, settings, job, base=None):
        weights = np.random.default_rng(job.seed).normal(size=(counts.n_vars, settings["model"]["n_latent"]))
        return cls(weights, sorted(counts.obs["batch"].astype(str).unique()))

    @classmethod
    def load(cls, file, counts):
        with np.load(file) as arrays:
            return cls(arrays["weights"], [str(b) for b in arrays["batches"]])

    def save(self, file):
        with Path(file).open("wb") as stream:
            np.savez(stream, weights=self.weights, batches=self.known)

    def latent(self, counts):
        return np.asarray(log_normalized(counts.X) @ self.weights, dtype=np.float32)

    def map_query(self, counts, settings, job):
        return Toy(self.weights, sorted({*self.known, *counts.obs["batch"].astype(str)}))

    def predict(self, counts):
        return None

    def expected(self, counts):
        depth = np.asarray(counts.X.sum(axis=1))
        return np.repeat(depth / counts.n_vars, counts.n_vars, axis=1)

    def batches(self):
        return self.known

    def tables(self, counts, reference=None, settings=None):
        return {"weights": pd.DataFrame(self.weights, index=pd.Index(counts.var_names, name="gene"))}

    def figures(self, tables):
        return {}
'''


def test_a_new_type_is_one_file_and_one_line(tmp_path, monkeypatch):
    repo = tmp_path / "repo"
    for name in ("workflow", "profiles", "envs"):
        shutil.copytree(REPO / name, repo / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPO / "Snakefile", repo)
    models = repo / "workflow/scripts/refatlas/models"
    (models / "toy.py").write_text(TOY)
    registry = (models / "registry.py").read_text()
    (models / "registry.py").write_text(
        registry.replace(
            "MODEL_TYPES = {\n",
            'MODEL_TYPES = {\n    "toy": ModelType("refatlas.models.toy:Toy", uses_gpu=False, has_tables=True),\n',
        )
    )
    folder = tmp_path / "work"
    folder.mkdir()
    for i, name in enumerate(("a", "q")):
        small_counts(n_cells=120, seed=i).write_h5ad(folder / f"{name}.h5ad")
    config = {
        "models": {"mine": {"type": "toy", "model": {"n_latent": 7}}},
        "evaluation": {"folds": 0},
        "genes": {"n_top": 60},
    }
    write_sheets(
        folder,
        [{"dataset": "a", "path": "a.h5ad"}],
        [{"query": "q", "path": "q.h5ad", "label_key": "cell_type"}],
        **config,
    )
    monkeypatch.setattr(conftest, "REPO", repo)
    conftest.snakemake(
        folder,
        "--cores",
        "2",
        "labels",
        "results/evaluation/transfer.csv",
        "results/reference/models/mine/tables",
    )
    labels = pd.read_csv(folder / "results/queries/q/labels.csv")
    assert {"mine_label", "mine_logistic_confidence", "linear_classifier_label"} <= set(labels.columns)
    assert len(pd.read_csv(folder / "results/reference/models/mine/tables/weights.csv")) == 60
    assert json.loads((folder / "results/queries/q/models/mine/mapping.json").read_text())["reference_batches"] == [
        "a:b1",
        "a:b2",
    ]
    assert "mine" in set(pd.read_csv(folder / "results/evaluation/transfer.csv")["model"])
