"""Rank sums of one gene, against scipy and by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import mannwhitneyu

from refatlas.annotate.cell_parts import split_cells
from refatlas.annotate.marker_table import two_sided
from refatlas.annotate.rank_sums import STATISTICS, compare_groups, rank_values


def statistics(values, groups, batches=None, measured=None):
    """Return the statistics of a gene by group.

    Args:
        values: of all cells, zeros included.
    """
    return shared_statistics(values, {"g": groups}, batches, measured)["g"]


def shared_statistics(values, groupings, batches=None, measured=None):
    values = np.asarray(values, dtype=np.float32)
    batches = np.zeros(len(values), dtype=int) if batches is None else np.asarray(batches)
    n_batches = batches.max() + 1
    measured = np.ones(n_batches, dtype=bool) if measured is None else np.asarray(measured)
    cells = np.argsort(values, kind="stable")
    cells = cells[values[cells] > 0].astype(np.uint32)
    codes, result = {name: np.asarray(groups) for name, groups in groupings.items()}, {}
    for parts, grouped in split_cells(codes, batches, n_batches):
        ranks = rank_values(values[cells], cells, parts, measured)
        for name, grouping in grouped.items():
            found = np.zeros((grouping.n_groups, len(STATISTICS)), dtype=np.float32)
            compare_groups(ranks, grouping, measured, found)
            result[name] = pd.DataFrame(found, columns=list(STATISTICS))
    return result


@pytest.mark.parametrize("share_of_zeros", [0, 0.5, 0.95])
def test_scores_are_those_of_mann_and_whitney_with_ties(share_of_zeros):
    random = np.random.default_rng(1)
    values = random.integers(1, 6, 200) * (random.random(200) >= share_of_zeros)
    groups = random.integers(0, 3, 200)
    found = statistics(values, groups)
    for group in range(3):
        test = mannwhitneyu(values[groups == group], values[groups != group], use_continuity=False, method="asymptotic")
        assert two_sided(found["score"].to_numpy())[group] == pytest.approx(test.pvalue, rel=1e-4)
        n, rest = (groups == group).sum(), (groups != group).sum()
        assert found["auc"][group] == pytest.approx(test.statistic / n / rest, rel=1e-5)
        assert np.sign(found["score"][group]) == np.sign(found["auc"][group] - 0.5)
        assert found["share_in"][group] == pytest.approx((values[groups == group] > 0).mean())
        assert found["share_out"][group] == pytest.approx((values[groups != group] > 0).mean())
        assert found["mean_out"][group] == pytest.approx(values[groups != group].mean())


def test_rank_sums_within_batches_are_combined_as_by_van_elteren():
    # Batch 0: ranks 6 to 10 of 10, W = 40, expected 27.5, variance 25 · 11 / 12.
    # Batch 1, of 11: five of eight threes at rank 7.5, W = 37.5, expected 30, variance 5 · 6 · 12 / 12, times
    # 1 - (8³ - 8 + 3³ - 3) / (11³ - 11) = 0.6 for the ties. Weights are 1 / 11 and 1 / 12.
    values = [6, 7, 8, 9, 10, 1, 2, 3, 4, 5] + [3, 3, 3, 3, 3, 1, 1, 1, 3, 3, 3]
    groups, batches = [0] * 5 + [1] * 5 + [0] * 5 + [1] * 6, [0] * 10 + [1] * 11
    found = statistics(values, groups, batches)
    expected = (12.5 / 11 + 7.5 / 12) / np.sqrt(25 * 11 / 12 / 11**2 + 0.6 * 30 / 12**2)
    assert found["batch_score"].to_numpy() == pytest.approx([expected, -expected], rel=1e-6)
    # The means of the group are 8 and 3; those of the rest are 3 and 2, weighted by the group's 5 and 5 cells.
    assert found["batch_log2_fold_change"][0] == pytest.approx(np.log2(np.expm1(5.5) / np.expm1(2.5)), rel=1e-6)
    assert found[["n_batches", "n_batches_up"]].to_numpy().tolist() == [[2, 2], [2, 0]]


def test_zeros_have_ranks_within_batches():
    # Ranks of the group: 8.5, 8.5, 10, and 4 for each of the two zeros, of seven.
    found = statistics([1, 1, 2, 0, 0, 0, 0, 0, 0, 0], [0] * 5 + [1] * 5)
    deviation, ties = 8.5 + 8.5 + 10 + 4 + 4 - 27.5, (7**3 - 7 + 2**3 - 2) / (10**3 - 10)
    assert found["batch_score"][0] == pytest.approx(deviation / np.sqrt((1 - ties) * 25 * 11 / 12), rel=1e-6)
    assert found["score"][0] == pytest.approx(found["batch_score"][0], rel=1e-6)


def test_a_difference_between_batches_is_no_marker():
    random = np.random.default_rng(0)
    batches = np.repeat([0, 1], 300)
    groups = (random.random(600) < np.where(batches == 0, 0.8, 0.1)).astype(int)
    found = statistics(random.random(600) + 3 * (batches == 0) + 1, groups, batches)
    assert found["score"][1] > 10
    assert abs(found["batch_score"][1]) < 3


def test_a_group_that_is_a_batch_has_no_score_within_batches():
    found = statistics(np.arange(20) + 1, [0] * 10 + [1] * 10, [0] * 10 + [1] * 10)
    assert found["score"][1] > 3
    assert found[["batch_score", "batch_log2_fold_change"]].isna().to_numpy().all()
    assert (found["n_batches"] == 0).all()


def test_a_batch_with_few_cells_of_a_group_takes_no_part():
    groups = np.array([0] * 4 + [1] * 6 + [0] * 5 + [1] * 5)
    found = statistics(np.arange(20), groups, np.repeat([0, 1], 10))
    assert found["n_batches"].tolist() == [1, 1]
    alone = statistics(np.arange(20)[10:], groups[10:])
    assert found["batch_score"].tolist() == pytest.approx(alone["batch_score"].tolist(), rel=1e-6)


def test_a_group_of_one_cell_is_tested_over_all_cells_alone():
    found = statistics([5, 1, 2, 3, 4, 0, 0], [0] + [1] * 6)
    assert found["score"][0] == pytest.approx(3 / np.sqrt(6 * 8 / 12 * (1 - 6 / (7**3 - 7))), rel=1e-6)
    assert found["auc"][0] == 1
    assert np.isnan(found["batch_score"][0])


def test_a_single_group_has_shares_and_no_test():
    found = statistics([0, 1, 2, 3], [0, 0, 0, 0])
    assert found.loc[0, ["share_in", "mean_in"]].tolist() == [0.75, 1.5]
    assert found.loc[0, ["score", "auc", "log2_fold_change", "share_out", "mean_out", "batch_score"]].isna().all()


@pytest.mark.parametrize("value", [0, 2])
def test_equal_values_have_a_score_of_zero(value):
    found = statistics([value] * 12, [0, 1] * 6)
    assert found[["score", "batch_score"]].to_numpy().tolist() == [[0, 0], [0, 0]]
    assert found["auc"].tolist() == [0.5, 0.5]


def test_cells_without_a_group_and_batches_that_did_not_measure_the_gene_take_no_part():
    random = np.random.default_rng(0)
    values, groups, batches = random.integers(0, 9, 90), random.integers(-1, 2, 90), np.repeat([0, 1, 2], 30)
    values[batches == 1] = 0
    found = statistics(values, groups, batches, [True, False, True])
    part = (groups >= 0) & (batches != 1)
    pd.testing.assert_frame_equal(found, statistics(values[part], groups[part], batches[part]))


def test_a_group_that_no_dataset_measured_the_gene_of_has_no_statistics():
    found = statistics([1, 2, 3, 0, 0], [0, 1, 0, 2, 2], [0, 0, 0, 1, 1], [True, False])
    assert found.loc[2].drop(["n_batches", "n_batches_up"]).isna().all()
    assert found.loc[[0, 1], "score"].notna().all()


def test_groupings_that_share_parts_have_the_statistics_of_each_alone():
    random = np.random.default_rng(0)
    values, batches = random.integers(0, 9, 4000), random.integers(0, 3, 4000)
    fine = random.integers(0, 6, 4000)
    groupings = {"fine": fine, "coarse": fine // 2, "some": np.where(fine > 1, fine % 2, -1)}
    names = [list(grouped) for _, grouped in split_cells(groupings, batches, 3)]
    assert names == [["fine", "coarse"], ["some"]]
    found = shared_statistics(values, groupings, batches)
    for name, groups in groupings.items():
        alone = statistics(values, groups, batches)
        assert found[name].to_numpy() == pytest.approx(alone.to_numpy(), rel=1e-6)


def test_groupings_whose_common_parts_are_too_small_are_kept_apart():
    random = np.random.default_rng(0)
    codes = {name: random.integers(0, 20, 1000) for name in "ab"}
    assert len(split_cells(codes, np.zeros(1000, dtype=int), 1)) == 2
