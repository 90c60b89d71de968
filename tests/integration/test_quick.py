"""The first answer on eight donors of PBMC: six make the reference, two are queries; and the whole run after it."""

import json

import anndata as ad
import pandas as pd
import pytest

from conftest import planned, snakemake, write_sheets

QUERIES = ("1039", "107")


@pytest.fixture(scope="module")
def runs(real, tmp_path_factory):
    """The folder of a first answer, continued by the labels of the baseline, and what that continuation planned."""
    folder = tmp_path_factory.mktemp("quick")
    data = ad.read_h5ad(real("kang_ctrl_8donors_1287g.h5ad"))
    donors = data.obs["batch"].astype(str)
    data[~donors.isin(QUERIES).to_numpy()][::3].copy().write_h5ad(folder / "reference.h5ad")
    for donor in QUERIES:
        data[(donors == donor).to_numpy()].copy().write_h5ad(folder / f"donor{donor}.h5ad")
    rows = [{"query": f"donor{donor}", "path": f"donor{donor}.h5ad"} for donor in QUERIES]
    models = {"linear": {"type": "linear"}}
    write_sheets(folder, [{"dataset": "kang", "path": "reference.h5ad"}], rows, models=models)
    snakemake(folder, "--cores", "2", "quick")
    targets = ("labels", *(f"results/queries/donor{donor}/quick/changes.csv" for donor in QUERIES))
    rest = planned(snakemake(folder, "--dry-run", *targets))
    snakemake(folder, "--cores", "2", *targets)
    return folder, rest


def read(folder, donor: str, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / f"results/queries/donor{donor}" / name)


@pytest.mark.parametrize("donor", QUERIES)
def test_first_labels_are_those_of_the_baseline(runs, donor):
    first, whole = (read(runs[0], donor, name) for name in ("quick/labels.csv", "labels.csv"))
    assert list(first["cell"]) == list(whole["cell"])
    # Without further models, those that are delivered are the matched baseline's. Novelty is judged in another way.
    assert (first["label"] == whole["label"]).all()
    assert first["confidence"].to_numpy() == pytest.approx(whole["confidence"].to_numpy(), abs=0.02)
    assert (first["status"] == whole["status"]).mean() > 0.95
    assert list(first.columns) == [column for column in whole.columns if not column.startswith("linear_")]


@pytest.mark.parametrize("donor", QUERIES)
def test_first_verdicts_are_those_of_the_whole_run(runs, donor):
    first, whole = (
        json.loads((runs[0] / f"results/queries/donor{donor}/{name}").read_text())
        for name in ("quick/verdict.json", "verdict.json")
    )
    assert first["verdict"] == whole["verdict"] == "pass"
    assert first["estimated_accuracy"]["value"] == pytest.approx(whole["estimated_accuracy"]["value"], abs=0.02)
    assert set(first) == set(whole)


def test_the_whole_run_computes_nothing_again(runs):
    assert not {"match_query", "select_genes", "build_reference", "hold_out", "prepare_query"} & set(runs[1])


@pytest.mark.parametrize("donor", QUERIES)
def test_changes_are_what_differs(runs, donor):
    first, whole = (read(runs[0], donor, name) for name in ("quick/labels.csv", "labels.csv"))
    differ = (first["label"] != whole["label"]) | (first["status"] != whole["status"])
    assert list(read(runs[0], donor, "quick/changed_cells.csv")["cell"]) == list(first["cell"][differ])
    assert read(runs[0], donor, "quick/changes.csv")["n_cells"].sum() == differ.sum()
    assert (
        f"donor{donor}: the models changed the label of 0 of "
        in (runs[0] / f"logs/compare_quick/donor{donor}.log").read_text()
    )
