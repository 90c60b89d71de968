"""Composition and flags of clusters, on tables made by hand."""

import numpy as np
import pandas as pd
import pytest

from refatlas.annotate.cluster_summary import CELL_CYCLE, summarize_clusters

N_GENES = 200
PROGRAM = 20


def profiles(n_clusters: int) -> np.ndarray:
    """Return mean log expression, clusters × genes: a common background, and a program of each cluster's own."""
    random = np.random.default_rng(0)
    means = np.tile(random.uniform(0.5, 1.5, N_GENES), (n_clusters, 1))
    means[:, : n_clusters * PROGRAM] = 0.05
    for cluster in range(n_clusters):
        means[cluster, cluster * PROGRAM : (cluster + 1) * PROGRAM] = 2.0
    return means


def marker_table(means: np.ndarray, symbols: list[str] | None = None) -> pd.DataFrame:
    """Return markers.parquet of these profiles."""
    symbols = symbols or [f"G{i}" for i in range(N_GENES)]
    rows = []
    for cluster, own in enumerate(means):
        others = np.delete(means, cluster, axis=0).mean(axis=0)
        fold = (own - others) / np.log(2)
        rows.append(
            pd.DataFrame(
                {
                    "grouping": "1",
                    "group": str(cluster),
                    "gene": symbols,
                    "symbol": symbols,
                    "mean_in": own,
                    "share_in": np.clip(own / 2, 0, 1),
                    "batch_log2_fold_change": fold,
                    "log2_fold_change": fold,
                    "batch_score": 10 * fold,
                    "score": 10 * fold,
                }
            )
        )
    return pd.concat(rows, ignore_index=True)


def cells_of(sizes: list[int], counts: list[float], batches=None, mito=None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return clusters and cells of these sizes and depths, in two batches alternately unless said otherwise."""
    codes = np.repeat(np.arange(len(sizes)), sizes)
    index = pd.Index([f"d:c{i}" for i in range(len(codes))], name="cell")
    batch = np.where(np.arange(len(codes)) % 2, "d:b1", "d:b2") if batches is None else np.repeat(batches, sizes)
    cells = pd.DataFrame({"batch": batch, "total_counts": np.repeat(counts, sizes).astype(float)}, index=index)
    cells["n_genes"] = cells["total_counts"] / 2
    cells["mito_share"] = np.repeat(mito or [0.05] * len(sizes), sizes)
    return pd.DataFrame({"1": codes.astype(np.int32)}, index=index), cells


def flags(*arguments) -> list[str]:
    return list(summarize_clusters(*arguments)["flags"])


def test_clean_clusters_have_no_flag_and_the_right_composition():
    table = summarize_clusters(*cells_of([100, 60, 40], [1000, 1200, 900]), marker_table(profiles(3)))
    assert list(table["flags"]) == ["", "", ""]
    assert list(table["n_cells"]) == [100, 60, 40]
    assert list(table["n_batches"]) == [2, 2, 2]
    assert list(table["median_counts"]) == [1000, 1200, 900]
    assert table["top_batch_share"][0] == pytest.approx(0.5)


def test_a_cluster_of_one_batch():
    batches = np.array(["d:b1", "d:b2", "d:b3"])
    clusters, cells = cells_of([100, 60, 40], [1000] * 3)
    cells.loc[cells.index[160:], "batch"] = batches[2]
    assert flags(clusters, cells, marker_table(profiles(3))) == ["", "", "one batch"]


def test_an_atlas_of_one_batch_has_no_such_flag():
    assert flags(*cells_of([50, 40], [1000] * 2, batches=["d:b", "d:b"]), marker_table(profiles(2))) == ["", ""]


def test_few_counts_alone_are_no_fault_of_a_type_with_genes_of_its_own():
    assert flags(*cells_of([100, 60, 40], [1000, 1000, 200]), marker_table(profiles(3))) == ["", "", ""]


def test_low_quality():
    means = profiles(4)
    means[3] = np.random.default_rng(1).permutation(means[0]) * 0.2
    found = flags(*cells_of([100, 80, 60, 40], [1000, 1000, 1000, 200]), marker_table(means))
    assert found == ["", "", "", "low quality"]
    mito = flags(*cells_of([100, 80, 60], [1000] * 3, mito=[0.05, 0.06, 0.4]), marker_table(profiles(3)))
    assert mito == ["", "", "low quality"]


def test_ambient_rna():
    means = profiles(4)
    means[3] = np.average(means[:3], axis=0, weights=[100, 80, 60])
    found = flags(*cells_of([100, 80, 60, 40], [1000, 1000, 1000, 700]), marker_table(means))
    assert found == ["", "", "", "ambient RNA"]


def test_doublets():
    means = profiles(4)
    means[3] = np.log1p((np.expm1(means[0]) + np.expm1(means[1])) / 2)
    table = summarize_clusters(*cells_of([100, 80, 60, 20], [1000, 1100, 1000, 1800]), marker_table(means))
    assert list(table["flags"]) == ["", "", "", "doublets"]
    assert "clusters 0 and 1" in table["flag_reasons"][3]
    # Fewer counts than its sources: a type in between.
    assert flags(*cells_of([100, 80, 60, 20], [1000, 1100, 1000, 900]), marker_table(means))[3] == ""


def test_cell_cycle():
    genes = pd.read_csv(CELL_CYCLE, sep="\t", comment="#")["gene"].tolist()
    symbols = [f"G{i}" for i in range(N_GENES)]
    symbols[2 * PROGRAM : 3 * PROGRAM] = genes[:PROGRAM]
    assert flags(*cells_of([100, 60, 40], [1000] * 3), marker_table(profiles(3), symbols)) == ["", "", "cell cycle"]
