"""Groups of a query's novel cells, and what is said of each."""

import runpy
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from conftest import REPO, NamedPaths, sheet_row, small_counts
from refatlas.annotate.novel_groups import COLUMNS, LEAST_CELLS, describe_groups, group_novel_cells
from refatlas.io.atomic import write_json
from refatlas.io.raw_counts import open_counts
from refatlas.prepare.cell_quality import scan_file


def query(sizes: list[int], n_known: int = 100) -> tuple[pd.DataFrame, pd.Series]:
    """Return a latent space and which cells are novel: groups of these sizes, and known cells."""
    random = np.random.default_rng(0)
    centers = np.repeat(np.arange(1, len(sizes) + 1), sizes) * 20.0
    places = np.concatenate([centers, np.zeros(n_known)])[:, None] + random.normal(0, 1, (sum(sizes) + n_known, 4))
    index = pd.Index([f"q:c{i}" for i in range(len(places))], name="cell")
    return pd.DataFrame(places.astype(np.float32), index=index), pd.Series(np.arange(len(places)) < sum(sizes), index)


def test_novel_cells_that_lie_together_are_a_group():
    latent, novel = query([60, 40])
    groups = group_novel_cells(latent, novel, k=15, seed=0)
    assert groups.value_counts().to_dict() == {"1": 60, "2": 40}
    assert groups.index.isin(novel.index[novel]).all()


@pytest.mark.parametrize("n_cells", [100, 300, 1000])
def test_novel_cells_of_one_population_are_one_group(n_cells):
    """Leiden divides a plane of cells at any of these resolutions, each time elsewhere."""
    index = pd.Index([f"q:c{i}" for i in range(n_cells)], name="cell")
    places = np.random.default_rng(n_cells).normal(0, 1, (n_cells, 2)).astype(np.float32)
    groups = group_novel_cells(pd.DataFrame(places, index=index), pd.Series(True, index), 15, 0)
    assert groups.value_counts().to_dict() == {"1": n_cells}


def test_large_populations_that_lie_apart_are_found():
    """At 0.1 and 0.25, each of the two would be divided, and no split would be stable."""
    random = np.random.default_rng(0)
    places = np.concatenate([random.normal(0, 1, (1000, 2)), random.normal(0, 1, (300, 2)) + 12]).astype(np.float32)
    index = pd.Index([f"q:c{i}" for i in range(len(places))], name="cell")
    groups = group_novel_cells(pd.DataFrame(places, index=index), pd.Series(True, index), 15, 0)
    assert groups.value_counts().to_dict() == {"1": 1000, "2": 300}


def test_without_enough_novel_cells_there_is_no_group():
    latent, novel = query([LEAST_CELLS - 1])
    assert group_novel_cells(latent, novel, 15, 0).empty
    assert group_novel_cells(latent, novel & False, 15, 0).empty


def test_groups_are_described():
    index = pd.Index([f"q:c{i}" for i in range(6)])
    cells = pd.DataFrame({"batch": ["b1", "b1", "b2", "b1", "b1", "b1"], "total_counts": [10, 20, 30, 5, 5, 5]}, index)
    delivered = pd.DataFrame({"label": ["T", "T", "B", "B", "B", "B"], "novelty": [0.9, 0.95, 1, 0, 0, 0]}, index)
    groups = pd.Series(["1", "1", "1"], index[:3], name="group")
    top = pd.DataFrame({"group": ["1", "1"], "symbol": ["KIT", "TPSAB1"]})
    proposals = pd.DataFrame({"suggestion": ["mast cell"], "sure": ["high"], "evidence": ["markers"]}, index=["1"])
    row = describe_groups(groups, cells, delivered, top, proposals).iloc[0]
    assert (row["n_cells"], row["share_of_query"], row["n_batches"], row["top_batch"]) == (3, 0.5, 2, "b1")
    assert (row["label"], row["markers"], row["suggestion"]) == ("T", "KIT, TPSAB1", "mast cell")
    assert row["label_share"] == pytest.approx(2 / 3)
    assert row["counts_beside_query"] == pytest.approx(20 / 7.5)
    none = describe_groups(groups.iloc[:0], cells, delivered, top, proposals)
    assert list(none.columns) == COLUMNS
    assert none.empty


@pytest.fixture
def job(tmp_path, config, monkeypatch):
    """A function that runs the script for a query with Ensembl ids, whose first 30 cells lie together, and returns its
    groups.
    """
    monkeypatch.chdir(tmp_path)
    data = small_counts(100)
    counts = data.X.toarray()
    counts[:30, 0] += 50
    data.X = sparse.csr_matrix(counts)
    data.var_names = [f"ENSG{i:011d}" for i in range(data.n_vars)]
    data.write_h5ad("q.h5ad")
    scan = scan_file(open_counts("q.h5ad"), "q", sheet_row("q.h5ad"), config["qc"], [])
    places = np.where(np.arange(100) < 30, 30.0, 0.0)[:, None] + np.random.default_rng(0).normal(size=(100, 3))
    symbols = pd.DataFrame({"gene_id": data.var_names, "symbol": [f"G{i}" for i in range(data.n_vars)]}, dtype=object)
    tables = {
        "latent": pd.DataFrame(places, index=scan.cells.index),
        "cells": scan.cells.assign(keep=True),
        "genes": scan.genes,
        "reference_genes": symbols.set_index(pd.Index(data.var_names, name="gene")),
    }
    for name, table in tables.items():
        table.to_parquet(f"{name}.parquet")
    write_json({"files": {}}, "check.json")

    def run(n_novel: int, markers: str) -> pd.DataFrame:
        (tmp_path / "markers.csv").write_text(markers)
        delivered = pd.DataFrame({"label": "T", "novelty": 0.5, "set": [[]] * 100}, index=scan.cells.index)
        delivered.assign(novel=np.arange(100) < n_novel).to_parquet("delivered.parquet")
        names = [*tables, "delivered"]
        found = {name: f"{name}.csv" for name in ("groups", "markers")}
        script = runpy.run_path(str(REPO / "workflow/scripts/group_novel.py"))
        settings = {"markers": "markers.csv", "tissues": []}
        script["main"](
            SimpleNamespace(
                input=NamedPaths(check="check.json", **{name: f"{name}.parquet" for name in names}),
                output=NamedPaths(cells="novel_cells.csv", dot_plot="dots.png", **found),
                params=SimpleNamespace(row=sheet_row("q.h5ad"), suggestions=settings, k=15, seed=0),
                threads=1,
                resources=SimpleNamespace(mem_mb=2000),
            )
        )
        return pd.read_csv("groups.csv", keep_default_na=False)

    return run


def test_symbols_of_marker_genes_are_found_in_a_query_with_ensembl_ids(job):
    (group,) = job(30, "label,gene\nmast cell,G0\n").to_dict("records")
    assert (group["n_cells"], group["suggestion"]) == (30, "mast cell")
    assert group["markers"].split(", ")[0] == "G0"


@pytest.mark.parametrize("n_novel", [0, 30])
def test_marker_genes_that_the_query_lacks_stop_nothing(job, n_novel):
    assert list(job(n_novel, "label,gene\nmast cell,KIT\n")["suggestion"]) == [""] * (n_novel // 30)
