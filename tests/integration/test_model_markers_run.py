"""Markers by scVI and totalVI on real cells: the numbers of scvi-tools called by hand, after a few epochs.

Densities of samples in the latent space of that scVI.
"""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from refatlas.differential.density import DensityCells, compare_density
from refatlas.differential.density_inputs import read_log_densities
from refatlas.differential.model_markers import draw_sides, group_names, model_markers
from refatlas.differential.participants import FILE
from refatlas.errors import InputError
from refatlas.io.atomic import write_table
from refatlas.io.cell_tables import latent_table
from refatlas.io.model_counts import counts_writer, read_counts
from refatlas.models.interface import JobContext
from refatlas.models.marker_model import MarkerModel
from refatlas.models.model_files import save_model
from refatlas.models.registry import MODEL_TYPES

pytestmark = pytest.mark.slow
SETTINGS = {"n_samples": 2000, "delta": 0.25, "fdr": 0.05, "batch_correction": True}
N_GENES = 300
WITHOUT = "pbmc5k_v3"


def settings_of(kind: str, epochs: int) -> dict:
    """Return the settings of a short training."""
    schema = MODEL_TYPES[kind].settings_schema()
    found = {section: {name: s["default"] for name, s in part.items()} for section, part in schema.items()}
    found["train"]["max_epochs"] = epochs
    return {"type": kind, **found}


@pytest.fixture(scope="module")
def trained(real, tmp_path_factory):
    """Path of counts of CITE-seq cells, one batch without proteins, and of a scVI and a totalVI trained on them."""
    folder, data = tmp_path_factory.mktemp("markers"), ad.read_h5ad(real("citeseq_1400c_3batches_14p.h5ad"))
    x = sparse.csr_matrix(data.X)
    first = np.sort(np.asarray(x.sum(axis=0)).ravel().argsort()[::-1][:N_GENES])
    batches = data.obs["batch"].astype(str)
    obs = pd.DataFrame({"batch": batches, "label": data.obs["cell_type"].astype(str)})
    genes = pd.DataFrame({"symbol": data.var_names[first], "selected": True}, index=data.var_names[first])
    proteins = pd.DataFrame(data.obsm["protein_expression"]).copy()
    proteins.loc[(batches == WITHOUT).to_numpy()] = 0
    with counts_writer(folder / "counts.h5ad", obs, genes) as writer:
        writer.append(x[:, first])
        writer.add_proteins(proteins.set_axis(list(map(str, proteins.columns)), axis=1))
    for kind, epochs in (("scvi", 12), ("drvi", 12), ("totalvi", 25)):
        settings = settings_of(kind, epochs)
        counts = read_counts(folder / "counts.h5ad")
        model = MODEL_TYPES[kind].load_class().fit(counts, settings, JobContext())
        save_model(model, str(folder / kind / "model.pt"), settings)
        write_table(latent_table(model.latent(counts), counts), folder / kind / "latent.parquet")
    return folder


def opened(folder, kind: str, **settings) -> MarkerModel:
    return MarkerModel(str(folder / kind / "model.pt"), str(folder / "counts.h5ad"), {**SETTINGS, **settings})


@pytest.mark.parametrize(("kind", "correct"), [("scvi", True), ("scvi", False), ("drvi", True)])
def test_the_numbers_are_those_of_scvi_tools_on_the_same_cells(trained, kind, correct):
    model = opened(trained, kind, batch_correction=correct)
    names = group_names(model.cells.obs["label"])
    rows, rest = draw_sides(names, "B", 100, seed=3)
    found = model.compare("rna", rows, rest, seed=11)
    counts = read_counts(trained / "counts.h5ad")
    cells = counts[np.concatenate([rows, rest])].copy()
    cells.obs["side"] = ["in"] * len(rows) + ["out"] * len(rest)
    straight = MODEL_TYPES[kind].load_class().load(trained / kind / "model.pt", counts).model
    torch.manual_seed(11)
    np.random.seed(11)  # noqa: NPY002
    by_hand = straight.differential_expression(
        cells,
        groupby="side",
        group1="in",
        group2="out",
        mode="change",
        delta=0.25,
        fdr_target=0.05,
        weights="uniform",
        batch_correction=correct,
        n_samples_overall=2000,
        batch_size=512,
    ).loc[found.index]
    assert np.array_equal(found["log2_fold_change"], by_hand["lfc_median"])
    assert np.array_equal(found["probability"], by_hand["proba_de"])
    assert np.array_equal(found["differs"], by_hand["is_de_fdr_0.05"])
    assert found["mean_in"].to_numpy() == pytest.approx(1e4 * by_hand["scale1"].to_numpy())
    # Asked again, the model gives the same: nothing is kept of the cells that it has seen.
    assert model.compare("rna", rows, rest, seed=11).equals(found)
    # Swapped sides flip every sign, up to the draws.
    swapped = model.compare("rna", rest, rows, seed=12)
    assert np.corrcoef(swapped["log2_fold_change"], -found["log2_fold_change"])[0, 1] > 0.9


def test_known_markers_are_found_and_shuffled_labels_have_none(trained):
    model = opened(trained, "totalvi", n_samples=1000)
    labels = model.cells.obs["label"].astype(str)
    groups = labels.where(labels == "CD14 Mono", "other")
    symbols = model.cells.var["symbol"].astype(str)
    found, sides = model_markers(model, groups, symbols, 100, seed=0)
    # Cells of the batch without proteins take no part in their test, and it is no batch that others are decoded as.
    assert WITHOUT in model.batches["rna"]
    assert WITHOUT not in model.batches["proteins"]
    cells = sides.pivot(index="label", columns="features", values="cells")
    measured = (model.cells.obs["batch"] != WITHOUT).to_numpy()
    assert cells["proteins"].to_dict() == groups[measured].value_counts().to_dict()
    own = found[found["label"] == "CD14 Mono"].set_index("gene")
    genes, proteins = (own[own["features"] == name] for name in ("rna", "proteins"))
    assert {"LYZ", "S100A9", "S100A8"} <= set(genes.index[(genes["rank"] <= 30).fillna(False)])
    assert proteins["rank"].idxmin() == "CD14"
    shuffled = pd.Series(np.random.default_rng(0).permutation(groups), index=groups.index)
    null, _ = model_markers(model, shuffled, symbols, 100, seed=0)
    assert null["differs"].sum() == 0
    assert genes["differs"].sum() >= 10


CONTRAST = {"condition": "half", "groups": ["even", "odd"], "sample": "part", "covariates": [], "design": None}


def paths_of(folder, kind: str) -> dict:
    files = {"model": f"{kind}/model.pt", "latent": f"{kind}/latent.parquet", "counts": "counts.h5ad"}
    return {"reference": {name: str(folder / file) for name, file in files.items()}}


def sampled_cells(folder, n_samples: int = 8) -> DensityCells:
    """Return the cells in samples of equal composition, of which every other one is of each group."""
    obs = read_counts(folder / "counts.h5ad").obs
    order = np.random.default_rng(0).permutation(len(obs))
    numbers = np.empty(len(obs), dtype=int)
    numbers[order] = obs["label"].astype(str).iloc[order].groupby(obs["label"].astype(str)).cumcount() % n_samples
    table = pd.DataFrame({FILE: "r", "batch": obs["batch"].astype(str), "label": obs["label"].astype(str)})
    names = [f"p{i}" for i in range(n_samples)]
    samples = pd.DataFrame({"part": names, "half": ["even", "odd"] * (n_samples // 2)})
    return DensityCells(table.assign(number=numbers), samples, [])


def test_a_label_that_is_taken_away_is_less_dense_and_nothing_else_is(trained):
    cells = sampled_cells(trained)
    label, odd = "CD14 Mono", cells.table["number"] % 2 == 1
    taken = (cells.table["label"] == label) & odd & (np.random.default_rng(1).random(len(odd)) < 0.7)
    for removed, p_value in ((taken, 1 / 35), (taken & False, None)):
        own = cells._replace(table=cells.table[~removed])
        logs = read_log_densities(own, paths_of(trained, "scvi"), ["r"], 0)
        labels = compare_density(logs, own, CONTRAST, ["r"], 0).labels.set_index("label")
        others = labels.drop(index=label).query("n_cells > 50")["median_log2_ratio"].abs()
        assert others.max() < 0.7
        if p_value:
            assert labels.loc[label, "p_value"] == pytest.approx(p_value)
            assert labels.loc[label, "median_log2_ratio"] > 1.2
        else:
            assert (labels["fdr"].dropna() > 0.05).all()
            assert abs(labels.loc[label, "median_log2_ratio"]) < 0.5


def test_a_latent_space_of_another_model_or_other_cells_is_refused(trained, tmp_path):
    cells, paths = sampled_cells(trained), paths_of(trained, "scvi")
    latent = pd.read_parquet(paths["reference"]["latent"])
    for table, message in ((latent + 1, "are up to 1 from where"), (latent.iloc[1:], "no place of 1 cells")):
        write_table(table, tmp_path / "latent.parquet")
        with pytest.raises(InputError, match=message):
            read_log_densities(
                cells, {"reference": {**paths["reference"], "latent": str(tmp_path / "latent.parquet")}}, ["r"], 0
            )
