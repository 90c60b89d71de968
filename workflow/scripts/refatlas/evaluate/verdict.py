"""The verdict on a query: whether its labels are right, by their estimated accuracy."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from refatlas.evaluate.checks import FALSE_ALARMS, MIN_BATCHES, all_checks

ORDER = ("pass", "warn", "fail")
# Estimated accuracies from which on the labels pass, and below which they fail.
PASS_ACCURACY, FAIL_ACCURACY = 0.85, 0.7
# Shares of novel cells from which on there is a warning, and from which on the labels fail.
WARN_NOVEL, FAIL_NOVEL = 0.15, 0.9
# With fewer, none can be hidden to see whether it is missed.
MIN_LABELS = 3
# Of labels whose way back says nothing (see refatlas.transfer.accuracy).
NOT_TESTED = (
    "but they cannot be tested, because the cells are too few or nearly all alike: this rests on their confidence"
)


@dataclass(frozen=True)
class LabelVerdict:
    """The verdict on the labels of a query or of one of its batches.

    Attributes:
        verdict: "pass", "warn" or "fail".
        reason: one sentence.
    """

    verdict: str
    reason: str


def judge_labels(estimate: Mapping[str, Any], novel: float | None) -> LabelVerdict:
    """Return the verdict on labels by their estimated accuracy and the share of novel cells.

    Args:
        estimate: estimated accuracy, with value, low, high and tested. Labels that are not tested do not pass.
        novel: share of novel cells; None if novelty cannot be judged.
    """
    value, low, high = (f"{estimate[name]:.0%}" for name in ("value", "low", "high"))
    accuracy = f"{value} of the labels are estimated to be right ({low} to {high})"
    if novel is not None and novel >= FAIL_NOVEL:
        return LabelVerdict("fail", f"{novel:.0%} of the cells are unlike every label of the reference")
    if estimate["value"] < FAIL_ACCURACY:
        return LabelVerdict("fail", f"only {accuracy}")
    if novel is not None and novel >= WARN_NOVEL:
        unlike = f"{novel:.0%} of the cells are unlike every label of the reference"
        return LabelVerdict("warn", f"{unlike}; of the others, {accuracy}")
    if estimate["value"] < PASS_ACCURACY:
        return LabelVerdict("warn", f"only {accuracy}")
    if not estimate["tested"]:
        return LabelVerdict("warn", f"{accuracy}, {NOT_TESTED}")
    return LabelVerdict("pass", accuracy)


def assess(
    measures: Mapping[str, Any],
    held_out: Iterable[Mapping[str, Any]],
    accuracy: Mapping[str, Mapping[str, Any]],
    not_judged: str,
    not_tested: str = "",
) -> dict[str, Any]:
    """Return the verdict of one query: the content of verdict.json, without the query's name.

    Args:
        measures: measures.json of the query.
        held_out: measures.json of each fold's held-out cells; their batches show what is usual.
        accuracy: estimated accuracy of each batch, and of "" for all cells.
        not_judged: why novelty cannot be judged; "" if it can.
        not_tested: why it is unknown whether novel cells are noticed; "" if it is known. The labels do
            not pass then.
    """
    usual = [batch for fold in held_out for batch in fold["batches"].values()]
    checks = all_checks(measures["query"], usual)
    batches = {
        name: _of_part(accuracy[name], found, not_judged)
        for name, found in measures["batches"].items()
        if name in accuracy
    }
    query = _with_batches(_of_part(accuracy[""], measures["query"], not_judged), batches)
    return {
        **_unless_untested(query, not_tested),
        "novelty_not_judged": not_judged,
        "novelty_not_tested": not_tested,
        "reasons": [check for check in checks if check["unusual"]],
        "checks": checks,
        "batches": {name: _unless_untested(found, not_tested) for name, found in batches.items()},
        "absent_labels": measures["absent_labels"],
        "limits_from": _limits_from(len(usual)),
    }


def why_novelty_is_not_judged(learned: Mapping[str, Any] | None) -> str:
    """Return why no cell of a query is called novel; "" if cells are.

    Args:
        learned: calibration.json; None without folds.
    """
    if learned is None:
        return "evaluation.folds is 0, so that nothing shows how far known types vary"
    if not learned["novelty"]["judged"]:
        return "the reference has a single batch, so that nothing shows how far known types vary between batches"
    return ""


def why_novelty_is_not_tested(learned: Mapping[str, Any] | None) -> str:
    """Return why it is unknown whether cells of a type that the reference lacks are noticed; "" if it is known.

    It is known from labels that are hidden from the reference in turn. With two labels, hiding one leaves
    nothing to compare: in a trial, 13 types mapped onto a reference of two were given these two with a mean
    confidence of 0.95, and 1 % of the cells were called novel.

    Args:
        learned: calibration.json; None without folds.
    """
    if learned is None or learned["novelty"]["hidden"]:
        return ""
    return (
        "no label of the reference could be hidden to test whether cells of a type that it lacks are noticed (it"
        " takes three labels, one of them of 10 held-out cells)"
    )


def why_labels_are_too_few(learned: Mapping[str, Any] | None) -> str:
    """Return the same for first labels, for which no label is hidden: by the number of labels alone.

    Args:
        learned: calibration.json of calibrate_quick; None without folds.
    """
    if learned is None or len(learned["labels"]) >= MIN_LABELS:
        return ""
    return (
        f"the reference has {len(learned['labels'])} labels, and it takes three to test whether cells of a type that it"
        " lacks are noticed"
    )


def _unless_untested(part: dict[str, Any], not_tested: str) -> dict[str, Any]:
    """Return a verdict that does not pass if novel cells may go unnoticed."""
    if not not_tested or part["verdict"] != "pass":
        return part
    return {**part, "verdict": "warn", "reason": f"{part['reason']}, but {not_tested}"}


def _of_part(estimate: Mapping[str, Any], measures: Mapping[str, Any], not_judged: str) -> dict[str, Any]:
    novel = None if not_judged else measures.get("novel")
    found = judge_labels(estimate, novel)
    return {
        "verdict": found.verdict,
        "reason": found.reason,
        "n_cells": measures["n_cells"],
        "estimated_accuracy": {name: round(estimate[name], 4) for name in ("value", "low", "high", "confidence")},
        "way_back": None if estimate["way_back"] is None else round(estimate["way_back"], 4),
        "tested": estimate["tested"],
        "novel": None if novel is None else round(novel, 4),
    }


def _with_batches(query: dict[str, Any], batches: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the query's verdict; it does not pass if a batch fails."""
    failed = [name for name, found in batches.items() if found["verdict"] == "fail"]
    if not failed or query["verdict"] != "pass":
        return query
    first = batches[failed[0]]
    more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
    return {**query, "verdict": "warn", "reason": f"batch {failed[0]!r}{more} fails: {first['reason']}"}


def _limits_from(n_batches: int) -> str:
    if n_batches == 0:
        return "fixed limits"
    if n_batches < MIN_BATCHES:
        return f"{n_batches} held-out batches, too few to say how often a query like them has an unusual measure"
    return (
        f"{n_batches} held-out batches; a query like them has any unusual measure with a probability of at most"
        f" {FALSE_ALARMS:.0%}"
    )


def with_mapqc(
    measures: Mapping[str, Any],
    held_out: Mapping[str, Mapping[str, Any]],
    mapqc: Mapping[str, Any],
    held_out_mapqc: Mapping[str, Mapping[str, Any]],
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return the measures of a query and of each fold, with the share of distant control cells.

    Args:
        measures: measures.json of the query.
        held_out: measures.json of each fold.
        mapqc: mapqc.json of the query.
        held_out_mapqc: mapqc.json of each of these folds. Its batches may be more than the measured
            ones.
    """
    query = {**measures, "query": {**measures["query"], "mapqc": mapqc["control_distant"]}}
    folds = {}
    for fold, found in held_out.items():
        batches = {batch: dict(values) for batch, values in found["batches"].items()}
        for batch, share in held_out_mapqc[fold]["batches"].items():
            batches.setdefault(batch, {})["mapqc"] = share
        folds[fold] = {**found, "batches": batches}
    return query, folds


def report_verdict(query: str, found: Mapping[str, Any]) -> None:
    """Print a verdict with what is unusual about the query."""
    print(f"{query}: {found['verdict'].upper()}: {found['reason']}")
    for batch, part in found["batches"].items():
        if len(found["batches"]) > 1 and part["verdict"] != "pass":
            print(f"  batch {batch}: {part['verdict']}: {part['reason']}")
    if found["novelty_not_judged"]:
        print(f"  no cell is called novel: {found['novelty_not_judged']}")
    for reason in found["reasons"]:
        if not reason["unusual"]:
            print(f"  {reason['meaning']}")
            continue
        print(
            f"  unusual: {reason['check']} is {reason['value']}, usual {reason['usual']}: {reason['meaning']};"
            f" {reason['remedy']}"
        )
    if found["absent_labels"]:
        print(f"  labels of the reference that no cell has: {', '.join(found['absent_labels'])}")
