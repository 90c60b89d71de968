"""Gene programs and proteins in contrasts: means by sample, samples as replicates, what was not measured."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from refatlas.config.settings import complete_config
from refatlas.differential.design import pseudobulk_samples
from refatlas.differential.features import COLUMNS, ONE_GROUP, compare_features, where_measured
from refatlas.differential.participants import FILE
from refatlas.errors import InputError

N_CELLS, N_SAMPLES, N_FEATURES = 30, 8, 40
CONTRAST = {"condition": "group", "groups": ["ill", "well"], "sample": "donor", "covariates": [], "continuous": []}
CONTRAST |= {"design": None, "labels": [], "min_cells": 10, "status": "assigned"}


def simulated(shift: float = 0.0, batch: str = "r:b") -> tuple[pd.DataFrame, pd.DataFrame, pd.Series]:
    """Return values, cells and labels of eight donors, four of each group; feature F0 is shifted in the ill ones."""
    random = np.random.default_rng(0)
    donors = np.repeat([f"d{i}" for i in range(N_SAMPLES)], N_CELLS)
    group = np.where(np.isin(donors, ["d0", "d1", "d2", "d3"]), "ill", "well")
    index = pd.Index([f"r:c{i}" for i in range(len(donors))], name="cell")
    between = np.repeat(random.normal(0, 0.3, (N_SAMPLES, N_FEATURES)), N_CELLS, axis=0)
    values = pd.DataFrame(between + random.normal(size=(len(index), N_FEATURES)), index=index).add_prefix("F")
    values.loc[group == "ill", "F0"] += shift
    cells = pd.DataFrame({FILE: "r", "batch": batch, "donor": donors, "group": group}, index=index).astype("category")
    labels = pd.Series(np.where(np.arange(len(index)) % 3 == 0, "rare", "B"), index=index)
    labels[(labels == "rare") & (donors != "d0")] = "B"
    return values, cells, labels


def compared(values, cells, labels, **contrast):
    settings = {**CONTRAST, **contrast}
    return compare_features(values, cells, labels, pseudobulk_samples(cells, settings, ["group"]), settings)


def test_a_shifted_feature_is_found_and_the_others_are_not():
    found = compared(*simulated(shift=2.0))
    assert list(found.table) == COLUMNS
    assert found.table.loc[found.table["fdr"] < 0.05, "feature"].tolist() == ["F0"]
    assert (compared(*simulated()).table["fdr"] > 0.05).all()
    by_label = found.labels.set_index("label")
    assert by_label.loc["B", ["tested", "higher_in_test", "lower_in_test"]].tolist() == [N_FEATURES, 1, 0]
    # A label of one sample has no test, and says so.
    assert by_label.loc["rare", "tested"] == 0
    assert by_label.loc["rare", "left_out"].startswith("fewer than 2 samples of a group")


def test_the_difference_is_that_of_means_over_samples_and_not_over_cells():
    values, cells, labels = simulated(shift=0.5)
    few = cells.index[(cells["donor"] == "d1")][:15]
    values, cells, labels = (table.drop(few) for table in (values, cells, labels))
    row = compared(values, cells, labels).table.set_index("feature").loc["F3"]
    own = values.loc[labels == "B", "F3"].groupby(cells.loc[labels == "B", "donor"].astype(str)).mean()
    ill, well = own[["d0", "d1", "d2", "d3"]], own[["d4", "d5", "d6", "d7"]]
    assert row["difference"] == pytest.approx(ill.mean() - well.mean())
    assert (row["test_mean"], row["control_mean"]) == pytest.approx((ill.mean(), well.mean()))
    # Variances are moderated: near those of a t-test on the samples, not the same.
    by_hand = stats.ttest_ind(ill, well)
    assert row["statistic"] == pytest.approx(by_hand.statistic, rel=0.6)
    assert np.sign(row["statistic"]) == np.sign(by_hand.statistic)


def test_swapped_groups_flip_the_signs_exactly():
    one, other = compared(*simulated(1.0)).table, compared(*simulated(1.0), groups=["well", "ill"]).table
    one, other = one.set_index("feature"), other.set_index("feature").loc[one["feature"]]
    for column in ("difference", "statistic"):
        assert one[column].to_numpy() == pytest.approx(-other[column].to_numpy(), rel=1e-12)
    assert one["fdr"].to_numpy() == pytest.approx(other["fdr"].to_numpy(), rel=1e-12)


def test_samples_that_did_not_measure_a_feature_take_no_part_in_its_test():
    values, cells, labels = simulated()
    batches = pd.Series(np.where(cells["donor"].isin(["d0", "d4"]), "r:a", "r:b"), index=cells.index)
    measured = pd.DataFrame(True, index=["r:a", "r:b"], columns=values.columns)
    measured.loc["r:a", "F1"] = False
    measured.loc["r:b", "F2"] = False
    known = where_measured(values.assign(F1=values["F1"].where(batches == "r:b", 1e9)), batches, measured)
    found = compared(known, cells, labels).table.set_index("feature")
    assert found.loc["F1", ["test_samples", "control_samples"]].tolist() == [3, 3]
    # An imputed value has no say.
    assert abs(found.loc["F1", "difference"]) < 1
    assert found.loc["F0", ["test_samples", "control_samples"]].tolist() == [4, 4]
    # One sample of each group is no test.
    assert "F2" not in found.index
    assert len(found) == N_FEATURES - 1


def test_a_sample_with_few_cells_that_measured_a_feature_takes_no_part_in_its_test():
    values, cells, labels = simulated()
    own = cells.index[(cells["donor"] == "d0") & (labels == "B")]
    values.loc[own[9:], "F1"] = np.nan
    values.loc[own[10:], "F2"] = np.nan
    found = compared(values, cells, labels).table.set_index("feature")
    assert found.loc[["F0", "F1", "F2"], "test_samples"].tolist() == [4, 3, 4]
    assert (found["control_samples"] == 4).all()


def test_batches_of_one_group_are_said():
    assert compared(*simulated()).notes == []
    values, cells, labels = simulated()
    cells["batch"] = cells["donor"]
    assert compared(values, cells, labels).notes == [ONE_GROUP]


def test_cells_without_values_and_labels_without_samples_are_refused():
    values, cells, labels = simulated()
    with pytest.raises(InputError, match="the model has no values of 1 cells"):
        compared(values.iloc[1:], cells, labels)
    with pytest.raises(InputError, match="no label has 2 samples of 1000 cells"):
        compared(values, cells, labels, min_cells=1000)


@pytest.mark.parametrize(("name", "found"), [("scvi", "'scvi' is of type scvi"), ("other", "'other' is not in models")])
def test_models_without_programs_or_proteins_are_refused(name, found):
    contrast = {"condition": "group", "groups": ["ill", "well"], "features": [name]}
    config = {
        "reference": "r.tsv",
        "models": {"scvi": {"type": "scvi"}},
        "differential": {"contrasts": {"c": contrast}},
    }
    with pytest.raises(InputError, match=f"contrasts: c: features: {found}; name models of the types expimap, totalvi"):
        complete_config(config)
