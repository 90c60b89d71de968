"""Posterior predictive checks on real cells: sound queries are like each other, damaged ones are not.

A small scVI on a part of six donors of PBMC; two further donors are mapped, and copies of one that are damaged.
"""

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from refatlas.evaluate.criticism import criticism_table
from refatlas.evaluate.model_criticism import CriticismJob, check_mapped, check_reference, features_of
from refatlas.io.model_counts import read_counts
from refatlas.models.interface import JobContext
from refatlas.models.model_files import load_model, save_model
from refatlas.models.registry import MODEL_TYPES, settings_schema

pytestmark = pytest.mark.slow
SOUND = ("1039", "107")
DAMAGED = ("permuted", "shuffled")
MAX_CELLS = 400


def settings() -> dict:
    """Return the defaults of scvi with few epochs."""
    found: dict = {"type": "scvi"}
    for section, part in settings_schema("scvi")["properties"].items():
        if "properties" in part:
            found[section] = {name: s["default"] for name, s in part["properties"].items() if "default" in s}
    found["train"]["max_epochs"], found["surgery"]["max_epochs"] = 20, 20
    return found


def damaged(counts: ad.AnnData, how: str) -> ad.AnnData:
    """Return counts of which each gene's are permuted across cells, or whose genes have the names of others."""
    random, x = np.random.default_rng(0), counts.X.toarray()
    x = random.permuted(x, axis=0) if how == "permuted" else x[:, random.permutation(counts.n_vars)]
    return ad.AnnData(sparse.csr_matrix(x), obs=counts.obs, var=counts.var)


def written(counts: ad.AnnData, folder: Path) -> str:
    """Write counts as models see them, and return the path."""
    folder.mkdir(parents=True)
    obs = pd.DataFrame({"batch": counts.obs["batch"].astype(str).to_numpy()}, index=counts.obs_names)
    if folder.name == "reference":
        obs["label"] = counts.obs["cell_type"].astype(str).to_numpy()
    x = sparse.csr_matrix(counts.X, dtype=np.float32)
    ad.AnnData(x, obs=obs, var=pd.DataFrame(index=counts.var_names)).write_h5ad(folder / "counts.h5ad")
    return str(folder / "counts.h5ad")


@pytest.fixture(scope="module")
def run(real, tmp_path_factory):
    """The table of all checks by name of the cells, and the job of the reference."""
    folder, data = tmp_path_factory.mktemp("criticism"), ad.read_h5ad(real("kang_ctrl_8donors_1287g.h5ad"))
    donors, chosen, job = data.obs["batch"].astype(str), settings(), JobContext()
    path = written(data[~donors.isin(SOUND).to_numpy()][::4], folder / "reference")
    counts = read_counts(path)
    model = MODEL_TYPES["scvi"].load_class().fit(counts.copy(), chosen, job)
    save_model(model, str(folder / "reference/models/scvi/model.pt"), chosen)
    reference = CriticismJob("scvi", str(folder / "reference/models/scvi/model.pt"), path, MAX_CELLS, 5, 0)
    rows = [{"cells": name, **row} for name, _, found in check_reference(reference, False) for row in found.rows()]
    queries = {donor: data[(donors == donor).to_numpy()] for donor in SOUND}
    queries |= {how: damaged(queries["107"], how) for how in DAMAGED}
    for name, query in queries.items():
        path = written(query, folder / name)
        mapped = load_model("scvi", reference.file, counts.copy()).map_query(read_counts(path), chosen, job)
        file = str(folder / name / "models/scvi/model.pt")
        save_model(mapped, file, chosen)
        _, found = check_mapped(CriticismJob("scvi", file, path, MAX_CELLS, 5, 0), None)
        rows += [{"cells": name, **row} for row in found.rows()]
    table = criticism_table(rows)
    return table[table["batch"] == "all"].set_index("cells"), reference


def test_training_and_validation_cells_are_told_apart(run):
    table, reference = run
    n_cells = read_counts(reference.counts, True).n_obs
    # Equally many of each of the six batches.
    assert table.loc["training", "n_cells"] == MAX_CELLS // 6 * 6
    assert table.loc["validation", "n_cells"] == n_cells - int(np.ceil(0.9 * n_cells))
    assert table.loc["validation", "reconstruction"] > table.loc["training", "reconstruction"] - 50
    assert [name for name, *_ in check_reference(reference, True)] == ["reference"]


def test_a_sound_model_replicates_counts(run):
    table, _ = run
    sound = table.loc[["training", *SOUND]]
    assert (sound["cv_gene_correlation"] > 0.5).all()
    assert (sound["zero_fraction_correlation"] > 0.95).all()
    assert sound["coverage_80"].to_numpy() == pytest.approx(0.8, abs=0.04)


def test_damaged_queries_are_further_from_training_cells_than_sound_ones(run):
    table, _ = run
    away = table["reconstruction"] - table.loc["training", "reconstruction"]
    sound = away[list(SOUND)].abs().max()
    assert away["permuted"] > sound
    assert away["shuffled"] > 5 * sound
    assert table.loc["shuffled", "cv_gene_correlation"] < table.loc[list(SOUND), "cv_gene_correlation"].min() - 0.2


def test_checks_are_the_same_again(run):
    table, reference = run
    again = next(iter(check_reference(reference, False)))
    row = criticism_table(again[2].rows()).iloc[0]
    for name in ("cv_gene_correlation", "coverage_50", "reconstruction", "kl"):
        assert row[name] == pytest.approx(table.loc["training", name], rel=1e-4)
    genes = features_of(again[1], again[2])
    assert {"symbol", "cv_observed", "cv_replicated", "zero_fraction_replicated", "coverage_80"} <= set(genes)
