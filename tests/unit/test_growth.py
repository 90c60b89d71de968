"""An atlas that queries have joined: its tables, and the sample of counts that later queries are matched with."""

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from conftest import small_counts
from refatlas.bundle.content import grown_manifest
from refatlas.bundle.facts import cells_facts
from refatlas.bundle.growth import QueryFiles, grow
from refatlas.evaluate.reference_sample import write_sample
from refatlas.io.model_counts import read_counts
from refatlas.transfer import query_match
from refatlas.transfer.recorded_rows import DRAWS
from refatlas.transfer.reference_index import ReferenceIndex

GROWN = "reference/grown_sample.h5ad"


def counts_of(name: str, n_cells: int, seed: int, n_missing: int = 0) -> ad.AnnData:
    data = small_counts(n_cells=n_cells, seed=seed)
    measured = np.arange(data.n_vars) >= n_missing
    obs = pd.DataFrame({"batch": name + ":" + data.obs["batch"], "label": data.obs["cell_type"]})
    return ad.AnnData(data.X, obs=obs.set_axis(name + ":" + data.obs_names), var=data.var.assign(measured=measured))


def cells_of(counts: ad.AnnData) -> pd.DataFrame:
    table = counts.obs.assign(barcode=[name.split(":")[1] for name in counts.obs_names], keep=True)
    return table.rename_axis("cell")


def joined_by_query(tmp_path, monkeypatch, simulated: bool, n_missing: int = 0, unlabelled: bool = False):
    """Return the files of an atlas of 60 cells, those that 200 cells of a query change, and the query's counts.

    Args:
        unlabelled: the atlas' first 20 cells are of a dataset without labels, whose table has no column of them.
    """
    monkeypatch.setattr(query_match, "MAX_CELLS", 100)
    reference, query = counts_of("a", 60, 0), counts_of("q", 200, 1, n_missing)
    if unlabelled:
        reference.obs.loc[reference.obs_names[:20], "label"] = None
    for name, data in (("a", reference), ("q", query)):
        data.write_h5ad(tmp_path / f"{name}.h5ad")
        cells_of(data).to_parquet(tmp_path / f"{name}_cells.parquet")
        spaces = pd.DataFrame(np.random.default_rng(0).normal(size=(data.n_obs, 2)), index=data.obs_names)
        spaces.set_axis(["x", "y"], axis=1).to_parquet(tmp_path / f"{name}_space.parquet")
    write_sample(str(tmp_path / "a.h5ad"), str(tmp_path / "sample.h5ad"), 0)
    files = {
        "reference/datasets/a/cells.parquet": "a_cells.parquet",
        "reference/models/linear/latent.parquet": "a_space.parquet",
        "reference/models/linear/umap.parquet": "a_space.parquet",
        "reference/sample.h5ad": "sample.h5ad",
    }
    files = {name: str(tmp_path / path) for name, path in files.items()}
    if unlabelled:
        cells = cells_of(reference)
        cells.iloc[20:].to_parquet(files["reference/datasets/a/cells.parquet"])
        files["reference/datasets/u/cells.parquet"] = str(tmp_path / "u_cells.parquet")
        cells.iloc[:20].drop(columns="label").to_parquet(tmp_path / "u_cells.parquet")
    (tmp_path / "check.json").write_text('{"path": "/home/me/q.h5ad", "files": {}, "checksums": {}}')
    space = {"linear": str(tmp_path / "q_space.parquet")}
    paths = (str(tmp_path / name) for name in ("q_cells.parquet", "q.h5ad", "check.json"))
    work = tmp_path / "work"
    work.mkdir()
    queries = {"q": QueryFiles(*paths, space, space)}
    found = grow(work, queries, files, "cells.parquet", "sample.h5ad", 0, simulated=simulated)
    return files, found, read_counts(queries["q"].counts)


@pytest.fixture(params=[False, True], ids=["sample", "simulated"])
def grown(tmp_path, monkeypatch, request):
    """Files of an atlas of 60 cells that 200 cells of a query have joined, 100 of which are drawn."""
    files, found, own = joined_by_query(tmp_path, monkeypatch, request.param)
    joined = read_counts(found[GROWN])
    joined = joined[joined.obs_names.isin(own.obs_names)]
    same = (joined.X != own[joined.obs_names].X).nnz == 0
    assert same != request.param
    return files, found


def test_the_sample_keeps_its_cells_and_has_no_more_of_the_query_than_are_drawn(grown):
    files, changed = grown
    before = read_counts(files["reference/sample.h5ad"])
    after = read_counts(changed[GROWN])
    assert list(after.obs_names[: before.n_obs]) == list(before.obs_names)
    assert (after.X[: before.n_obs] != before.X).nnz == 0
    rows = after.uns[DRAWS]["matched"]
    assert len(rows) == 100
    assert set(range(before.n_obs, after.n_obs)) <= set(rows)
    assert after.obs["label"].iloc[rows].value_counts().to_dict() == {"A": 50, "B": 50}
    others = {name: draw for name, draw in before.uns[DRAWS].items() if name != "matched"}
    assert others
    assert all(np.array_equal(after.uns[DRAWS][name], draw) for name, draw in others.items())


@pytest.mark.parametrize(("counts", "then"), [("all", "sample"), ("sample", "sample"), ("simulated", "simulated")])
def test_the_next_version_says_what_it_holds_and_what_is_said_anew_of_it(grown, counts, then):
    files, changed = grown
    paths = {name: Path(path) for name, path in {**files, **changed}.items()}
    cells = {"q": changed["reference/datasets/q/cells.parquet"]}
    before = {"name": "small", "version": "1", "title": None, "authors": ["A"], "license": "CC0-1.0", "counts": counts}
    before |= {"datasets": {}, "facts": cells_facts(pd.read_parquet(files["reference/datasets/a/cells.parquet"]))}
    rows = {"q": {"label_keys": ["cell_type"], "protein_key": None}}
    found = grown_manifest(before, paths, cells, rows, "2", {"authors": ["A", "B"], "title": "Larger"})
    assert found["counts"] == then
    assert (found["authors"], found["title"], found["license"]) == (["A", "B"], "Larger", "CC0-1.0")
    assert (found["version"], found["name"]) == ("2", "small")
    assert grown_manifest(before, paths, cells, rows, "2", {})["authors"] == ["A"]


def test_cells_of_a_dataset_without_labels_stay_without_a_vote(tmp_path, monkeypatch):
    _, changed, _ = joined_by_query(tmp_path, monkeypatch, simulated=False, unlabelled=True)
    latent = changed["reference/models/linear/latent.parquet"]
    assert len(pd.read_parquet(latent)) == 260
    index = ReferenceIndex.load(changed["reference/models/linear/index.npz"], latent)
    assert len(index.codes) == 240


def test_spaces_and_cells_are_appended(grown):
    files, changed = grown
    name = "reference/models/linear/latent.parquet"
    before, after = pd.read_parquet(files[name]), pd.read_parquet(changed[name])
    assert len(after) == 260
    pd.testing.assert_frame_equal(after.iloc[:60], before)
    assert len(pd.read_parquet(changed["reference/datasets/q/cells.parquet"])) == 200
    assert "/home/me" not in Path(changed["reference/datasets/q/scan.json"]).read_text()


def test_no_query_is_matched_with_cells_whose_genes_were_not_all_measured(tmp_path, monkeypatch, capsys):
    files, changed, own = joined_by_query(tmp_path, monkeypatch, simulated=False, n_missing=3)
    before, after = (read_counts(found) for found in (files["reference/sample.h5ad"], changed[GROWN]))
    assert list(after.obs_names) == list(before.obs_names)
    assert list(after.uns[DRAWS]["matched"]) == list(before.uns[DRAWS]["matched"])
    assert f"q: it lacks 3 of the atlas' {own.n_vars} genes" in capsys.readouterr().out
    # They vote in the latent spaces nevertheless.
    assert len(pd.read_parquet(changed["reference/models/linear/latent.parquet"])) == 260
