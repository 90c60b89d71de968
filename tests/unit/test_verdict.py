"""Verdicts by hand: estimated accuracy and novelty decide, checks explain."""

import pytest

from refatlas.evaluate import verdict

USUAL = {
    "n_cells": 500,
    "gene_overlap": 1.0,
    "masking_shift": 0.0,
    "depth": 0.1,
    "detected_genes": 0.0,
    "profile": 0.95,
    "doublets": 0.3,
    "deviance_ratio:m": 1.2,
    "novel": 0.01,
    "novel_group": 0.0,
    "confidence": 0.9,
    "mixing:m": 0.8,
    "late_fall": 0.0,
    "low_quality": 0.0,
}
FOLD = {"batches": {"a": USUAL, "b": {**USUAL, "depth": -0.4, "confidence": 0.85}}}


def estimate(value: float, tested: bool = True) -> dict:
    ends = {"low": value - 0.1, "high": value + 0.05}
    return {"value": value, **ends, "confidence": 0.95, "way_back": None, "tested": tested}


def assess(value: float = 0.9, batches: dict | None = None, not_judged: str = "", folds=(FOLD,), **changes) -> dict:
    """Return the verdict on a query by its estimated accuracy, that of its batches, and changed measures."""
    values = {"": value, **(batches or {})}
    query = {**USUAL, **changes}
    measures = {"query": query, "batches": dict.fromkeys(batches or {}, query), "absent_labels": ["NK"]}
    return verdict.assess(measures, list(folds), {name: estimate(v) for name, v in values.items()}, not_judged)


def test_a_usual_query_passes():
    found = assess()
    assert (found["verdict"], found["reasons"], found["absent_labels"]) == ("pass", [], ["NK"])
    assert found["reason"] == "90% of the labels are estimated to be right (80% to 95%)"
    assert found["limits_from"].startswith("2 held-out batches, too few to say")
    assert found["estimated_accuracy"] == {"value": 0.9, "low": 0.8, "high": 0.95, "confidence": 0.95}
    assert (found["n_cells"], found["novel"], found["way_back"], found["tested"]) == (500, 0.01, None, True)


@pytest.mark.parametrize(
    ("value", "novel", "expected", "reason"),
    [
        (0.85, 0.0, "pass", "85% of the labels are estimated to be right"),
        (0.849, 0.0, "warn", "only 85% of the labels"),
        (0.7, 0.0, "warn", "only 70% of the labels"),
        (0.699, 0.0, "fail", "only 70% of the labels"),
        (0.95, 0.149, "pass", "95% of the labels"),
        (0.95, 0.15, "warn", "15% of the cells are unlike every label of the reference; of the others, 95%"),
        (0.6, 0.15, "fail", "only 60% of the labels"),
        (0.95, 0.9, "fail", "90% of the cells are unlike every label"),
        (0.95, None, "pass", "95% of the labels"),
    ],
)
def test_thresholds_of_the_verdict(value, novel, expected, reason):
    found = verdict.judge_labels(estimate(value), novel)
    assert found.verdict == expected
    assert found.reason.startswith(reason)


def test_each_batch_has_a_verdict_and_one_that_fails_stops_a_pass():
    found = assess(0.9, {"x": 0.92, "y": 0.5})
    assert {name: part["verdict"] for name, part in found["batches"].items()} == {"x": "pass", "y": "fail"}
    assert found["verdict"] == "warn"
    assert found["reason"].startswith("batch 'y' fails: only 50% of the labels")
    two = assess(0.9, {"x": 0.6, "y": 0.5, "z": 0.95})
    assert two["reason"].startswith("batch 'x' and 1 more fails: only 60%")


def test_a_batch_with_a_warning_does_not_stop_a_pass_and_a_failing_one_does_not_improve_a_fail():
    assert assess(0.9, {"x": 0.92, "y": 0.75})["verdict"] == "pass"
    failing = assess(0.6, {"x": 0.92, "y": 0.3})
    assert (failing["verdict"], failing["reason"][:8]) == ("fail", "only 60%")


def test_a_batch_without_measures_of_its_own_has_no_verdict():
    measures = {"query": USUAL, "batches": {"x": USUAL}, "absent_labels": []}
    found = verdict.assess(measures, [], {"": estimate(0.9), "x": estimate(0.9), "tiny": estimate(0.1)}, "")
    assert list(found["batches"]) == ["x"]
    assert found["verdict"] == "pass"


@pytest.mark.parametrize(
    "changes",
    [
        {"gene_overlap": 0.3},
        {"depth": -5.0, "detected_genes": -4.0},
        {"profile": 0.1},
        {"doublets": 0.9},
        {"novel_group": 0.1},
        {"mixing:m": 0.0},
        {"late_fall": 0.3},
        {"low_quality": 0.9},
    ],
)
@pytest.mark.parametrize("value", [0.9, 0.8, 0.5])
def test_checks_explain_and_never_change_the_verdict(changes, value):
    found, usual = assess(value, **changes), assess(value)
    assert (found["verdict"], found["reason"]) == (usual["verdict"], usual["reason"])
    assert [reason["check"] for reason in found["reasons"]] == [name.split(":")[0] for name in changes]
    assert all(reason["unusual"] for reason in found["reasons"])
    assert usual["reasons"] == []


def test_without_folds_limits_are_fixed_and_novelty_does_not_count():
    found = assess(0.9, not_judged="evaluation.folds is 0", folds=(), novel=0.99)
    assert (found["verdict"], found["novel"]) == ("pass", None)
    assert found["novelty_not_judged"] == "evaluation.folds is 0"
    assert found["limits_from"] == "fixed limits"


def test_why_novelty_is_not_judged():
    assert verdict.why_novelty_is_not_judged({"novelty": {"judged": True}}) == ""
    assert "a single batch" in verdict.why_novelty_is_not_judged({"novelty": {"judged": False}})
    assert "folds is 0" in verdict.why_novelty_is_not_judged(None)


def test_labels_do_not_pass_where_no_label_could_be_hidden():
    not_tested = verdict.why_novelty_is_not_tested({"novelty": {"judged": True, "hidden": []}})
    assert "three labels" in not_tested
    measures = {"query": USUAL, "batches": {"x": USUAL}, "absent_labels": []}
    found = verdict.assess(measures, [FOLD], {"": estimate(0.95), "x": estimate(0.95)}, "", not_tested)
    assert (found["verdict"], found["batches"]["x"]["verdict"], found["novelty_not_tested"]) == (
        "warn",
        "warn",
        not_tested,
    )
    assert found["reason"].startswith("95% of the labels are estimated to be right")
    assert found["reason"].endswith(not_tested)
    assert verdict.assess(measures, [FOLD], {"": estimate(0.6)}, "", not_tested)["reason"].startswith("only 60%")


def test_labels_may_pass_where_labels_were_hidden_or_nothing_was_held_out():
    assert verdict.why_novelty_is_not_tested({"novelty": {"judged": True, "hidden": ["B"]}}) == ""
    assert verdict.why_novelty_is_not_tested(None) == ""


def test_the_limit_of_mapqc_is_that_of_held_out_controls():
    measures = {"query": USUAL, "batches": {}, "absent_labels": []}
    shares = {"fold_1": {"control_distant": 0.4, "batches": {"a": 0.4, "b": 0.2}}}
    query, folds = verdict.with_mapqc(measures, {"fold_1": FOLD}, {"control_distant": 0.45, "batches": {}}, shares)
    found = verdict.assess(query, folds.values(), {"": estimate(0.9)}, "")
    checks = {check["check"]: check for check in found["checks"]}
    assert not checks["mapqc"]["unusual"]
    assert checks["mapqc"]["held_out"] == [0.4, 0.2]
    assert checks["mapqc"]["usual"] == [None, 0.5]
    assert "mapqc" not in measures["query"]
    assert "mapqc" not in FOLD["batches"]["a"]


def test_a_small_held_out_batch_counts_for_mapqc_alone():
    shares = {"fold_1": {"batches": {"small": 0.1}}}
    query, folds = verdict.with_mapqc({"query": USUAL}, {"fold_1": FOLD}, {"control_distant": None}, shares)
    assert query["query"]["mapqc"] is None
    assert folds["fold_1"]["batches"]["small"] == {"mapqc": 0.1}


def test_a_report_names_what_is_unusual(capsys):
    verdict.report_verdict("q", assess(0.9, {"x": 0.92, "y": 0.5}, profile=0.1))
    said = capsys.readouterr().out
    assert said.startswith("q: WARN: batch 'y' fails: only 50%")
    assert "\n  batch y: fail: " in said
    assert "batch x:" not in said
    assert "unusual: profile is 0.1" in said
    assert "no cell has: NK" in said


@pytest.mark.parametrize(("value", "expected"), [(0.95, "warn"), (0.8, "warn"), (0.6, "fail")])
def test_labels_that_cannot_be_tested_do_not_pass(value, expected):
    measures = {"query": USUAL, "batches": {"x": USUAL}, "absent_labels": []}
    found = verdict.assess(measures, [FOLD], {"": estimate(0.95), "x": estimate(value, tested=False)}, "")
    assert found["batches"]["x"]["verdict"] == expected
    assert ("they cannot be tested" in found["batches"]["x"]["reason"]) == (value == 0.95)
    assert found["verdict"] == ("warn" if expected == "fail" else "pass")


@pytest.mark.parametrize(("labels", "too_few"), [(["A", "B"], True), (["A", "B", "C"], False)])
def test_first_labels_of_a_reference_of_two_labels_do_not_pass(labels, too_few):
    not_tested = verdict.why_labels_are_too_few({"labels": labels})
    assert not_tested.startswith("the reference has 2 labels") == too_few
    measures = {"query": USUAL, "batches": {}, "absent_labels": []}
    assert verdict.assess(measures, [], {"": estimate(0.95)}, "", not_tested)["verdict"] == (
        "warn" if too_few else "pass"
    )
    assert verdict.why_labels_are_too_few(None) == ""
