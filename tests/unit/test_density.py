"""Densities of samples in a latent space: against distributions by hand, splits of samples, and planted changes."""

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import logsumexp

from refatlas.config.settings import complete_config
from refatlas.differential.abundance import TOO_RARE
from refatlas.differential.density import (
    BOTH_KINDS,
    CELL_COLUMNS,
    LABEL_COLUMNS,
    DensityCells,
    compare_density,
    density_cells,
    draw_components,
    sample_splits,
)
from refatlas.differential.design import pseudobulk_samples
from refatlas.differential.features import ONE_GROUP
from refatlas.differential.participants import FILE
from refatlas.errors import InputError
from refatlas.io.atomic import write_json, write_table
from refatlas.models import density
from refatlas.models.density import Components, log_densities
from refatlas.report.contrast_page import density_section
from refatlas.report.density_figure import plot_density

CONTRAST = {"condition": "group", "groups": ["ill", "well"], "sample": "donor", "covariates": [], "continuous": []}
CONTRAST |= {"design": None, "labels": [], "min_cells": 10, "status": "assigned"}
FILES = {"density": "csv", "density_notes": "json", "density_figure": "png"}
LABELS = np.array(["A", "B", "C", "D"])


def simulated(n_samples: int = 8, share: float = 0.25, paired: bool = False, n_cells: int = 120, seed: int = 0):
    """Return cells, labels and places of samples of four labels, of which "A" has another share in the ill half."""
    random = np.random.default_rng(seed)
    tables, places = [], []
    for i in range(n_samples):
        ill = i < n_samples // 2
        first = share if ill else 0.25
        codes = random.choice(4, n_cells, p=[first, *[(1 - first) / 3] * 3])
        donor = f"d{i % (n_samples // 2) if paired else i}"
        tables.append(pd.DataFrame({"donor": donor, "group": "ill" if ill else "well", "label": LABELS[codes]}))
        places.append(4 * np.eye(4)[codes] + random.normal(size=(n_cells, 4)))
    table = pd.concat(tables, ignore_index=True).set_axis(pd.Index([f"r:c{i}" for i in range(n_samples * n_cells)]))
    cells = table.drop(columns="label").assign(**{FILE: "r", "batch": "r:b"}).astype("category")
    return cells, table["label"], np.concatenate(places)


def compared(cells, labels, places, datasets=("r",), leave_out_own=True, most=60, **contrast):
    settings = {**CONTRAST, **contrast}
    columns = ["group", *settings["covariates"]]
    found = density_cells(cells, labels, pseudobulk_samples(cells, settings, columns), settings)
    own = places[cells.index.get_indexer(found.table.index)]
    drawn = draw_components(found.table["number"].to_numpy(), 0, most)
    numbers = found.table["number"].to_numpy()[drawn]
    components = Components(numbers, drawn, own[drawn], np.full((len(drawn), 4), 0.3))
    logs = log_densities(own, components, leave_out_own)
    return compare_density(logs, found, settings, datasets, 0)


@pytest.mark.parametrize("leave_out_own", [True, False])
def test_densities_are_those_of_mixtures_of_normal_distributions(leave_out_own, monkeypatch):
    monkeypatch.setattr(density, "AT_ONCE", 50)
    random = np.random.default_rng(1)
    places = 20 + random.normal(size=(11, 3))
    components = Components(np.array([0, 0, 0, 1, 1]), np.array([2, 4, 6, 0, 10]), *random.uniform(0.1, 2, (2, 5, 3)))
    components.means[:] += 20
    by_hand = np.empty((11, 2))
    for place in range(11):
        for sample in range(2):
            own = components.samples == sample
            own &= (components.places != place) | (not leave_out_own)
            each = stats.norm.logpdf(places[place], components.means[own], np.sqrt(components.variances[own])).sum(1)
            by_hand[place, sample] = logsumexp(each) - np.log(own.sum())
    assert log_densities(places, components, leave_out_own) == pytest.approx(by_hand, rel=1e-9)


def test_mixtures_are_of_few_cells_of_each_sample_and_follow_the_seed():
    numbers = np.repeat([1, 0, 2], [30, 5, 30])
    drawn = draw_components(numbers, 0, 10)
    assert np.bincount(numbers[drawn]).tolist() == [5, 10, 10]
    assert (np.diff(numbers[drawn]) >= 0).all()
    assert len(set(drawn)) == 25
    assert np.array_equal(drawn, draw_components(numbers, 0, 10))
    assert not np.array_equal(drawn, draw_components(numbers, 1, 10))


def test_a_label_that_is_lost_is_less_dense_and_has_the_smallest_p_value():
    found = compared(*simulated(share=0.06, n_cells=400), most=400)
    assert list(found.cells) == CELL_COLUMNS
    assert list(found.labels) == LABEL_COLUMNS
    labels = found.labels.set_index("label")
    # A fourth of its cells is left. Where few cells make a mixture, it is less dense still between them.
    assert -3 * np.log2(0.25 / 0.06) < labels.loc["A", "median_log2_ratio"] < -np.log2(0.25 / 0.06)
    assert labels.loc["A", "p_value"] == pytest.approx(1 / 35)
    assert labels.loc["A", "share_below"] > 0.8
    assert labels.loc[["B", "C", "D"], "median_log2_ratio"].abs().max() < 0.6
    difference = found.cells["test_log_density"] - found.cells["control_log_density"]
    assert found.cells["log2_ratio"].to_numpy() == pytest.approx(difference.to_numpy() / np.log(2))
    assert (
        "samples can be split into such groups in 35 ways, so that no p-value of the densities is below 0.029"
        in (found.notes[-1])
    )
    assert found.notes[-1].endswith("an FDR of 5% needs 3 or more labels with p-values as small")


def test_without_a_change_p_values_are_not_too_small():
    found = [compared(*simulated(seed=seed)).labels for seed in range(20)]
    p_values = pd.concat(found)["p_value"].to_numpy()
    assert (p_values <= 2 / 35).mean() < 0.15
    assert 0.3 < p_values.mean() < 0.7
    assert pd.concat(found)["median_log2_ratio"].abs().median() < 0.3


def test_own_components_would_raise_the_density_of_a_cells_own_sample():
    differences = np.empty((10, 2))
    for seed in range(10):
        cells, labels, places = simulated(seed=seed)
        is_ill = (cells["group"] == "ill").to_numpy()
        for leave_out in (False, True):
            ratios = compared(cells, labels, places, leave_out_own=leave_out).cells["log2_ratio"]
            differences[seed, int(leave_out)] = ratios[is_ill].mean() - ratios[~is_ill].mean()
    with_own, without = differences.mean(axis=0)
    error = differences.std(axis=0)[1] / np.sqrt(10)
    assert abs(without) < 3 * error
    assert with_own > 10 * error


def test_swapped_groups_flip_the_signs_exactly():
    one, other = compared(*simulated()), compared(*simulated(), groups=["well", "ill"])
    assert np.array_equal(one.cells["log2_ratio"], -other.cells["log2_ratio"])
    assert np.array_equal(one.labels["median_log2_ratio"], -other.labels["median_log2_ratio"])
    assert np.array_equal(one.labels["p_value"], other.labels["p_value"])


def samples_of(groups: str, donors=None) -> pd.DataFrame:
    """Return samples, "i" for ill and "w" for well."""
    donors = donors or [f"d{i}" for i in range(len(groups))]
    return pd.DataFrame({"donor": donors, "group": ["ill" if group == "i" else "well" for group in groups]})


@pytest.mark.parametrize(
    ("groups", "n", "complete"),
    [("iiww", 3, True), ("iwiww", 10, True), ("i" * 6 + "w" * 6, 462, True), ("i" * 7 + "w" * 7, 1001, False)],
)
def test_splits_are_all_there_are_up_to_the_sign_or_a_thousand(groups, n, complete):
    splits = sample_splits(samples_of(groups), CONTRAST, 0)
    assert (len(splits.weights), splits.complete) == (n, complete)
    is_test = np.array(list(groups)) == "i"
    assert splits.weights[0] == pytest.approx(is_test / is_test.sum() - ~is_test / (~is_test).sum())
    assert splits.weights.sum(axis=1) == pytest.approx(0, abs=1e-12)
    if complete:
        assert len({tuple(row > 0) for row in splits.weights} | {tuple(row < 0) for row in splits.weights}) >= n


def test_pairs_are_exchanged_within_themselves():
    paired = {**CONTRAST, "covariates": ["donor"]}
    samples = samples_of("iwiwiw", ["a", "a", "b", "b", "c", "c"])
    splits = sample_splits(samples, paired, 0)
    assert (len(splits.weights), splits.complete) == (4, True)
    for row in splits.weights:
        assert np.abs(row) == pytest.approx(1 / 3)
        assert all(row[i] == -row[i + 1] for i in (0, 2, 4))
    many = samples_of("iw" * 12, [f"d{i // 2}" for i in range(24)])
    drawn = sample_splits(many, paired, 0)
    assert (len(drawn.weights), drawn.complete) == (1001, False)
    assert np.array_equal(drawn.weights, sample_splits(many, paired, 0).weights)


def test_a_paired_design_takes_pairs_alone():
    cells, labels, places = simulated(paired=True, share=0.06, n_samples=12)
    lacking = ((cells["donor"] == "d0") & (cells["group"] == "well")).to_numpy()
    found = compared(cells[~lacking], labels[~lacking], places[~lacking], covariates=["donor"])
    assert not (cells.loc[found.cells.index, "donor"] == "d0").any()
    assert "samples of one group alone take no part in the densities, which are compared in pairs: 1" in found.notes
    row = found.labels.set_index("label").loc["A"]
    # Five pairs: 16 splits.
    assert row["p_value"] == pytest.approx(1 / 16)
    assert found.notes[-1].endswith("is below 0.062: no label can be significant")


@pytest.mark.parametrize("change", [{"covariates": ["sex"]}, {"design": "~ sex + group"}])
def test_with_other_covariates_there_are_densities_and_no_p_values(change):
    cells, labels, places = simulated()
    cells["sex"] = np.where(cells["donor"].isin(["d0", "d1", "d4", "d5"]), "f", "m")
    found = compared(cells, labels, places, **change)
    assert found.labels[["p_value", "fdr"]].isna().all(axis=None)
    assert found.labels["median_log2_ratio"].notna().all()
    assert "there are no p-values of the densities" in found.notes[-1]


def test_two_samples_a_group_say_that_nothing_can_be_significant():
    found = compared(*simulated(n_samples=4, share=0.06))
    assert found.labels["p_value"].min() == pytest.approx(1 / 3)
    assert found.notes[-1].endswith(
        "in 3 ways, so that no p-value of the densities is below 0.33: no label can be significant"
    )


def test_small_samples_rare_labels_and_cells_without_a_label_are_said():
    cells, labels, places = simulated(n_samples=10)
    few = (cells["donor"] == "d9").to_numpy() & (np.arange(len(cells)) % 20 > 0)
    labels = labels.copy()
    labels.iloc[:4] = "rare"
    # Cells of low quality have no label, and are in no mixture.
    found = compared(cells[~few], labels[~few].iloc[2:], places[~few])
    assert len(found.cells) == (~few).sum() - 2 - (cells["donor"][~few] == "d9").sum()
    assert found.notes[0] == "samples of too few cells are left out of the densities: 1"
    row = found.labels.set_index("label").loc["rare"]
    assert (row["n_cells"], row["left_out"]) == (2, TOO_RARE)
    assert np.isnan(row["p_value"])
    with pytest.raises(InputError, match=r"density: 0 of ill and 0 of well samples have min_cells \(1000\) cells"):
        compared(cells, labels, places, min_cells=1000)


def test_batches_of_one_group_and_files_of_both_kinds_are_said():
    cells, labels, places = simulated()
    assert len(compared(cells, labels, places).notes) == 1
    cells["batch"] = cells["donor"]
    cells[FILE] = np.where(cells["donor"].isin(["d0", "d4"]), "q", "r")
    assert compared(cells, labels, places).notes[:2] == [ONE_GROUP, BOTH_KINDS]


def test_the_figure_shows_every_cell_and_label():
    cells, labels, places = simulated()
    found = compared(cells, labels, places)
    umap = pd.DataFrame(places[::-1, :2], index=cells.index[::-1])
    figure = plot_density(found.cells, found.labels, umap, CONTRAST)
    left, right = figure.axes[:2]
    assert len(left.collections[0].get_offsets()) == len(cells)
    assert {text.get_text() for text in left.texts} == set(LABELS)
    names = [text.get_text() for text in right.get_yticklabels()]
    assert sorted(names) == list(LABELS)
    assert right.get_xlim()[0] <= -1 < 1 <= right.get_xlim()[1]
    medians = found.labels.set_index("label").loc[names, "median_log2_ratio"]
    assert all(one >= other for one, other in pairwise(medians))


def test_the_page_has_the_densities_of_a_model_and_nothing_without(tmp_path):
    found = compared(*simulated(share=0.06))
    files = {name: str(tmp_path / f"density.{kind}") for name, kind in FILES.items()}
    write_table(found.labels, files["density"])
    write_json({"model": "scvi", "notes": found.notes}, files["density_notes"])
    (tmp_path / "density.png").write_bytes(b"png")
    section = density_section(files)
    assert (section["model"], section["notes"]) == ("scvi", found.notes)
    far = [abs(row["median_log2_ratio"]) for row in section["labels"]]
    first = section["labels"][0]
    assert (first["label"], first["left_out"]) == ("A", "")
    assert first["p_value"] == pytest.approx(1 / 35)
    assert far == sorted(far, reverse=True)
    assert density_section({}) is None


@pytest.mark.parametrize(
    ("name", "found"), [("linear", "'linear' is of type linear"), ("other", "'other' is not in models")]
)
def test_models_without_a_posterior_are_refused(name, found):
    with pytest.raises(InputError, match=f"contrasts: c: density: {found}; name a model of the types scvi, scanvi"):
        completed({"density": name})


def completed(change: dict[str, Any]) -> dict[str, Any]:
    contrast = {"condition": "group", "groups": ["ill", "well"], **change}
    models = {"scvi": {"type": "scvi"}, "linear": {"type": "linear"}}
    config = {"reference": "r.tsv", "models": models, "differential": {"contrasts": {"c": contrast}}}
    return complete_config(config)["differential"]["contrasts"]["c"]


def test_a_setting_that_is_off_is_no_part_of_the_configuration():
    assert "density" not in completed({})
    assert completed({"density": None}) == completed({})
    assert completed({"density": "scvi"})["density"] == "scvi"


def test_a_numbered_cell_belongs_to_its_sample():
    cells, labels, _ = simulated()
    found = density_cells(cells, labels, pseudobulk_samples(cells, CONTRAST, ["group"]), CONTRAST)
    assert isinstance(found, DensityCells)
    of_cells = found.samples["donor"].to_numpy()[found.table["number"]]
    assert np.array_equal(of_cells, cells.loc[found.table.index, "donor"].astype(str))
