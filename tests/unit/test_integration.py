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
