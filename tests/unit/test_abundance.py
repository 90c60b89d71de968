"""Abundance of labels: which cells count, false positives without an effect, power with one, and swapped groups."""

import sys

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats

from conftest import REPO
from refatlas.config.contrasts import complete_contrasts
from refatlas.differential.abundance import (
    abundance_tests,
    compare_abundance,
    count_categories,
    query_categories,
    reference_categories,
)
from refatlas.differential.moderated import moderated_tests, moderated_variances
from refatlas.errors import InputError

sys.path.insert(0, str(REPO / "measurements"))
from contrasts import SHARES, simulated


def contrast_of(**settings) -> dict:
    given = {"condition": "disease", "groups": ["ill", "well"], "sample": "donor", **settings}
    return complete_contrasts({"contrasts": {"c": given}, "gene_sets": None})["contrasts"]["c"]


def samples_of(n: int) -> pd.DataFrame:
    return pd.DataFrame({"donor": [f"d{i}" for i in range(2 * n)], "disease": ["well", "ill"] * n})


@pytest.fixture(scope="module")
def nulls():
    """Tests of 400 simulations without an effect, four samples against four."""
    random = np.random.default_rng(0)
    return [abundance_tests(*simulated(random, 4)) for _ in range(400)]


@pytest.mark.parametrize("scale", ["share", "relative"])
def test_without_an_effect_p_values_are_about_uniform(nulls, scale):
    p = np.array([found[f"{scale}_p_value"] for found in nulls])
    # Over labels; the bounds are those of one label of each simulation: two-sided 99.9 % of a binomial.
    low, high = stats.binom.ppf([0.0005, 0.9995], len(p), 0.05) / len(p)
    assert low <= (p < 0.05).mean() <= high
    # The variance is shared among labels, so that the rarest, of 2 % of the cells, is called more often.
    assert (p[:, -1] < 0.05).mean() < 0.15
    any_called = np.mean([(found[f"{scale}_fdr"] < 0.05).any() for found in nulls])
    assert any_called < 0.12


def test_a_doubled_label_is_found_and_others_do_not_fall_relative_to_each_other():
    random = np.random.default_rng(1)
    found = [abundance_tests(*simulated(random, 8, 0, 2)) for _ in range(100)]
    own = np.arange(len(SHARES)) == 0
    assert np.mean([(t["relative_fdr"] < 0.05)[own].all() for t in found]) > 0.8
    assert np.median([t["relative_log2_ratio"][0] for t in found]) == pytest.approx(1, abs=0.15)
    false = {scale: np.mean([(t[f"{scale}_fdr"] < 0.05)[~own].any() for t in found]) for scale in ("share", "relative")}
    assert false["relative"] < 0.25
    # What the shares of the others do, which is why they are not the measure.
    assert false["share"] > 0.5


def test_swapped_groups_flip_the_signs_exactly():
    counts, _ = simulated(np.random.default_rng(2), 4, 3, 2)
    table, samples = pd.DataFrame(counts, columns=list("abcdefgh")), samples_of(4)
    one = compare_abundance(table, samples, contrast_of()).labels
    other = compare_abundance(table, samples, contrast_of(groups=["well", "ill"])).labels
    for column in ("share_log2_ratio", "share_statistic", "relative_log2_ratio", "relative_statistic"):
        assert np.array_equal(one[column], -other[column])
        assert (one[column] != 0).any()
    for column in ("share_p_value", "share_fdr", "relative_p_value", "relative_fdr", "n_cells"):
        assert np.array_equal(one[column], other[column])
    assert np.array_equal(one["test_share"], other["control_share"])


def test_variances_follow_the_prior_they_were_drawn_from():
    """Scaled inverse chi-squared, as limma's: 6 degrees of freedom at 2, with 4 of the residuals."""
    random = np.random.default_rng(3)
    true = 2 * 6 / random.chisquare(6, 20_000)
    drawn = true * random.chisquare(4, 20_000) / 4
    moderated, prior = moderated_variances(drawn, 4)
    assert prior == pytest.approx(6, rel=0.1)
    assert moderated == pytest.approx((6 * 2 + 4 * drawn) / 10, rel=0.05)
    same, prior = moderated_variances(np.full(5, 3.0), 4)
    assert prior == np.inf
    assert same == pytest.approx(np.full(5, 3 * np.exp(np.log(2) - special.digamma(2))))


def test_one_label_alone_is_a_t_test():
    _, design = simulated(np.random.default_rng(0), 4)
    values = np.random.default_rng(4).normal(size=(8, 1))
    found = moderated_tests(values, design)
    wanted = stats.ttest_ind(values[1::2, 0], values[::2, 0])
    assert found.effect / found.standard_error == pytest.approx(wanted.statistic)
    assert found.freedom == wanted.df


def test_rare_labels_and_a_label_alone_are_not_tested():
    counts = np.array([[50, 0, 20], [60, 1, 30], [55, 0, 25], [70, 2, 20]])
    _, design = simulated(np.random.default_rng(0), 2)
    found = abundance_tests(counts, design)
    assert found["left_out"].tolist() == ["", "fewer cells than one a sample", ""]
    assert found["relative_p_value"].isna().tolist() == [False, True, False]
    alone = abundance_tests(counts[:, :2], design)
    assert alone["left_out"].tolist() == [
        "no other label has enough cells to compare it with",
        "fewer cells than one a sample",
    ]
    assert alone["share_p_value"].isna().all()


def test_samples_of_few_cells_are_left_out_and_few_samples_are_said_to_be_few():
    counts = pd.DataFrame([[50, 20], [60, 30], [55, 25], [70, 20], [3, 2], [90, 9]], columns=["a", "b"])
    found = compare_abundance(counts, samples_of(3), contrast_of())
    assert found.labels[["test_samples", "control_samples"]].iloc[0].tolist() == [3, 2]
    assert found.samples.loc[found.samples["donor"] == "d4", "used"].tolist() == [False, False]
    assert "3 of ill and 2 of well samples are few: only large changes" in found.notes[0]
    assert found.notes[1] == "samples of too few cells are left out of the abundance: 1"
    with pytest.raises(InputError, match=r"3 of ill and 1 of well samples have min_cells \(72\) cells .* lower min_"):
        compare_abundance(counts, samples_of(3), contrast_of(min_cells=72))


def test_cells_without_a_label_are_categories_of_their_own(tmp_path):
    names = ["c0", "c1", "c2", "c3"]
    pd.DataFrame(
        {"cell": names, "label": ["B", "T", "T", "B"], "status": ["assigned", "ambiguous", "novel", "low_quality"]}
    ).to_csv(tmp_path / "labels.csv", index=False)
    cells = pd.DataFrame({"barcode": names}, index=pd.Index([f"q:{name}" for name in names], name="cell"))
    found = query_categories(str(tmp_path / "labels.csv"), cells, "assigned")
    assert found.to_dict() == {"q:c0": "B", "q:c1": "(ambiguous)", "q:c2": "(novel)"}
    found = query_categories(str(tmp_path / "labels.csv"), cells, "any")
    assert found.to_dict() == {"q:c0": "B", "q:c1": "T", "q:c2": "T"}
    dataset = pd.DataFrame({"keep": [True, True, False], "label": ["B", None, "T"]}, index=list("xyz"))
    assert reference_categories(dataset).to_dict() == {"x": "B", "y": "(unlabelled)"}


def test_cells_are_counted_by_sample_and_group():
    cells = pd.DataFrame({"donor": list("1122"), "disease": ["ill", "well", "ill", "well"]}, index=list("abcd"))
    samples = pd.DataFrame({"donor": list("1122"), "disease": ["ill", "well", "ill", "well"]})
    categories = pd.Series({"a": "T", "b": "B", "d": "T", "elsewhere": "T"})
    found = count_categories(cells.astype("category"), categories, samples, contrast_of())
    assert found.to_dict("list") == {"B": [0, 1, 0, 0], "T": [1, 0, 0, 1]}
