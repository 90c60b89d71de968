"""Cells in a tissue: SageNet against scArches' own, a tissue whose truth is known, and a real lymph node."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.special import softmax

from conftest import planned, snakemake, write_sheets
from refatlas.io.atomic import read_csv, read_json
from refatlas.prepare.normalization import log_normalized
from refatlas.spatial.features import fit_features
from refatlas.spatial.held_out import choose, hold_out
from refatlas.spatial.placing import Placer, cell_table, entropy, place
from refatlas.spatial.regions import partitions
from refatlas.spatial.sagenet import ALPHAS, apply_sagenet, fit_sagenet, gene_graph
from report_browser import check_page, chromium
from simulated_tissue import query_of, simulated_cells_of, simulated_tissue

pytestmark = pytest.mark.slow
SPATIAL, CELLS = "visium_1000spots_2000g.h5ad", "scref_330c_10237g.h5ad"
SETTINGS = {"n_genes": 60, "epochs": 10, "folds": 5, "held_out": "blocks", "quantile": 0.05}


def test_sagenet_is_that_of_scarches():
    from refatlas.models.library_patches.environment import import_scarches

    import_scarches()
    import torch
    from scarches.models.sagenet.sagenet import sagenet
    from scarches.models.sagenet.utils import glasso

    spots = simulated_tissue(side=17)
    features = fit_features(spots, 40)
    x = features.apply(log_normalized(spots.counts))
    codes = partitions(spots, [])[0].codes
    graph = gene_graph(x)
    net = fit_sagenet(x, codes, 4, graph, epochs=2, seed=3)
    cells = features.apply(log_normalized(simulated_cells_of(n=50)[0]))
    ours = apply_sagenet(net, cells)

    theirs = ad.AnnData(x.astype(np.float64), obs=pd.DataFrame({"layer": codes}, index=spots.names))
    glasso(theirs, ALPHAS)
    assert np.array_equal(np.array(theirs.varm["adj"].toarray().nonzero()), graph)
    assert graph.shape[1] > 0
    theirs = ad.AnnData(x, obs=theirs.obs, varm=dict(theirs.varm))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(3)
    model = sagenet()
    model.train(theirs, tag="t", comm_columns=["layer"], epochs=2)
    query = ad.AnnData(cells)
    model.load_query_data(query)
    torch.set_num_threads(threads)
    for name, value in model.models["t_layer"].state_dict().items():
        assert value.numpy() == pytest.approx(net[f"net:{name}"], abs=1e-6), name
    assert np.array_equal(query.obs["pred_t_layer"], ours.argmax(axis=1))
    assert query.obs["ent_t_layer"].to_numpy() == pytest.approx(entropy(ours), abs=1e-4)
    assert ours == pytest.approx(softmax(np.log(ours), axis=1))


def test_all_methods_solve_a_tissue_whose_truth_is_known(tmp_path):
    spots, settings = (
        simulated_tissue(side=16),
        {**SETTINGS, "folds": 3, "methods": ["sagenet", "logistic_regression", "knn"]},
    )
    parts = partitions(spots, [])
    held = hold_out(spots, parts, settings, seed=0)
    choice = choose(parts[0], held, spots, settings)
    found = {row["method"]: row["accuracy"] for row in choice.scores}
    assert min(found.values()) >= 0.9, found
    counts, truth = simulated_cells_of()
    for method in ("sagenet", choice.method):
        choice.method = method
        Placer.fit(spots, parts, [choice], held, settings, seed=0).save(tmp_path / "regions.npz")
        placed = place(Placer.load(tmp_path / "regions.npz"), query_of(counts), 0.75, "q")
        regions = np.array(parts[0].regions)[placed.probabilities[0].argmax(axis=1)]
        assert (regions == truth).mean() >= 0.9, method


def test_shuffled_spots_of_a_real_tissue_have_no_place(real):
    data = ad.read_h5ad(real(SPATIAL))
    spots = simulated_tissue(side=20)
    rows = np.random.default_rng(0).permutation(data.n_obs)
    spots.counts, spots.xy = sparse.csr_matrix(data.X), np.asarray(data.obsm["spatial"], dtype=float)[rows]
    spots.genes, spots.symbols, spots.names = data.var_names, list(data.var_names), data.obs_names
    spots.sections, spots.regions = np.full(data.n_obs, ""), None
    settings = {**SETTINGS, "methods": ["logistic_regression", "knn"]}
    parts = partitions(spots, [2])
    held = hold_out(spots, parts, settings, seed=0)
    choice = choose(parts[0], held, spots, settings)
    assert choice.identifiable == "no"
    placer = Placer.fit(spots, parts, [choice], held, settings, seed=0)
    found = place(placer, query_of(spots.counts[:50], spots.genes), 0.75, "q")
    table = cell_table(placer, found, spots.names[:50])
    assert set(table["reason"]) == {"location is not identifiable"}


def test_a_lymph_node_is_hardly_told_apart_and_the_report_says_so(real, tmp_path):
    cells = ad.read_h5ad(real(CELLS))
    cells[::2].write_h5ad(tmp_path / "a.h5ad")
    cells[1::2].write_h5ad(tmp_path / "q.h5ad")
    settings = {"path": real(SPATIAL), "grids": [2], "methods": ["logistic_regression", "knn"]}
    write_sheets(
        tmp_path,
        [{"dataset": "node", "path": "a.h5ad"}],
        [{"query": "q", "path": "q.h5ad"}],
        models={"linear": {"type": "linear"}},
        label_key="-",
        evaluation={"folds": 0},
        qc={"mads": None},
        spatial=settings,
    )
    page = "results/report/spatial.html"
    snakemake(tmp_path, "--cores", "2", page)
    results = tmp_path / "results"
    scores = read_csv(results / "spatial/methods.csv")
    assert list(scores["method"]) == settings["methods"]
    best = scores[scores["chosen"]].iloc[0]
    assert 0.2 < best["accuracy"] < 0.5
    assert best["identifiable"] in ("no", "hardly")
    table = pd.read_csv(results / "queries/q/spatial/cells.csv.gz")
    assert list(table["cell"]) == list(cells.obs_names[1::2])
    assert set(table["status"]) == {"cannot be placed"}
    assert np.isfinite(table[["x", "y", "spread", "entropy"]]).all(axis=None)
    probabilities = pd.read_parquet(results / "queries/q/spatial/probabilities.parquet")
    assert probabilities.sum(axis=1).to_numpy() == pytest.approx(np.ones(165), abs=1e-4)
    facts = read_json(results / "queries/q/spatial/summary.json")
    assert facts["partitions"]["grid2"]["placed"] == 0
    types = pd.read_csv(results / "queries/q/spatial/types.csv")
    assert set(types["label"]) == {"all cells"}
    text = (tmp_path / page).read_text(encoding="utf-8")
    assert f"Location is {'hardly' if best['identifiable'] == 'hardly' else 'not'} identifiable" in text
    assert not planned(snakemake(tmp_path, "--dry-run", page))
    with chromium() as browser:
        check_page(browser, tmp_path / page)


@pytest.mark.parametrize("n_edges", [0, 2000])
def test_sagenet_gives_the_same_whatever_the_number_of_cells_at_a_time(monkeypatch, n_edges):
    random = np.random.default_rng(0)
    x, graph = random.normal(size=(40, 60)).astype(np.float32), random.integers(0, 60, (2, n_edges))
    arrays = fit_sagenet(x, np.arange(40) % 2, 2, graph, seed=0, epochs=1)
    whole = apply_sagenet(arrays, x)
    monkeypatch.setattr("refatlas.spatial.sagenet.MOST_EDGES", 7 * n_edges)
    assert apply_sagenet(arrays, x) == pytest.approx(whole, abs=1e-6)
