"""Doublets are searched for within batches, in few passes over the file, whatever the order of its cells."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from refatlas.io.raw_counts import open_counts
from refatlas.prepare import doublets
from refatlas.prepare.cell_quality import Scan

SIZES = {"a": 150, "b": 50, "c": 120, "d": 130}


def counts_of(n_cells: int, seed: int) -> np.ndarray:
    """Return counts of two types, of which the last ten cells are sums of both."""
    random = np.random.default_rng(seed)
    means = random.gamma(0.3, 2, (2, 200))
    x = random.poisson(means[np.arange(n_cells) % 2])
    x[-10:] = x[:10] + x[1:11]
    return x


@pytest.fixture
def cells():
    """Counts of four batches in a row, and the batch of each cell."""
    x = np.vstack([counts_of(n, seed) for seed, n in enumerate(SIZES.values())])
    return x, np.repeat(list(SIZES), list(SIZES.values()))


def searched(path, x, batches, keep=None) -> tuple[pd.DataFrame, int]:
    """Return the cells after the search, and the number of passes over the file."""
    names = [f"c{i}" for i in range(len(x))]
    data = ad.AnnData(sparse.csr_matrix(x, dtype=np.float32), obs=pd.DataFrame(index=names))
    data.write_h5ad(path)
    keep = np.ones(len(x), dtype=bool) if keep is None else keep
    table = pd.DataFrame({"batch": batches, "keep": keep, "reason": np.where(keep, "", "few genes")}, index=names)
    found = Scan(cells=table, genes=pd.DataFrame(index=data.var_names), summary={})
    file, read = open_counts(str(path)), []
    blocks = file.blocks
    file.blocks = lambda: read.append(1) or blocks(2_000)
    doublets.drop_doublets(found, file, 0)
    assert found.summary["n_kept"] == int(table["keep"].sum())
    return found.cells, len(read)


def test_doublets_are_found_within_batches_in_one_pass(cells, tmp_path, capsys):
    x, batches = cells
    found, n_passes = searched(tmp_path / "all.h5ad", x, batches)
    assert n_passes == 1
    assert found["reason"].value_counts()["doublet"] > 10
    assert set(found.loc[batches == "b", "reason"]) == {""}
    assert "batch b has only 50 cells; not searched" in capsys.readouterr().out
    alone, _ = searched(tmp_path / "c.h5ad", x[batches == "c"], batches[batches == "c"])
    assert list(found.loc[batches == "c", "keep"]) == list(alone["keep"])


def test_cells_of_a_batch_are_found_in_their_order_wherever_they_lie(cells, tmp_path, monkeypatch):
    x, batches = cells
    monkeypatch.setattr(doublets, "HELD_CELLS", 250)
    monkeypatch.setattr(doublets, "is_doublet", lambda counts, seed: counts.sum(axis=1).A1 % 3 == 0)
    keep = np.arange(len(x)) % 9 > 0
    order = np.argsort(np.arange(len(x)) % 7, kind="stable")
    found, n_passes = searched(tmp_path / "mixed.h5ad", x[order], batches[order], keep[order])
    assert n_passes == 2
    marked = (x.sum(axis=1) % 3 == 0) & (batches != "b") & keep
    expected = np.where(keep, np.where(marked, "doublet", ""), "few genes")
    assert list(found["reason"]) == list(expected[order])


def test_planted_doublets_of_a_large_real_batch_have_the_highest_scores(real):
    """Of more cells than scanpy compares exactly. How many are called doublets is up to scrublet's own threshold."""
    import scanpy as sc
    from sklearn.metrics import roc_auc_score

    data = ad.read_h5ad(real("kang_ctrl_8donors_1287g.h5ad"))
    x = sparse.csr_matrix(data[(data.obs["batch"].astype(str) == "1015").to_numpy()].X, dtype=np.float32)
    first, second = np.random.default_rng(0).permutation(x.shape[0])[:300].reshape(2, 150)
    cells = ad.AnnData(sparse.vstack([x[:1350], x[first] + x[second]], format="csr"))
    with doublets.neighbors_as_matrix():
        sc.pp.scrublet(cells, random_state=0, n_prin_comps=30)
    planted = np.arange(cells.n_obs) >= 1350
    assert roc_auc_score(planted, cells.obs["doublet_score"]) > 0.75


def test_few_cells_are_held_at_a_time():
    in_a_row = np.repeat([0, 1, 2, -1], 10)
    assert doublets.passes(in_a_row, 10) == [[0, 1, 2]]
    mixed = np.tile([0, 1, 2, -1], 10)
    assert doublets.passes(mixed, 20) == [[0, 1], [2]]
    assert doublets.passes(mixed, 5) == [[0], [1], [2]]
    assert doublets.passes(np.array([-1, -1]), 5) == []
