"""Verdicts by hand: where limits come from, and which reason comes first."""

import pytest

from refatlas.evaluate import verdict

USUAL = {
    "gene_overlap": 1.0,
    "masking_shift": 0.0,
    "depth": 0.1,
    "detected_genes": 0.0,
    "profile": 0.95,
    "doublets": 0.3,
    "deviance_ratio:m": 1.2,
    "deviance_ratio:n": 1.4,
    "novel": 0.01,
    "novel_group": 0.0,
    "confidence": 0.9,
    "mixing:m": 0.8,
    "late_fall": 0.0,
    "low_quality": 0.0,
}


FOLD = {"batches": {"a": USUAL, "b": {**USUAL, "depth": -0.4, "confidence": 0.85, "deviance_ratio:n": 1.6}}}


def assess(changes: dict, held_out=(FOLD,)) -> dict:
    measures = {"query": {**USUAL, **changes}, "absent_labels": ["NK"]}
    return verdict.assess(measures, list(held_out))


def test_a_usual_query_passes():
    found = assess({})
    assert (found["verdict"], found["reasons"], found["absent_labels"]) == ("pass", [], ["NK"])
    assert found["limits_from"] == "2 held-out batches"


def test_limits_are_a_margin_beyond_the_worst_held_out_batch():
    checks = {check["check"]: check for check in assess({})["checks"]}
    assert checks["confidence"]["warn_beyond"] == [0.8, None]
    assert checks["confidence"]["fail_beyond"] == [0.6, None]
    assert checks["depth"]["warn_beyond"] == [-1.4, 1.1]
    assert checks["deviance_ratio"]["held_out"] == [1.3, 1.4]
    assert checks["deviance_ratio"]["value"] == 1.3


@pytest.mark.parametrize(
    ("changes", "verdict", "reason"),
    [
        ({"gene_overlap": 0.5}, "fail", "gene_overlap"),
        ({"gene_overlap": 0.8}, "warn", "gene_overlap"),
        ({"depth": -3.3, "confidence": 0.5}, "fail", "depth"),
        ({"profile": 0.1, "novel": 0.9, "depth": -1.6}, "fail", "profile"),
        ({"doublets": 0.7}, "fail", "doublets"),
        ({"novel": 0.1}, "warn", "novel"),
        ({"novel_group": 0.01}, "warn", "novel_group"),
    ],
)
def test_the_first_cause_of_the_worst_verdict_is_named(changes, verdict, reason):
    found = assess(changes)
    assert (found["verdict"], found["reasons"][0]["check"]) == (verdict, reason)
    assert found["reason"] == found["reasons"][0]["meaning"]


def test_measures_that_alone_fail_nothing_warn():
    for change in ({"late_fall": 0.3}, {"mixing:m": 0.0}):
        found = assess(change)
        assert (found["verdict"], len(found["reasons"])) == ("warn", 1)


def test_without_folds_limits_are_fixed():
    found = assess({"deviance_ratio:m": 99.0}, held_out=())
    assert found["verdict"] == "pass"
    assert found["limits_from"] == "fixed limits: no batch was held out, or only small ones"
    assert assess({"depth": -3.0}, held_out=())["verdict"] == "fail"


def test_the_limit_of_mapqc_is_that_of_held_out_controls():
    measures = {"query": USUAL, "absent_labels": []}
    shares = {"fold_1": {"control_distant": 0.4, "batches": {"a": 0.4, "b": 0.2}}}
    query, folds = verdict.with_mapqc(measures, {"fold_1": FOLD}, {"control_distant": 0.45, "batches": {}}, shares)
    checks = {check["check"]: check for check in verdict.assess(query, folds.values())["checks"]}
    assert checks["mapqc"]["verdict"] == "pass"
    assert checks["mapqc"]["held_out"] == [0.4, 0.2]
    assert checks["mapqc"]["warn_beyond"] == [None, 0.5]
    assert "mapqc" not in measures["query"]
    assert "mapqc" not in FOLD["batches"]["a"]


def test_a_small_held_out_batch_counts_for_mapqc_alone():
    shares = {"fold_1": {"batches": {"small": 0.1}}}
    query, folds = verdict.with_mapqc({"query": USUAL}, {"fold_1": FOLD}, {"control_distant": None}, shares)
    assert query["query"]["mapqc"] is None
    assert folds["fold_1"]["batches"]["small"] == {"mapqc": 0.1}
