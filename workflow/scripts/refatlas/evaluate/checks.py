"""What is unusual about a query in comparison with held-out batches. It explains a verdict, and does not decide it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Limits = tuple[float | None, float | None]
# Probability that a sound query has any unusual measure, if its measures vary as those of held-out batches do.
FALSE_ALARMS = 0.05
# With fewer held-out batches, their spread is too uncertain: the largest margin that batches showed is used alone.
MIN_BATCHES = 3


@dataclass(frozen=True)
class Check:
    """One measure, and when it is unusual.

    Attributes:
        measure: its key in measures.json. "name:" stands for one measure per model, whose mean
            counts.
        bad: "low", "high" or "both".
        margin: least distance from the worst held-out batch at which it is unusual.
        usual: worst usual value if there are no held-out batches, or if they cannot show it
            (`fixed`). For a log ratio to the reference ("both"), 0 is usual in any case.
        meaning: what an unusual value means.
        remedy: what to do about it.
        fixed: whether held-out batches are ignored.
    """

    measure: str
    bad: str
    margin: float
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
        1.0,
        "genes of the reference are missing in the query",
        "give counts of all genes; check gene_key; or build a reference of the genes that the query has",
        fixed=True,
    ),
    Check(
        "masking_shift",
        "high",
        0.5,
        0.0,
        "the missing genes matter to the models: without them, cells of the reference itself move",
        "give counts of all genes, or build a reference of the genes that the query has",
        fixed=True,
    ),
    Check(
        "profile",
        "low",
        0.1,
        0.9,
        "genes are expressed differently than in the reference",
        "check that gene names belong to their counts and that tissue and species are the reference's",
    ),
    Check(
        "depth",
        "both",
        1.0,
        0.0,
        "cells have a different number of counts than those of the reference",
        "check that these are raw, not down-sampled or normalised counts; sequence deeper",
    ),
    Check(
        "detected_genes",
        "both",
        0.8,
        0.0,
        "cells have a different number of detected genes than those of the reference",
        "check sequencing depth and protocol",
    ),
    Check(
        "doublets",
        "high",
        0.1,
        0.5,
        "cells resemble doublets of two types",
        "find and remove doublets before mapping",
    ),
    Check(
        "deviance_ratio:",
        "high",
        0.25,
        None,
        "the models explain the counts worse than those of held-out batches",
        "check tissue, species and protocol; expect types or states that the reference lacks",
    ),
    Check(
        "novel",
        "high",
        0.05,
        0.05,
        "many cells are unlike the reference",
        "look at the cells of status novel: types that the reference lacks, or another tissue",
    ),
    Check(
        "novel_group",
        "high",
        0.002,
        0.0,
        "cells unlike the reference lie together, as those of a type that the reference lacks would",
        "look at the cells of status novel and at their marker genes, and add their type to the reference",
    ),
    Check(
        "confidence",
        "low",
        0.05,
        0.7,
        "labels are less certain than those of held-out batches",
        "look at the ambiguous cells; expect types between or beyond those of the reference",
    ),
    Check(
        "mixing:",
        "low",
        0.15,
        0.3,
        "query cells stay separate from reference cells of the same label",
        "expect a batch effect that surgery did not remove, or another state of the cells",
    ),
    Check(
        "late_fall",
        "high",
        0.005,
        0.0,
        "surgery ended while its loss was still falling by this share in ten epochs",
        "raise surgery.max_epochs of the models",
        fixed=True,
    ),
    Check(
        "mapqc",
        "high",
        0.1,
        0.0,
        "control cells are further from the reference than its own samples are from each other (mapQC score above 2)",
        "expect a batch effect that surgery did not remove; compare with other models before differences of the other"
        " cells are believed",
    ),
    Check(
        "low_quality",
        "high",
        0.1,
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


def limits(check: Check, held_out: Sequence[float]) -> Limits:
    """Return the lowest and highest usual values.

    Both the margin beyond the worst held-out batch and the prediction interval of a further batch
    must be left. The interval is that of a normal distribution, and its level is divided by the
    number of checks (Bonferroni), so that a sound query has any unusual measure with a probability
    of FALSE_ALARMS at most.

    Args:
        check: the check.
        held_out: values of the held-out batches.
    """
    usual = _usual_values(check, held_out)
    if not usual:
        return None, None
    low, high = min(usual) - check.margin, max(usual) + check.margin
    if len(held_out) >= MIN_BATCHES and not check.fixed:
        center, half = _prediction_interval(held_out)
        low, high = min(low, center - half), max(high, center + half)
    return (low if check.bad in ("low", "both") else None), (high if check.bad in ("high", "both") else None)


def _prediction_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the center and half width of the interval in which a further batch's value is expected."""
    from scipy.stats import t

    n = len(values)
    quantile = float(t.ppf(1 - FALSE_ALARMS / len(CHECKS), n - 1))
    return float(np.mean(values)), quantile * float(np.std(values, ddof=1)) * float(np.sqrt(1 + 1 / n))


def _usual_values(check: Check, held_out: Sequence[float]) -> list[float]:
    fixed = [] if check.usual is None else [check.usual]
    if check.fixed or not held_out:
        return fixed
    return [*held_out, *fixed] if check.bad == "both" else list(held_out)


def beyond(value: float, low: float | None, high: float | None) -> bool:
    """Return whether a value lies outside of limits."""
    return (low is not None and value < low) or (high is not None and value > high)


def checked(check: Check, measures: Mapping[str, Any], batches: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the result of one check with its value and limits; None if the query lacks the measure.

    Args:
        check: the check.
        measures: of the query.
        batches: measures of each held-out batch.
    """
    value = value_of(measures, check.measure)
    if value is None:
        return None
    held_out = [v for v in (value_of(batch, check.measure) for batch in batches) if v is not None]
    low, high = limits(check, held_out)
    return {
        "check": check.measure.rstrip(":"),
        "unusual": beyond(value, low, high),
        "value": round(value, 4),
        "usual": [None if end is None else round(end, 4) for end in (low, high)],
        "held_out": [] if check.fixed else [round(v, 4) for v in held_out],
        "meaning": check.meaning,
        "remedy": check.remedy,
    }


def all_checks(measures: Mapping[str, Any], batches: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the results of all checks for which the query has a measure.

    Args:
        measures: of the query.
        batches: measures of each held-out batch.
    """
    return [found for check in CHECKS if (found := checked(check, measures, batches)) is not None]
