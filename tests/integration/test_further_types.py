"""Types drvi, sysvi and peakvi through every rule, on small simulated counts whose features are named like peaks: two
datasets of two systems make the reference, and a query is of one of them.
"""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from bundle_runs import map_from_bundle

from conftest import planned, small_counts, snakemake, write_sheets

pytestmark = pytest.mark.slow
FEW = {"max_epochs": 3}
MODELS = {
    name: {"type": kind, "train": FEW, "surgery": FEW}
    for name, kind in {"split": "drvi", "across": "sysvi", "open": "peakvi"}.items()
}
CONFIG = {
    "models": MODELS,
    "genes": {"n_top": 60},
    "evaluation": {"folds": 0},
    "clusters": {"resolutions": []},
    "integration": {"max_cells": 100, "metrics": ["ilisi"]},
    "umap": {"n_epochs": 10},
    "differential": {
        "gene_sets": None,
        "contrasts": {
            name: {"condition": "half", "groups": ["even", "odd"], "sample": "part", "status": "any", "density": name}
            for name in MODELS
        },
    },
}
QUERY = {"query": "q", "path": "q.h5ad", "label_key": "cell_type", "system": "mouse", "features": "peaks"}


def rows() -> tuple[list[dict], list[dict]]:
    reference = [
        {"dataset": name, "path": f"{name}.h5ad", "system": system, "features": "peaks"}
        for name, system in (("h", "human"), ("m", "mouse"))
    ]
    return reference, [QUERY]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("further")
    for i, name in enumerate(("h", "m", "q")):
        # The same seed: the same genes make the two types.
        counts = small_counts(n_cells=150, seed=3)[i * 10 :].copy()
        part = np.arange(counts.n_obs) % 4
        counts.obs["part"], counts.obs["half"] = [f"p{i}" for i in part], np.where(part % 2, "odd", "even")
        counts.var_names = [f"chr1:{1000 * g}-{1000 * g + 500}" for g in range(counts.n_vars)]
        counts.write_h5ad(folder / f"{name}.h5ad")
    write_sheets(folder, *rows(), **CONFIG)
    densities = [f"results/differential/{name}/models/{name}/density.csv" for name in MODELS]
    snakemake(folder, "--cores", "2", "labels", "bundle", *densities)
    return folder


def test_every_type_gives_labels_and_surgery_is_described(folder):
    labels = pd.read_csv(folder / "results/queries/q/labels.csv")
    for model in MODELS:
        assert labels[f"{model}_confidence"].between(0, 1).all()
        facts = json.loads((folder / f"results/queries/q/models/{model}/mapping.json").read_text())
        assert facts["query_batches"] == ["q:b1", "q:b2"]
        assert facts["reference_batches"] == ["h:b1", "h:b2", "m:b1", "m:b2"]
        assert facts["mean_shift"] > 0
    described = json.loads((folder / "results/queries/q/models/across/model.json").read_text())
    assert described["settings"]["systems"] == {"q": "mouse"}


@pytest.mark.parametrize("model", MODELS)
def test_densities_of_samples_are_compared_across_reference_and_query(folder, model):
    home = folder / f"results/differential/{model}/models/{model}"
    cells, labels = pd.read_parquet(home / "density.parquet"), pd.read_csv(home / "density.csv")
    assert {name.split(":")[0] for name in cells.index} == {"h", "m", "q"}
    assert len(cells) == labels["n_cells"].sum() > 400
    # Two samples a group: three splits.
    assert (labels["p_value"].dropna() >= 1 / 3).all()
    notes = json.loads((home / "density.json").read_text())["notes"]
    assert any("cells of the reference and of queries are compared" in note for note in notes)
    assert "no label can be significant" in notes[-1]


def test_they_map_from_a_bundle_as_in_the_run_that_made_it(folder, tmp_path):
    shutil.copy(folder / "q.h5ad", tmp_path)
    map_from_bundle(tmp_path, folder / "results/bundle/atlas.tar", [QUERY], "labels")
    name = "results/queries/q/labels.csv"
    assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_one_more_query_maps_only_itself(folder):
    shutil.copy(folder / "q.h5ad", folder / "r.h5ad")
    reference, queries = rows()
    write_sheets(folder, reference, [*queries, {**QUERY, "query": "r", "path": "r.h5ad", "system": "human"}], **CONFIG)
    jobs = planned(snakemake(folder, "--dry-run", "labels"))
    write_sheets(folder, reference, queries, **CONFIG)
    assert jobs["map_query"] == len(MODELS) + 1
    assert "train_reference" not in jobs


def test_a_system_named_later_reads_no_file_again_and_trains_one_model(folder):
    reference, queries = rows()
    reference[0]["system"] = "man"
    write_sheets(folder, reference, queries, **CONFIG)
    jobs = planned(snakemake(folder, "--dry-run", "labels"))
    write_sheets(folder, *rows(), **CONFIG)
    assert (jobs["train_reference"], jobs["map_query"]) == (1, 1)
    assert not {"scan_dataset", "prepare_query", "build_reference"} & set(jobs)
