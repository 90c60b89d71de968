"""Measures of a query that need its delivered labels alone."""

import numpy as np
import pandas as pd
import pytest

from refatlas.evaluate.label_measures import label_measures


def query(n: int, novel: int, low: int, batches: list[str]):
    """Return cells of these batches, of which the first are novel and the last of low quality."""
    index = pd.Index([f"c{i}" for i in range(n)])
    cells = pd.DataFrame({"batch": batches, "keep": np.arange(n) < n - low}, index=index)
    labels = pd.DataFrame({"label": "A", "novelty": 0.5, "novel": np.arange(n) < novel}, index=index)
    return cells, labels


def test_shares_are_of_the_cells_that_are_kept():
    cells, labels = query(40, 9, 4, ["a"] * 30 + ["b"] * 10)
    found = label_measures(cells, labels, ["A", "B"])
    assert found["query"] == {"n_cells": 40, "low_quality": pytest.approx(0.1), "novel": 0.25}
    assert list(found["batches"]) == ["a"]
    assert found["batches"]["a"]["novel"] == pytest.approx(0.3)
    assert found["absent_labels"] == ["B"]


def test_novelty_without_scores_is_not_judged():
    cells, labels = query(4, 0, 0, ["a"] * 4)
    assert label_measures(cells, labels.assign(novelty=np.nan), ["A"])["query"]["novel"] is None


def test_a_query_of_low_quality_alone_has_no_share_of_novel_cells():
    cells, labels = query(4, 0, 4, ["a"] * 4)
    assert label_measures(cells, labels, ["A"])["query"] == {"n_cells": 4, "low_quality": 1.0}
