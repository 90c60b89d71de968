"""Whether a mapping can be trusted: pass, warn or fail, with every reason, its value, its limits
and what to do.
"""

from dataclasses import dataclass

ORDER = ("pass", "warn", "fail")


@dataclass(frozen=True)
class Check:
    """One measure and when it is bad.

    Attributes:
        measure: its name in measures.json; "name:" stands for one of each model, of which the mean
            counts.
        bad: "low", "high" or "both".
        warn, fail: how far beyond the worst held-out batch a value may lie before it is warned of,
            or fails; None for a measure that alone fails no mapping:
            cells of another state keep apart from the reference's, and may be labelled rightly.
        usual: the worst usual value where there are no held-out batches, or where they say nothing
            of it (`fixed`); of a log ratio to the reference ("both"), 0 is
            usual in any case.
        says, do: what a bad value means, and what to do.
    """

    measure: str
    bad: str
    warn: float
    fail: float | None
    usual: float | None
    says: str
    do: str
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
        "genes are expressed unlike in the reference",
        "check that gene names belong to their counts and that tissue and species are the reference's",
    ),
    Check(
        "depth",
        "both",
        1.0,
        2.0,
        0.0,
        "cells have another number of counts than the reference's",
        "check that these are raw, not down-sampled or normalised counts; sequence deeper",
    ),
    Check(
        "detected_genes",
        "both",
        0.8,
        1.6,
        0.0,
        "cells have another number of detected genes than the reference's",
        "check sequencing depth and protocol",
    ),
    Check(
        "doublets", "high", 0.1, 0.2, 0.5, "cells resemble sums of two types", "find and remove doublets before mapping"
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
        "cells unlike the reference lie side by side, as a type that the reference lacks would",
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
        "query cells keep apart from reference cells of the same label",
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


def value_of(measures: dict, name: str) -> float | None:
    """Return a measure, or the mean over models of one that each has; None where it was not
    measured.
    """
    if not name.endswith(":"):
        return measures.get(name)
    values = [value for key, value in measures.items() if key.startswith(name) and value is not None]
    return sum(values) / len(values) if values else None


def limits(check: Check, held_out: list[float]) -> dict[str, tuple[float | None, float | None]]:
    """Return the lowest and the highest value that is no reason to warn, and to fail; None for no
    limit.
    """
    usual = (
        [check.usual] if check.fixed or not held_out else [*held_out, check.usual] if check.bad == "both" else held_out
    )
    if usual == [None]:
        return {"warn": (None, None), "fail": (None, None)}
    found = {}
    for verdict, margin in (("warn", check.warn), ("fail", check.fail)):
        low = min(usual) - margin if margin is not None and check.bad in ("low", "both") else None
        high = max(usual) + margin if margin is not None and check.bad in ("high", "both") else None
        found[verdict] = (low, high)
    return found


def beyond(value: float, low: float | None, high: float | None) -> bool:
    """Return whether a value lies outside of limits."""
    return (low is not None and value < low) or (high is not None and value > high)


def judge(check: Check, measures: dict, batches: list[dict]) -> dict | None:
    """Return one check's verdict with its value and limits; None where the query was not measured."""
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
        "says": check.says,
        "do": check.do,
    }


def assess(measures: dict, held_out: list[dict]) -> dict:
    """Return the verdict of one query.

    Args:
        measures: its measures.json. held_out: those of the folds.
    """
    batches = [batch for fold in held_out for batch in fold["batches"].values()]
    checks = [found for check in CHECKS if (found := judge(check, measures["query"], batches)) is not None]
    verdict = max((check["verdict"] for check in checks), key=ORDER.index)
    reasons = sorted(
        (check for check in checks if check["verdict"] != "pass"), key=lambda c: -ORDER.index(c["verdict"])
    )
    return {
        "verdict": verdict,
        "reason": reasons[0]["says"] if reasons else "nothing unusual was found",
        "reasons": reasons,
        "checks": checks,
        "absent_labels": measures["absent_labels"],
        "limits_from": (
            f"{len(batches)} held-out batches" if batches else "fixed limits: no batch was held out, or only small ones"
        ),
    }


def report_verdict(query: str, found: dict) -> None:
    """Print a verdict with its reasons."""
    print(f"{query}: {found['verdict'].upper()}: {found['reason']}")
    for reason in found["reasons"]:
        print(
            f"  {reason['verdict']}: {reason['check']} is {reason['value']}, usual {reason['warn_beyond']}, fails"
            f" beyond {reason['fail_beyond']}: {reason['says']}; {reason['do']}"
        )
    if found["absent_labels"]:
        print(f"  labels of the reference that no cell has: {', '.join(found['absent_labels'])}")
