"""Labels of all levels: the coarsest is the likeliest, and finer ones are its children."""

import numpy as np
import pandas as pd
import pytest

from refatlas.transfer.hierarchy import parent_sums
from refatlas.transfer.label_levels import labels_of_all_levels, learn_levels

PARENTS = pd.DataFrame(
    {"label_2": ["A", "B", "B", None], "label_3": ["top", "top", "top", None]}, index=["A1", "B1", "B2", "C"]
)


def levels(rows: list[list[float]], parents: pd.DataFrame = PARENTS, calibrators=None) -> pd.DataFrame:
    shares = pd.DataFrame(rows, columns=list(parents.index), index=[f"c{i}" for i in range(len(rows))])
    return labels_of_all_levels(shares, parents, calibrators or {})


def test_the_likeliest_parent_is_taken_and_then_its_likeliest_child():
    found = levels([[0.40, 0.35, 0.25, 0.0]], PARENTS[["label_2"]]).iloc[0]
    assert (found["label_2"], found["label"]) == ("B", "B1")
    assert found["confidence_2"] == pytest.approx(0.6)
    assert found["confidence"] == pytest.approx(0.35)


def test_columns_are_those_of_all_levels():
    found = levels([[0.1, 0.2, 0.3, 0.4]])
    assert list(found.columns) == ["label", "confidence", "label_2", "confidence_2", "label_3", "confidence_3"]
    assert found.iloc[0][["label", "label_2", "label_3"]].tolist() == ["B2", "B", "top"]
    assert found.index.tolist() == ["c0"]


def test_a_label_without_a_parent_has_no_coarser_label():
    found = levels([[0.1, 0.1, 0.1, 0.7]]).iloc[0]
    assert (found["label"], found["label_2"], found["label_3"]) == ("C", None, None)
    assert np.isnan(found["confidence_2"])
    assert np.isnan(found["confidence_3"])


def test_without_coarser_levels_the_likeliest_label_is_taken():
    found = levels([[0.40, 0.35, 0.25, 0.0]], pd.DataFrame(index=PARENTS.index)).iloc[0]
    assert found.to_dict() == {"label": "A1", "confidence": 0.4}


NESTED = pd.DataFrame({"label_2": list("XXYYZZ"), "label_3": list("MMMNNN")}, index=list("abcdef"))


def test_levels_agree_and_confidence_rises_towards_the_coarsest():
    p = np.random.default_rng(0).dirichlet(np.full(6, 0.5), 500)
    found = levels(p.tolist(), NESTED)
    # Y has children in both M and N: the finest label decides.
    assert (found["label"].map(NESTED["label_3"]) == found["label_3"]).all()
    assert (found["label"].map(NESTED["label_2"]) == found["label_2"]).all()
    assert (found["confidence_2"] >= found["confidence"]).all()


def test_each_level_is_calibrated_by_itself():
    random = np.random.default_rng(0)
    p = random.dirichlet(np.full(4, 0.4), 3000)
    truth = np.array([random.choice(4, p=row) for row in p])
    overconfident = p**3 / (p**3).sum(axis=1, keepdims=True)
    parents = pd.DataFrame({"label_2": ["U", "U", "V", "V"]}, index=list("abcd"))
    learned = learn_levels(overconfident, list("abcd"), truth, parents)
    assert list(learned) == ["label_2"]
    assert learned["label_2"]["temperature"] > 1.5
    found = levels(overconfident.tolist(), parents, learned)
    codes = np.array([0, 0, 1, 1])
    right = (found["label_2"] == np.where(codes[truth] == 0, "U", "V")).mean()
    before = parent_sums(overconfident, codes, 2)
    assert abs(found["confidence_2"].mean() - right) < 0.02 < abs(before.max(axis=1).mean() - right)
    assert (found["confidence"].to_numpy() <= overconfident.max(axis=1)).all()
