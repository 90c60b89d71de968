"""The three folds that are made by default, with the baseline alone on real donors, of which half of the cells are
taken to save time: of a reference with two batches, the third fold holds out simulated batches; of a reference with one
batch, all do.
"""

import json

import anndata as ad
import pandas as pd
import pytest

from conftest import snakemake, write_sheets

QUERY = "1039"
FOLDS = [f"fold_{i}" for i in (1, 2, 3)]


@pytest.fixture(scope="module", params=[("1015", "1256"), ("1015",)], ids=["two batches", "one batch"])
def run(request, real, tmp_path_factory):
    """The donors of a reference, and the folder with the labels of a query of another donor."""
    folder = tmp_path_factory.mktemp("folds")
    data = ad.read_h5ad(real("kang_ctrl_8donors_1287g.h5ad"))[::2]
    donors = data.obs["batch"].astype(str)
    data[donors.isin(request.param).to_numpy()].copy().write_h5ad(folder / "reference.h5ad")
    data[(donors == QUERY).to_numpy()].copy().write_h5ad(folder / "query.h5ad")
    rows = [{"dataset": "kang", "path": "reference.h5ad"}], [{"query": "donor", "path": "query.h5ad"}]
    write_sheets(folder, *rows, models={"linear": {"type": "linear"}})
    snakemake(folder, "--cores", "2", "results/queries/donor/labels.csv")
    return request.param, folder


def test_each_batch_is_held_out_once_and_further_folds_simulate_batches(run):
    donors, folder = run
    plans = [json.loads((folder / f"results/evaluation/{fold}/fold.json").read_text()) for fold in FOLDS]
    simulated = len(donors) == 1
    assert [plan["simulated"] for plan in plans] == [simulated, simulated, True]
    held_out = sorted(batch for plan in plans for batch in plan["held_out"])
    assert held_out == ([] if simulated else [f"kang:{donor}" for donor in donors])


def test_labels_are_calibrated_on_all_three(run):
    _, folder = run
    evidence = json.loads((folder / "results/evaluation/calibration.json").read_text())["evidence"]
    assert evidence["folds"] == FOLDS
    assert evidence["simulated"]


def test_labels_of_the_query_are_right_and_judged(run):
    _, folder = run
    labels = pd.read_csv(folder / "results/queries/donor/labels.csv").set_index("cell")
    truth = ad.read_h5ad(folder / "query.h5ad").obs["cell_type"].astype(str)
    right = (labels["label"] == truth.loc[labels.index]).mean()
    found = json.loads((folder / "results/queries/donor/verdict.json").read_text())
    assert right > 0.85
    assert found["estimated_accuracy"]["value"] == pytest.approx(right, abs=0.1)


def test_novelty_is_judged_where_batches_show_how_far_known_types_vary(run):
    donors, folder = run
    found = json.loads((folder / "results/queries/donor/verdict.json").read_text())
    labels = pd.read_csv(folder / "results/queries/donor/labels.csv")
    if len(donors) > 1:
        assert found["novelty_not_judged"] == ""
        assert found["novel"] < 0.15
    else:
        assert "single batch" in found["novelty_not_judged"]
        assert found["novel"] is None
        assert "novel" not in set(labels["status"])
