"""Selected genes are those of scanpy on real data; small batches and odd genes are handled."""

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc

from conftest import sheet_row, small_counts
from refatlas.errors import InputError
from refatlas.io.raw_counts import open_counts
from refatlas.prepare import gene_selection, variable_genes
from refatlas.prepare.cell_quality import scan_file


def select(config, paths, **settings):
    rows = [sheet_row(path) for path in paths]
    scans = [scan_file(open_counts(r["path"]), f"d{i}", r, config["qc"], []) for i, r in enumerate(rows)]
    for found in scans:
        found.cells["keep"] = True
    return gene_selection.select_genes(
        rows, [s.cells for s in scans], [s.genes for s in scans], {**config["genes"], **settings}
    )


def by_scanpy(data, n_top, span):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sc.pp.highly_variable_genes(data, n_top_genes=n_top, flavor="seurat_v3", batch_key="batch", span=span)
    return data.var


@pytest.mark.parametrize(
    ("name", "n_top"),
    [
        ("kang_ctrl_8donors_1287g.h5ad", 300),
        ("kang_ctrl_8donors_1287g.h5ad", 1000),
        ("kang_ctrl_stim_1975c_6998g.h5ad", 2000),
    ],
)
def test_selection_equals_scanpys_on_real_data(config, real, name, n_top):
    genes = select(config, [real(name)], n_top=n_top)
    expected = by_scanpy(ad.read_h5ad(real(name)), n_top, 0.3)
    assert np.array_equal(genes["selected"], expected["highly_variable"])
    assert genes["normalized_variance"].to_numpy() == pytest.approx(expected["variances_norm"].to_numpy(), rel=1e-6)
    assert genes["rank"].to_numpy() == pytest.approx(expected["highly_variable_rank"].to_numpy(), nan_ok=True)


def test_selection_over_files_equals_scanpys_on_their_concatenation(config, real, tmp_path):
    data = ad.read_h5ad(real("kang_ctrl_8donors_1287g.h5ad"))
    data.obs = data.obs[["batch", "cell_type"]].astype(str)
    parts = [
        data[data.obs["batch"].isin(["101", "1015"])].copy(),
        data[data.obs["batch"] == "1488"].copy()[:, ::-1].copy(),
    ]
    parts[1] = parts[1][:, 50:].copy()
    for i, part in enumerate(parts):
        part.write_h5ad(tmp_path / f"{i}.h5ad")
    genes = select(config, [tmp_path / "0.h5ad", tmp_path / "1.h5ad"], n_top=400)
    expected = by_scanpy(ad.concat(parts, join="inner"), 400, 0.3)
    assert set(genes["symbol"][genes["selected"]]) == set(expected.index[expected["highly_variable"]])


def test_tiny_batches_are_left_out_with_a_warning(config, tmp_path, capsys):
    counts = small_counts(n_cells=400, n_genes=200)
    counts.obs["batch"] = ["one"] + ["few"] * 7 + ["many"] * 392
    counts.write_h5ad(tmp_path / "a.h5ad")
    genes = select(config, [tmp_path / "a.h5ad"], n_top=50)
    assert genes["selected"].sum() == 50
    assert "batch d0:one has 1 cells" in capsys.readouterr().out


def test_only_tiny_batches_count_as_one(config, tmp_path):
    counts = small_counts(n_cells=60, n_genes=200)
    counts.obs["batch"] = np.arange(60).astype(str)
    counts.write_h5ad(tmp_path / "a.h5ad")
    assert select(config, [tmp_path / "a.h5ad"], n_top=50)["selected"].sum() == 50


def test_included_genes_come_in_and_excluded_stay_out(config, tmp_path):
    small_counts(n_cells=300, n_genes=200).write_h5ad(tmp_path / "a.h5ad")
    free = select(config, [tmp_path / "a.h5ad"], n_top=50)
    last, first = free["rank"].isna().idxmax(), free["rank"].idxmin()
    genes = select(config, [tmp_path / "a.h5ad"], n_top=50, include=[last], exclude=[first])
    assert genes.loc[last, "reason"] == "included"
    assert not genes.loc[first, "selected"]
    assert genes["selected"].sum() == 50
    with pytest.raises(InputError, match="include: NOGENE not found"):
        select(config, [tmp_path / "a.h5ad"], include=["NOGENE"])


def test_datasets_without_a_common_gene_are_refused(config, tmp_path):
    for i in range(2):
        counts = small_counts()
        counts.var_names = [f"file{i}_{name}" for name in counts.var_names]
        counts.write_h5ad(tmp_path / f"{i}.h5ad")
    with pytest.raises(InputError, match="no gene is measured in 100% of the 2 datasets"):
        select(config, [tmp_path / "0.h5ad", tmp_path / "1.h5ad"])


def test_genes_of_some_datasets_are_taken_where_the_config_allows(config, tmp_path):
    counts = small_counts(n_cells=200, n_genes=120)
    counts.write_h5ad(tmp_path / "0.h5ad")
    counts[:, :100].copy().write_h5ad(tmp_path / "1.h5ad")
    assert select(config, [tmp_path / "0.h5ad", tmp_path / "1.h5ad"], n_top=1000)["selected"].sum() == 100
    assert (
        select(config, [tmp_path / "0.h5ad", tmp_path / "1.h5ad"], n_top=1000, min_dataset_share=0.5)["selected"].sum()
        == 120
    )


def test_pooled_moments_are_those_of_all_cells():
    x = np.random.default_rng(0).poisson(3, (30, 4)).astype(float)
    parts = [x[:10], x[10:]]
    mean, variance = (np.stack([f(part) for part in parts]) for f in (lambda p: p.mean(0), lambda p: p.var(0, ddof=1)))
    pooled = variable_genes.pool_moments(mean, variance, np.array([10, 20]))
    assert isinstance(pooled, pd.DataFrame)
    assert pooled["mean"].to_numpy() == pytest.approx(x.mean(0))
    assert pooled["variance"].to_numpy() == pytest.approx(x.var(0, ddof=1))


def test_included_genes_that_datasets_lack_are_named_with_these():
    genes = pd.DataFrame({"symbol": ["A", None, "C"], "reason": ["included"] * 2 + ["variable"]}, index=["a", "b", "c"])
    found = gene_selection.missing_lines(genes, ["/data/x.h5ad", "/data/y.h5ad"], [np.array([1, 0]), np.array([1, -1])])
    assert len(found) == 1
    assert "genes.include: A is in 1 of 2 datasets; it is zero in y.h5ad" in found[0]
