"""The verdict on a mapping: pass, warn or fail, with every reason, its value, its limits and its remedy."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Limits = tuple[float | None, float | None]
ORDER = ("pass", "warn", "fail")


@dataclass(frozen=True)
class Check:
    """One measure, and when it is bad.

    Attributes:
        measure: its key in measures.json. "name:" stands for one measure per model, whose mean
            counts.
        bad: "low", "high" or "both".
        warn: margin beyond the worst held-out batch from which there is a warning.
        fail: margin from which the query fails; None for a measure that only warns: cells of
            another state stay separate from those of the reference and may still be labelled
            correctly.
        usual: worst usual value if there are no held-out batches, or if they cannot show it
            (`fixed`). For a log ratio to the reference ("both"), 0 is usual in any case.
        meaning: what a bad value means.
        remedy: what to do about it.
        fixed: whether held-out batches are ignored.
    """

    measure: str
    bad: str
    warn: float
    fail: float | None
    usual: float | None
    meaning: str
    remedy: str
    fixed: bool = False


# In the order of causes: what stands first explains what follows.
CHECKS = (
    Check(
        "gene_overlap",
        "low",
        0.1,
        0.4,
        1.0,
        "genes of the reference are missing in the query",
        "give counts of all genes; check gene_key; or build a reference of the genes that the query has",
        fixed=True,
    ),
    Check(
        "masking_shift",
        "high",
        0.5,
        1.0,
        0.0,
        "the missing genes matter to the models: without them, cells of the reference itself move",
        "give counts of all genes, or build a reference of the genes that the query has",
        fixed=True,
    ),
    Check(
        "profile",
        "low",
        0.1,
        0.3,
        0.9,
        "genes are expressed differently than in the reference",
        "check that gene names belong to their counts and that tissue and species are the reference's",
    ),
    Check(
        "depth",
        "both",
        1.0,
        2.0,
        0.0,
        "cells have a different number of counts than those of the reference",
        "check that these are raw, not down-sampled or normalised counts; sequence deeper",
    ),
    Check(
        "detected_genes",
        "both",
        0.8,
        1.6,
        0.0,
        "cells have a different number of detected genes than those of the reference",
        "check sequencing depth and protocol",
    ),
    Check(
        "doublets",
        "high",
        0.1,
        0.2,
        0.5,
        "cells resemble doublets of two types",
        "find and remove doublets before mapping",
    ),
    Check(
        "deviance_ratio:",
        "high",
        0.25,
        1.0,
        None,
        "the models explain the counts worse than those of held-out batches",
        "check tissue, species and protocol; expect types or states that the reference lacks",
    ),
    Check(
        "novel",
        "high",
        0.05,
        0.5,
        0.05,
        "many cells are unlike the reference",
        "look at the cells of status novel: types that the reference lacks, or another tissue",
    ),
    Check(
        "novel_group",
        "high",
        0.002,
        None,
        0.0,
        "cells unlike the reference lie together, as those of a type that the reference lacks would",
        "look at the cells of status novel and at their marker genes, and add their type to the reference",
    ),
    Check(
        "confidence",
        "low",
        0.05,
        0.25,
        0.7,
        "labels are less certain than those of held-out batches",
        "look at the ambiguous cells; expect types between or beyond those of the reference",
    ),
    Check(
        "mixing:",
        "low",
        0.15,
        None,
        0.3,
        "query cells stay separate from reference cells of the same label",
        "expect a batch effect that surgery did not remove, or another state of the cells",
    ),
    Check(
        "late_fall",
        "high",
        0.005,
        None,
        0.0,
        "surgery ended while its loss was still falling by this share in ten epochs",
        "raise surgery.max_epochs of the models",
        fixed=True,
    ),
    Check(
        "mapqc",
        "high",
        0.1,
        None,
        0.0,
        "control cells are further from the reference than its own samples are from each other (mapQC score above 2)",
        "expect a batch effect that surgery did not remove; compare with other models before differences of the other"
        " cells are believed",
    ),
    Check(
        "low_quality",
        "high",
        0.1,
        0.4,
        0.1,
        "many cells are beyond the limits of qc",
        "check the query's quality, or the limits in the config's qc",
        fixed=True,
    ),
)


def value_of(measures: Mapping[str, Any], name: str) -> float | None:
    """Return a measure, or its mean over models if the name ends with ":"; None if it is missing."""
    if not name.endswith(":"):
        return measures.get(name)
    values = [value for key, value in measures.items() if key.startswith(name) and value is not None]
    return sum(values) / len(values) if values else None


def limits(check: Check, held_out: Sequence[float]) -> dict[str, Limits]:
    """Return the lowest and highest values without a warning ("warn"), and without a failure ("fail").

    Args:
        check: the check.
        held_out: values of the held-out batches.
    """
    usual = _usual_values(check, held_out)
    found: dict[str, Limits] = {}
    for verdict, margin in (("warn", check.warn), ("fail", check.fail)):
        low = high = None
        if usual and margin is not None:
            low = min(usual) - margin if check.bad in ("low", "both") else None
            high = max(usual) + margin if check.bad in ("high", "both") else None
        found[verdict] = (low, high)
    return found


def _usual_values(check: Check, held_out: Sequence[float]) -> list[float]:
    fixed = [] if check.usual is None else [check.usual]
    if check.fixed or not held_out:
        return fixed
    return [*held_out, *fixed] if check.bad == "both" else list(held_out)


def beyond(value: float, low: float | None, high: float | None) -> bool:
    """Return whether a value lies outside of limits."""
    return (low is not None and value < low) or (high is not None and value > high)


def judge(check: Check, measures: Mapping[str, Any], batches: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the verdict of one check with its value and limits; None if the query lacks the measure.

    Args:
        check: the check.
        measures: of the query.
        batches: measures of each held-out batch.
    """
    value = value_of(measures, check.measure)
    if value is None:
        return None
    held_out = [v for v in (value_of(batch, check.measure) for batch in batches) if v is not None]
    found = limits(check, held_out)
    verdict = "fail" if beyond(value, *found["fail"]) else "warn" if beyond(value, *found["warn"]) else "pass"
    rounded = {name: [None if end is None else round(end, 4) for end in ends] for name, ends in found.items()}
    return {
        "check": check.measure.rstrip(":"),
        "verdict": verdict,
        "value": round(value, 4),
        "warn_beyond": rounded["warn"],
        "fail_beyond": rounded["fail"],
        "held_out": [] if check.fixed else [round(v, 4) for v in held_out],
        "meaning": check.meaning,
        "remedy": check.remedy,
    }


def assess(measures: Mapping[str, Any], held_out: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the verdict of one query: the content of verdict.json, without the query's name.

    Args:
        measures: measures.json of the query.
        held_out: measures.json of each fold's held-out cells; their batches show what is usual.
    """
    batches = [batch for fold in held_out for batch in fold["batches"].values()]
    checks = [found for check in CHECKS if (found := judge(check, measures["query"], batches)) is not None]
    verdict = max((check["verdict"] for check in checks), key=ORDER.index)
    reasons = sorted(
        (check for check in checks if check["verdict"] != "pass"), key=lambda c: -ORDER.index(c["verdict"])
    )
    return {
        "verdict": verdict,
        "reason": reasons[0]["meaning"] if reasons else "nothing unusual was found",
        "reasons": reasons,
        "checks": checks,
        "absent_labels": measures["absent_labels"],
        "limits_from": (
            f"{len(batches)} held-out batches" if batches else "fixed limits: no batch was held out, or only small ones"
        ),
    }


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
    """Print a verdict with its reasons."""
    print(f"{query}: {found['verdict'].upper()}: {found['reason']}")
    for reason in found["reasons"]:
        print(
            f"  {reason['verdict']}: {reason['check']} is {reason['value']}, usual {reason['warn_beyond']}, fails"
            f" beyond {reason['fail_beyond']}: {reason['meaning']}; {reason['remedy']}"
        )
    if found["absent_labels"]:
        print(f"  labels of the reference that no cell has: {', '.join(found['absent_labels'])}")
