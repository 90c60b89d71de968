"""Markers are scanpy's on the same cells, whatever the files, threads and memory."""

import runpy
import warnings
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse
from statsmodels.stats.multitest import multipletests

from conftest import REPO, NamedPaths, sheet_row, small_counts
from refatlas.annotate.gene_values import GeneValues, gene_ranges
from refatlas.annotate.marker_table import COLUMNS, report_markers, select_markers, two_sided
from refatlas.annotate.markers import MarkerDataset, find_markers, group_sizes, query_markers
from refatlas.errors import InputError
from refatlas.io.atomic import write_json
from refatlas.io.fingerprints import fingerprints
from refatlas.io.raw_counts import open_counts
from refatlas.prepare.cell_quality import scan_file
from refatlas.prepare.genes import merge_genes
from refatlas.report.marker_figures import plot_marker_dots, plot_marker_heat, shown_grouping


def scanned(config, path, name="d0") -> MarkerDataset:
    row = sheet_row(path)
    scan = scan_file(open_counts(row["path"]), name, row, config["qc"], [])
    return MarkerDataset(row, scan.cells.assign(keep=True), scan.genes)


def written(config, data, path, name="d0") -> MarkerDataset:
    data.write_h5ad(path)
    return scanned(config, path, name)


def markers_of(datasets, groups=None, **settings) -> pd.DataFrame:
    """Return the markers of the groups, or of the labels of the cells."""
    cells = pd.concat([dataset.cells for dataset in datasets])
    genes = merge_genes([dataset.genes for dataset in datasets])
    return find_markers(datasets, genes, cells[["label"]] if groups is None else groups, 2000, **settings)


def by_scanpy(data, key="cell_type") -> pd.DataFrame:
    """Return scanpy's statistics by group and symbol."""
    data = data.copy()
    data.obs[key] = data.obs[key].astype("category")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sc.pp.normalize_total(data, target_sum=1e4)
        sc.pp.log1p(data)
        sc.tl.rank_genes_groups(data, key, method="wilcoxon", tie_correct=True, pts=True)
    return sc.get.rank_genes_groups_df(data, None).set_index(["group", "names"])


def require_scanpys(found, expected):
    """Compare statistics, and the order of genes by score, with those of scanpy."""
    names = {
        "score": "scores",
        "p_value": "pvals",
        "log2_fold_change": "logfoldchanges",
        "share_in": "pct_nz_group",
        "share_out": "pct_nz_reference",
    }
    keys = pd.MultiIndex.from_frame(found[["group", "symbol"]].astype(str))
    expected = expected.loc[keys]
    for name, theirs in names.items():
        # Smaller p-values are not numbers of float32.
        floor = 1e-37 if name == "p_value" else 1e-6
        assert found[name].to_numpy() == pytest.approx(expected[theirs].to_numpy(), rel=1e-4, abs=floor), name
    assert found["score"].to_numpy() == pytest.approx(expected["scores"].to_numpy(), rel=1e-5, abs=1e-6)
    for group in found["group"].unique():
        order = np.argsort(-found.loc[found["group"] == group, "score"].to_numpy(), kind="stable")
        theirs = expected.loc[group, "scores"].to_numpy()[order]
        assert (np.diff(theirs) <= 1e-5 * np.abs(theirs[1:])).all()


@pytest.mark.parametrize("name", ["kang_ctrl_stim_1975c_6998g.h5ad", "pancreas_segerstolpe_lawlor_328c_1403g.h5ad"])
def test_statistics_are_those_of_scanpy_on_real_data(config, real, name):
    data = ad.read_h5ad(real(name))
    found = markers_of([scanned(config, real(name))], n_threads=2)
    require_scanpys(found, by_scanpy(data))
    detected = (data.X > 0).sum(axis=0).A1 > 0
    assert found["gene"].nunique() == detected.sum()
    assert len(found) == detected.sum() * data.obs["cell_type"].nunique()


def test_known_markers_of_blood_rank_high(config, real):
    known = {"CD4 T cells": ["CD3D"], "CD14+ Monocytes": ["CD14", "S100A8"], "B cells": ["CD79A"]}
    known |= {"NK cells": ["GNLY", "NKG7"], "FCGR3A+ Monocytes": ["FCGR3A", "MS4A7"], "CD8 T cells": ["CCL5"]}
    found = select_markers(markers_of([scanned(config, real("kang_ctrl_8donors_1287g.h5ad"))], n_threads=2))
    for label, genes in known.items():
        own = found[found["group"] == label].astype({"symbol": str}).set_index("symbol")
        assert (own.loc[genes, "rank"] <= 25).all()
        assert (own.loc[genes, "n_batches_up"] == 8).all()


@pytest.mark.parametrize(("memory_mb", "n_threads"), [(2000, 2), (0, 1), (0, 3)])
def test_memory_and_threads_do_not_change_a_bit(config, tmp_path, monkeypatch, memory_mb, n_threads):
    dataset = written(config, small_counts(300), tmp_path / "x.h5ad")
    expected = markers_of([dataset])
    # Room for about ten genes.
    monkeypatch.setattr("refatlas.annotate.markers.LEAST_VALUES_MB", 0.01)
    found = find_markers([dataset], merge_genes([dataset.genes]), dataset.cells[["label"]], memory_mb, n_threads)
    pd.testing.assert_frame_equal(found, expected, check_exact=True)


def test_ranges_of_genes_fit_in_memory():
    assert list(gene_ranges(np.array([100, 100, 0, 100, 900, 1]), 800 / 2**20)) == [(0, 3), (3, 4), (4, 5), (5, 6)]


def test_cells_without_a_group_and_dropped_cells_take_no_part(config, tmp_path):
    data = small_counts(200)
    dataset = written(config, data, tmp_path / "x.h5ad")
    random = np.random.default_rng(0)
    labels = pd.Series(random.choice(["a", "b", "c", None], 200), index=dataset.cells.index, name="label")
    keep = random.random(200) < 0.8
    dataset = dataset._replace(cells=dataset.cells.assign(keep=keep))
    found = markers_of([dataset], labels.to_frame())
    data.obs["label"] = labels.to_numpy()
    require_scanpys(found, by_scanpy(data[keep & labels.notna().to_numpy()], "label"))


def test_several_groupings_are_each_as_alone(config, tmp_path):
    dataset = written(config, small_counts(300), tmp_path / "x.h5ad")
    random = np.random.default_rng(0)
    fine = random.integers(0, 12, 300).astype(np.int32)
    groups = pd.DataFrame({"0.5": fine // 3, "2": fine, "some": np.where(fine > 5, "x", None)}, dataset.cells.index)
    groups.loc[groups.index[:50], "some"] = "y"
    found = markers_of([dataset], groups)
    for name in groups:
        alone, own = markers_of([dataset], groups[[name]]), found[found["grouping"] == name].reset_index(drop=True)
        assert own[["group", "gene"]].astype(str).equals(alone[["group", "gene"]].astype(str))
        assert own[COLUMNS[4:]].to_numpy() == pytest.approx(alone[COLUMNS[4:]].to_numpy(), rel=1e-5, nan_ok=True)
    assert list(found.loc[found["grouping"] == "2", "group"].unique()) == [str(i) for i in range(12)]


def test_cells_of_a_dataset_that_did_not_measure_a_gene_are_no_zeros(config, tmp_path):
    first, second = small_counts(100, seed=0), small_counts(80, seed=1)
    second = second[:, 10:].copy()
    datasets = [written(config, x, tmp_path / f"{i}.h5ad", f"d{i}") for i, x in enumerate((first, second))]
    found = markers_of(datasets)
    require_scanpys(found[found["symbol"].isin(first.var_names[:10])], by_scanpy(first))
    # Genes of both: scanpy on the cells of both files, normalised by all genes of their own.
    normalized = [sc.pp.normalize_total(x, target_sum=1e4, copy=True) for x in (first, second)]
    both = ad.concat(normalized, index_unique="-")
    sc.pp.log1p(both)
    sc.tl.rank_genes_groups(both, "cell_type", method="wilcoxon", tie_correct=True, pts=True)
    expected = sc.get.rank_genes_groups_df(both, None).set_index(["group", "names"])
    require_scanpys(found[found["symbol"].isin(both.var_names)], expected)


def test_two_columns_of_a_gene_are_summed(config, tmp_path):
    data = small_counts(120)
    twice = ad.AnnData(sparse.csr_matrix(np.hstack([np.ones((120, 1), dtype=np.float32), data.X.toarray()])), data.obs)
    twice.var_names = ["G0", *data.var_names]
    summed = data.copy()
    summed.X = sparse.csr_matrix(data.X.toarray() + (np.arange(80) == 0))
    found = markers_of([written(config, twice, tmp_path / "twice.h5ad")])
    pd.testing.assert_frame_equal(found, markers_of([written(config, summed, tmp_path / "summed.h5ad")]))


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.float64])
def test_counts_of_other_types_are_the_same_counts(config, tmp_path, dtype):
    data = small_counts(100)
    expected = markers_of([written(config, data, tmp_path / "float32.h5ad")])
    data.X = data.X.astype(dtype)
    pd.testing.assert_frame_equal(markers_of([written(config, data, tmp_path / "other.h5ad")]), expected)


def test_counts_that_do_not_fit_beside_their_cell_are_kept():
    # Of 2²² cells, 10 bits are left for the count.
    scales = np.ones(2**22, dtype=np.float32)
    values = GeneValues(1, 3, np.array([9, 3, 4]), scales)
    block = sparse.csr_matrix(np.array([[5, 2000, 0, 9], [1022, 1023, 5, 0], [0, 7, 0, 1024]], dtype=np.float32))
    with ThreadPoolExecutor(2) as pool:
        values.add(block, np.array([7, 9, 2**22 - 1]), np.array([1, 2, -1, 0]), pool, 2)
    large = values.large_counts()
    found, cells = values.sorted_values(2, large)
    assert found == pytest.approx(np.log1p([7, 1023, 2000]))
    assert cells.tolist() == [2**22 - 1, 9, 7]
    assert np.expm1(values.sorted_values(1, large)[0]) == pytest.approx([5, 1022])


def test_more_values_than_were_counted_are_refused():
    values = GeneValues(0, 1, np.array([1]), np.ones(2, dtype=np.float32))
    with ThreadPoolExecutor(1) as pool, pytest.raises(RuntimeError, match="did a file change"):
        values.add(sparse.csr_matrix(np.ones((2, 1))), np.arange(2), np.array([0]), pool, 1)


def test_stored_zeros_are_zeros(config, tmp_path):
    data = small_counts(100)
    expected = markers_of([written(config, data, tmp_path / "x.h5ad")])
    full = sparse.csr_matrix(np.ones(data.shape, dtype=np.float32))
    full.data[:] = data.X.toarray().ravel()
    data.X = full
    pd.testing.assert_frame_equal(markers_of([written(config, data, tmp_path / "zeros.h5ad")]), expected)


def test_rates_are_those_of_benjamini_and_hochberg_of_the_score_within_batches(config, tmp_path):
    found = markers_of([written(config, small_counts(200), tmp_path / "x.h5ad")])
    for _, part in found.groupby("group", observed=True):
        expected = multipletests(two_sided(part["batch_score"].to_numpy()), method="fdr_bh")[1]
        assert part["fdr"].to_numpy() == pytest.approx(expected, rel=1e-5)


def test_markers_are_the_best_genes_of_each_group():
    table = pd.DataFrame(
        {
            "grouping": pd.Categorical(["label"] * 6),
            "group": pd.Categorical(["a"] * 4 + ["b"] * 2),
            "gene": list("wxyzwx"),
            "fdr": [0.01, 0.04, 0.2, 0.01, np.nan, np.nan],
            "batch_score": [5, 9, 1, -5, np.nan, np.nan],
            "batch_log2_fold_change": [1, 2, 1, -1, np.nan, np.nan],
        }
    )
    assert select_markers(table)[["group", "gene", "rank"]].to_numpy().tolist() == [["a", "x", 1], ["a", "w", 2]]
    assert select_markers(table, 1)["gene"].tolist() == ["x"]


def test_a_group_without_a_suitable_batch_has_no_markers_and_is_named(config, tmp_path, capsys):
    data = small_counts(60)
    data.obs["cell_type"] = np.where(np.arange(60) < 3, "rare", data.obs["cell_type"])
    found = markers_of([written(config, data, tmp_path / "x.h5ad")])
    rare = found[found["group"] == "rare"]
    assert rare[["fdr", "batch_score", "batch_log2_fold_change"]].isna().to_numpy().all()
    assert rare["score"].notna().all()
    top = select_markers(found)
    assert "rare" not in set(top["group"])
    report_markers(found, top)
    assert "no batch has 5 cells of the group and of the rest: rare" in capsys.readouterr().out


def test_groups_of_a_query_are_compared_with_all_its_other_cells(config, tmp_path):
    data = small_counts(100)
    query = written(config, data, tmp_path / "q.h5ad", "q")
    groups = pd.Series(np.arange(30) % 2, index=query.cells.index[:30], name="novel")
    cells = query.cells.assign(keep=False)
    found = query_markers(query.row, cells, query.genes, groups, 2000)
    assert list(found["group"].cat.categories) == ["0", "1"]
    assert set(found["grouping"]) == {"novel"}
    data.obs["novel"] = [*(str(i % 2) for i in range(30)), *["other"] * 70]
    require_scanpys(found, by_scanpy(data, "novel"))


def test_a_query_without_groups_is_refused(config, tmp_path):
    query = written(config, small_counts(60), tmp_path / "q.h5ad", "q")
    with pytest.raises(InputError, match="none of its 60 cells has a group"):
        query_markers(query.row, query.cells, query.genes, pd.Series(dtype=object), 2000)


@pytest.mark.parametrize("index", [["other:cell1"], []])
def test_a_table_of_other_cells_is_refused(config, tmp_path, index):
    dataset = written(config, small_counts(60), tmp_path / "x.h5ad")
    with pytest.raises(InputError, match=r"no cell of the datasets has a group.*d0:cell0"):
        markers_of([dataset], pd.DataFrame({"0.5": [0] * len(index)}, index=pd.Index(index, name="cell")))


def test_a_grouping_without_groups_is_left_out(config, tmp_path):
    dataset = written(config, small_counts(60), tmp_path / "x.h5ad")
    found = markers_of([dataset], dataset.cells[["label"]].assign(label_2=None))
    assert list(found["grouping"].cat.categories) == ["label"]


@pytest.mark.parametrize("kind", ["clusters", "labels"])
def test_the_script_writes_tables_and_figures(config, tmp_path, kind):
    dataset = written(config, small_counts(120), tmp_path / "x.h5ad")
    inputs = {name: str(tmp_path / name) for name in ("cells:d0", "genes:d0", "scan:d0", "selected")}
    dataset.cells.to_parquet(inputs["cells:d0"])
    dataset.genes.to_parquet(inputs["genes:d0"])
    merge_genes([dataset.genes]).to_parquet(inputs["selected"])
    write_json({"files": fingerprints([tmp_path / "x.h5ad"])}, inputs["scan:d0"])
    if kind == "clusters":
        inputs |= {"groups": str(tmp_path / "clusters.parquet"), "stability": str(tmp_path / "stability.csv")}
        codes = (dataset.cells["label"] == "A").astype(np.int32)
        pd.DataFrame({"0.5": codes, "1": codes}).to_parquet(inputs["groups"])
        pd.DataFrame({"resolution": [0.5, 1], "suggested": [False, True]}).to_csv(inputs["stability"], index=False)
    else:
        inputs["labels:d0"] = inputs["cells:d0"]
    outputs = {"markers": "m.parquet", "top": "m.csv", "dot_plot": "dots.png", "heat_map": "heat.png"}
    job = SimpleNamespace(
        input=NamedPaths(**inputs),
        output=NamedPaths(**{name: str(tmp_path / file) for name, file in outputs.items()}),
        params=NamedPaths(rows={"d0": dataset.row}, **({} if kind == "clusters" else {"columns": ["label"]})),
        resources=SimpleNamespace(mem_mb=2000),
        threads=2,
    )
    runpy.run_path(str(REPO / "workflow/scripts/find_markers.py"))["main"](job)
    markers, top = pd.read_parquet(job.output.markers), pd.read_csv(job.output.top)
    assert list(markers) == COLUMNS
    assert list(top) == ["rank", *COLUMNS]
    assert list(markers["grouping"].unique()) == (["0.5", "1"] if kind == "clusters" else ["label"])
    assert markers["score"].dtype == np.float32
    assert all((tmp_path / outputs[name]).stat().st_size > 5000 for name in ("dot_plot", "heat_map"))


def test_the_figures_show_the_largest_groups_and_each_gene_once():
    groups = [f"$g{i}" for i in range(50)]
    names = [f"G{i}" for i in range(60)]
    table = pd.DataFrame({"group": np.repeat(groups, 60), "gene": names * 50, "symbol": names * 50})
    table = table.assign(grouping="label", share_in=0.5, mean_in=np.random.default_rng(0).random(3000))
    top = table.assign(rank=np.tile(np.arange(1, 61), 50), batch_score=1.0)
    sizes = pd.Series(np.arange(50) + 1, index=groups, name="label")
    for draw in (plot_marker_dots, plot_marker_heat):
        ax = draw(table, top, sizes).axes[0]
        assert [label.get_text() for label in ax.get_yticklabels()] == groups[10:]
        assert [label.get_text() for label in ax.get_xticklabels()] == ["G0", "G1", "G2"]
        note = draw(table, top[:0], sizes).axes[0]
        assert note.texts[0].get_text() == "label: no group has a marker"


def test_the_drawn_grouping_is_the_wanted_or_the_suggested_one(tmp_path):
    path = tmp_path / "stability.csv"
    pd.DataFrame({"resolution": [0.25, 1.0], "suggested": [False, True]}).to_csv(path, index=False)
    assert shown_grouping(["0.25", "1"], None, str(path)) == "1"
    assert shown_grouping(["0.25", "1"], "0.25", str(path)) == "0.25"
    assert shown_grouping(["label"], None, None) == "label"


def test_sizes_of_groups_are_of_kept_cells(config, tmp_path):
    dataset = written(config, small_counts(60), tmp_path / "x.h5ad")
    dataset = dataset._replace(cells=dataset.cells.assign(keep=np.arange(60) < 21))
    assert group_sizes(dataset.cells["label"], [dataset]).to_dict() == {"A": 11, "B": 10}
