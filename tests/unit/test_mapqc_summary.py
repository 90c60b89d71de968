"""The summary of mapQC's scores, worked out by hand."""

import numpy as np
import pandas as pd

from refatlas.evaluate import mapqc


def test_shares_of_distant_controls_by_hand():
    cells = pd.DataFrame({"batch": ["a"] * 40 + ["b"] * 10, "control": [True] * 30 + [False] * 10 + [True] * 10})
    scores = pd.DataFrame({"score": [3.0] * 12 + [0.0] * 18 + [3.0] * 5 + [np.nan] * 5 + [0.0] * 10})
    found = mapqc.summary(scores, cells)
    assert found == {
        "n_cells": 50,
        "n_judged": 45,
        "n_control": 40,
        "control_distant": 0.3,
        "n_other": 5,
        "other_distant": 1.0,
        "batches": {"a": 0.4},
    }


def test_a_reference_of_two_batches_is_not_measured():
    reference, query = (pd.DataFrame({"latent_1": [0.0, 1.0]}, index=[f"{name}:1", f"{name}:2"]) for name in "rq")
    batches = pd.DataFrame({"batch": ["r:a", "r:b"]}, index=reference.index)
    scores, found = mapqc.score_query(reference, batches, query, batches.set_axis(query.index), 0)
    assert scores["score"].isna().all()
    assert set(scores["filter"]) == {"no reference samples"}
    assert found == {"control_distant": None, "batches": {}}
