"""Tuning on eight donors of PBMC, every eighth cell, for few epochs: what wins, what is trained with it, and what a
further trial computes.
"""

import hashlib
import json

import anndata as ad
import pandas as pd
import pytest

from conftest import planned, small_counts, snakemake, write_sheets

# The settings of the configuration hardly learn anything, and one of those that are tried learns even less.
MODELS = {"scvi": {"type": "scvi", "train": {"max_epochs": 2, "batch_size": 32}, "surgery": {"max_epochs": 2}}}
SPACE = {"train.max_epochs": [20, 1, 25, 22]}
TARGETS = ("results/reference/models/scvi/model.pt", "results/tuning/scvi/gain.json", "results/report/tuning.html")


def write(folder, trials):
    tune = {"scvi": {"space": SPACE, "trials": trials, "sampler": "sobol"}}
    rows = [{"dataset": "kang", "path": "kang.h5ad"}]
    evaluation = {"folds": 3, "max_epochs": 25}
    write_sheets(
        folder, rows, [], models=MODELS, evaluation=evaluation, label_key="cell_type", batch_key="batch", tune=tune
    )
    (folder / "queries.tsv").write_text("query\tpath\n")


def run(folder, *arguments):
    return snakemake(folder, "--cores", "2", *arguments, "--", *TARGETS)


def sums(folder):
    files = [*folder.glob("results/*/models/scvi/model.pt"), *folder.glob("results/evaluation/*/models/scvi/model.pt")]
    return {path: (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest()) for path in files}


@pytest.fixture(scope="module")
def folder(real, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuning")
    ad.read_h5ad(real("kang_ctrl_8donors_1287g.h5ad"))[::8].copy().write_h5ad(folder / "kang.h5ad")
    write(folder, 4)
    run(folder)
    return folder


def test_sound_settings_win_and_planted_bad_ones_never_do(folder):
    best = json.loads((folder / "results/tuning/scvi/best.json").read_text())
    trials = pd.read_csv(folder / "results/tuning/scvi/trials.csv").set_index("trial")
    assert best["settings"]["train.max_epochs"] >= 20
    assert list(trials.index[trials["chosen"]]) == [best["trial"]]
    bad = trials[trials["train.max_epochs"] <= 2]
    assert sorted(bad["train.max_epochs"]) == [1, 2]
    assert (bad["macro_f1"] < trials.loc[best["trial"], "macro_f1"]).all()
    assert trials.loc[best["trial"], "gain_low"] > 0


def test_models_are_trained_with_the_chosen_settings(folder):
    best = json.loads((folder / "results/tuning/scvi/best.json").read_text())
    for place in ("reference", "evaluation/fold_3"):
        model = json.loads((folder / f"results/{place}/models/scvi/model.json").read_text())
        assert model["settings"]["train"]["max_epochs"] == best["settings"]["train.max_epochs"]


def test_the_gain_is_that_of_batches_that_took_no_part(folder):
    found = json.loads((folder / "results/tuning/scvi/gain.json").read_text())
    split = json.loads((folder / "results/evaluation/tuning/fold.json").read_text())
    assert found["judged_on"] == split["set_aside"]
    assert not set(found["judged_on"]) & set(found["chosen_on"])
    counts = ad.read_h5ad(folder / "results/evaluation/tuning/counts.h5ad", backed="r")
    assert not set(counts.obs["batch"].astype(str)) & {*found["judged_on"], *found["chosen_on"]}
    scores = found["scores"]["macro_f1"]
    assert scores["low"] <= scores["gain"] <= scores["high"]
    assert scores["gain"] == pytest.approx(scores["tuned"] - scores["defaults"])
    page = (folder / "results/report/tuning.html").read_text()
    assert f"{scores['gain']:.4f}" in page


def test_a_further_trial_runs_alone_and_another_choice_trains_again(folder):
    before, best = sums(folder), (folder / "results/tuning/scvi/best.json").read_bytes()
    assert before
    write(folder, 5)
    jobs = planned(run(folder, "--dry-run"))
    assert (jobs["run_trial"], jobs.get("train_reference", 0), jobs.get("map_query", 0)) == (1, 0, 0)
    run(folder)
    assert len(pd.read_csv(folder / "results/tuning/scvi/trials.csv")) == 5
    if (folder / "results/tuning/scvi/best.json").read_bytes() == best:
        assert sums(folder) == before
    assert planned(run(folder, "--dry-run")) == {}
    (folder / "results/tuning/scvi/best.json").write_text('{"trial": 9, "settings": {"train.max_epochs": 9}}\n')
    # The reference, and the fold that judges.
    assert planned(run(folder, "--dry-run"))["train_reference"] == 2


def test_a_trial_knows_the_systems_of_its_datasets(tmp_path):
    systems = {"a": "human", "b": "mouse"}
    rows = [{"dataset": name, "path": f"{name}.h5ad", "system": system} for name, system in systems.items()]
    for i, name in enumerate(systems):
        small_counts(seed=i).write_h5ad(tmp_path / f"{name}.h5ad")
    model = {"type": "sysvi", "train": {"max_epochs": 1}, "surgery": {"max_epochs": 1}}
    tune = {"both": {"space": {"model.n_latent": [5, 10]}, "trials": 2}}
    evaluation = {"folds": 2, "unit": "batch", "max_epochs": 1}
    settings = {"genes": {"n_top": 50}, "qc": {"min_genes": 1, "min_batch_cells": 1}}
    write_sheets(tmp_path, rows, [], models={"both": model}, tune=tune, evaluation=evaluation, **settings)
    (tmp_path / "queries.tsv").write_text("query\tpath\n")
    trial = "results/tuning/both/trials/0/trial.json"
    snakemake(tmp_path, "--cores", "2", "--", trial)
    found = json.loads((tmp_path / trial).read_text())
    assert (found["status"], found["settings"]["systems"]) == ("done", systems)
