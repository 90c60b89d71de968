"""Integration scores: which errors of a metric are shown, which end the job, and how scores are combined."""

import numpy as np
import pandas as pd
import pytest
from scipy.sparse.linalg import ArpackNoConvergence

from refatlas.evaluate import integration
from refatlas.evaluate.estimates import Estimate, UndefinedMetricError
from refatlas.evaluate.integration import (
    EXPECTED_OF_SAMPLED,
    EXPECTED_OF_SCIB,
    add_totals,
    compute,
    full_functions,
    integration_table,
    labelled,
)


def test_a_failed_metric_is_shown_and_has_no_total():
    def fail():
        raise ArithmeticError("no such thing")

    functions = {"clisi": fail, "ilisi": lambda: 0.5, "bras": lambda: Estimate(0.7, 0.1)}
    table = add_totals(compute(functions, list(functions), EXPECTED_OF_SCIB)).set_index("metric")
    assert table.loc["clisi", "failed"] == "ArithmeticError: no such thing"
    assert table.loc["batch", "value"] == pytest.approx(0.6)
    assert table.loc["batch", "half_width"] == pytest.approx(0.05)
    assert table.loc[["bio", "total"], "value"].isna().all()
    assert compute({"ilisi": lambda: np.nan}, ["ilisi"], ())["failed"].tolist() == ["the value is nan"]


@pytest.mark.parametrize(
    ("expected", "error"),
    [
        (EXPECTED_OF_SCIB, MemoryError("8 GiB")),
        (EXPECTED_OF_SCIB, TypeError("a defect")),
        (EXPECTED_OF_SCIB, KeyError("a defect")),
        (EXPECTED_OF_SAMPLED, MemoryError("8 GiB")),
        (EXPECTED_OF_SAMPLED, ValueError("a defect")),
        (EXPECTED_OF_SAMPLED, IndexError("a defect")),
    ],
)
def test_a_lack_of_memory_or_a_defect_ends_the_job(expected, error):
    def fail():
        raise error

    with pytest.raises(type(error)):
        compute({"kbet": fail}, ["kbet"], expected)


@pytest.mark.parametrize(
    "error", [ArpackNoConvergence("none", [], []), UndefinedMetricError("there is a single batch")]
)
def test_what_sampled_metrics_cannot_score_is_shown(error):
    def fail():
        raise error

    assert type(error).__name__ in compute({"kbet": fail}, ["kbet"], EXPECTED_OF_SAMPLED)["failed"].iloc[0]


def test_cells_without_a_label_are_not_scored(monkeypatch):
    monkeypatch.setattr(integration, "K", 2)
    cells = pd.DataFrame({"label": ["A", None, "B", "A"], "batch": "b"}, index=list("wxyz"))
    assert list(labelled(cells).index) == ["w", "y", "z"]
    assert labelled(cells[["batch"]]).empty
    latent = pd.DataFrame({"latent_1": [0.0, 1.0, 2.0, 3.0]}, index=list("zyxw"))

    def record(scored, unintegrated, labelled_cells, settings, seed, threads):
        assert scored.ravel().tolist() == [3.0, 1.0, 0.0]
        return compute({"ilisi": lambda: Estimate(0.5, 0.1, 2), "bras": lambda: 0.5}, ["ilisi", "bras"], ())

    monkeypatch.setattr(integration, "scores", record)
    found = integration_table(latent, latent, cells, {}, 0, 1).set_index("metric")
    assert found.loc[["ilisi", "bras"], "n_sampled"].tolist() == [2, 3]
    assert set(found["n_cells"]) == {3}


def test_too_few_cells_have_no_scores():
    cells = pd.DataFrame({"label": "A", "batch": "b"}, index=list("xy"))
    latent = pd.DataFrame({"latent_1": [0.0, 1.0]}, index=cells.index)
    found = integration_table(latent, latent, cells, {"metrics": ["ilisi"]}, 0, 1)
    assert found["failed"].iloc[0] == "needs more than 90 labelled cells, the reference has 2"
    assert found["value"].isna().all()


METRICS = ["clisi", "ilisi", "bras", "kbet", "pcr_comparison"]


@pytest.fixture(scope="module")
def space():
    """Latent space of 400 cells of two batches, 200 of which lie apart by batch; batch and no label of each cell."""
    random = np.random.default_rng(0)
    batches = np.arange(400) % 2
    values = random.normal(size=(400, 5))
    values[200:, 0] += 20 + 20 * batches[200:]
    names = [f"d:c{i}" for i in range(400)]
    cells = pd.DataFrame({"batch": np.where(batches == 0, "d:x", "d:y")}, index=names)
    return pd.DataFrame(values, index=names), cells


@pytest.mark.parametrize("max_cells", [400, 399])
@pytest.mark.parametrize("label", ["no column", "missing values"])
def test_without_labels_all_cells_are_scored_by_the_metrics_that_need_none(space, max_cells, label):
    latent, cells = space
    cells = cells if label == "no column" else cells.assign(label=None)
    settings = {"metrics": METRICS, "max_cells": max_cells, "max_half_width": 0.01}
    before = latent.assign(**{"0": latent[0] * 2}).drop(columns=0)
    found = integration_table(latent, before, cells, settings, 0, 1).set_index("metric")
    assert list(found.index) == [*METRICS, "bio", "batch", "total"]
    assert set(found["n_cells"]) == {400}
    empty = ["clisi", "bras", "bio", "batch", "total"]
    assert found.loc[empty, "value"].isna().all()
    assert set(found.loc[empty, "failed"]) == {"needs labels"}
    given = found.loc[["ilisi", "kbet", "pcr_comparison"]]
    assert set(given["failed"]) == {""}
    # The cells that are apart are all refused, and about 95 % of those that are mixed are accepted.
    assert found.loc["kbet", "value"] == pytest.approx(0.48, abs=0.02)
    assert found.loc["kbet", "note"].startswith("of all cells and their 50 nearest")
    assert set(found["note"].drop("kbet")) == {""}
    between = [np.square(x.groupby(cells["batch"]).mean() - x.mean()).sum().sum() for x in (before, latent)]
    shares = [
        part / np.square(x - x.mean()).sum().sum() * 400 / 2 for part, x in zip(between, (before, latent), strict=True)
    ]
    assert found.loc["pcr_comparison", "value"] == pytest.approx(1 - shares[1] / shares[0], abs=1e-4)


def test_metrics_without_labels_are_those_of_all_cells_with_labels(space):
    latent, cells = space
    settings = {"metrics": METRICS, "max_cells": 400, "max_half_width": 0.01}
    without = integration_table(latent, latent, cells, settings, 0, 1).set_index("metric")
    labels = np.repeat(["A", "B"], 200)
    functions = full_functions(latent.to_numpy(), latent.to_numpy(), labels, cells["batch"].to_numpy(), 1)
    for name in ("ilisi", "pcr_comparison"):
        assert without.loc[name, "value"] == functions[name]()


def test_some_labels_are_scored_as_before_without_a_note(space):
    latent, cells = space
    cells = cells.assign(label=np.where(np.arange(400) < 300, "A", None))
    settings = {"metrics": ["ilisi"], "max_cells": 400, "max_half_width": 0.01}
    found = integration_table(latent, latent, cells, settings, 0, 1)
    assert list(found) == [
        "metric",
        "kind",
        "value",
        "half_width",
        "n_sampled",
        "failed",
        "n_cells",
        "k",
        "scib_metrics",
    ]
    assert set(found["n_cells"]) == {300}


@pytest.mark.parametrize(("max_cells", "reason"), [(400, "at least two batches"), (399, "there is a single batch")])
def test_a_single_batch_without_labels_has_reasons(space, max_cells, reason):
    latent, cells = space
    settings = {"metrics": METRICS, "max_cells": max_cells, "max_half_width": 0.01}
    found = integration_table(latent, latent, cells.assign(batch="d:x"), settings, 0, 1).set_index("metric")
    assert found["value"].isna().all()
    assert (found["failed"] != "").all()
    assert reason in found.loc["kbet", "failed"]


def test_too_few_cells_without_labels_have_no_scores(space):
    latent, cells = (frame.iloc[:90] for frame in space)
    found = integration_table(latent, latent, cells, {"metrics": ["clisi", "ilisi"]}, 0, 1)
    assert list(found["failed"].head(2)) == ["needs labels", "needs more than 90 cells, the reference has 90"]


def test_metrics_that_all_need_labels_leave_a_table_of_reasons(space):
    latent, cells = space
    found = integration_table(latent, latent, cells, {"metrics": ["clisi"], "max_cells": 400}, 0, 1)
    assert set(found["failed"]) == {"needs labels"}
