"""Fits the coefficient of the estimated accuracy (refatlas/transfer/accuracy.py) to development pairs.

usage: .venv/bin/python measurements/trust/fit_accuracy.py DATA
    DATA  folder of the files that pairs.py names

Each undamaged development pair is mapped as it is, and with two draws of every kind of damage. Prints by how much the
log odds of the confidence fall with the logarithm of the way back, and how far the estimate errs by how much it was
lowered. Ambient RNA of 0.7 and more is left out: the labels of such cells agree, and no measure here sees it.
"""

import contextlib
import io
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from refatlas.transfer.accuracy import LEAST, MOST, relative_way_back
from refatlas.transfer.pooling import pooled_probabilities
from trust import pairs as graded
from trust.delivered import evidence_of, learn_reference
from trust.pipeline import KEPT, Run, aligned, map_cells, run

AMOUNTS = {
    "depth": (0.5, 0.3, 0.1, 0.04, 0.02),
    "ambient": (0.3, 0.5),
    "exchanged": (0.2, 0.4, 0.6, 0.8),
    "missing": (0.5, 0.8, 0.95),
    "technology": (0.5, 1, 1.5),
}
MIN_SEEN = 30


def damaged(pair: graded.Pair, seed: int) -> Iterator[graded.Pair]:
    """Yield a pair as it is, and with one amount of every kind of damage."""
    random = np.random.default_rng(seed)
    yield pair
    for kind, amounts in AMOUNTS.items():
        yield replace(pair, damage=f"{kind}:{random.choice(amounts)}")


def undamaged() -> list[graded.Pair]:
    """Return the development pairs without damage and noise."""
    return [p for p in graded.pairs() if p.half == "development" and not p.damage and not p.noise]


def observed(found: Run, parameters: dict) -> dict[str, float] | None:
    """Return confidence, relative way back and accuracy; None for a pair with a few seen cells."""
    evidence = evidence_of("atlas", found.query, parameters["labels"])
    p, _ = pooled_probabilities(evidence, parameters)
    truth = found.query.cells["label"].to_numpy(dtype=object)
    seen = np.isin(truth.astype(str), parameters["labels"])
    relative = relative_way_back(found.query.matched.agreement[""])
    if 0 < seen.sum() < MIN_SEEN or relative is None:
        return None
    counted = seen if seen.any() else np.ones(len(seen), dtype=bool)
    given = np.array(parameters["labels"], dtype=object)[p.argmax(axis=1)]
    return {
        "confidence": float(p[counted].max(axis=1).mean()),
        "gap": min(relative - parameters["way_back"]["relative"], 0.0),
        "accuracy": float((given[seen] == truth[seen]).mean()) if seen.any() else 0.0,
    }


def table(data: str) -> pd.DataFrame:
    """Return one row per damaged pair."""
    rows = []
    for pair in undamaged():
        with contextlib.redirect_stdout(io.StringIO()):
            found = run(data, pair, 0, 3, KEPT)
            parameters = learn_reference(found, (0.1,)).parameters
            for seed in (1, 2):
                for changed in damaged(pair, seed):
                    counts = aligned(graded.query(data, changed, seed), found.reference.counts.var_names.to_numpy())
                    row = observed(replace(found, query=map_cells(found.reference, counts)), parameters)
                    rows += [{"pair": changed.name, "reference": pair.reference, **row}] if row else []
        print(pair.name, flush=True)
    return pd.DataFrame(rows)


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    found = table(sys.argv[1])
    start = logit(np.clip(found["confidence"], LEAST, MOST))
    weights = 1 / np.sqrt(found.groupby("reference")["reference"].transform("size"))

    def loss(coefficient: float) -> float:
        away = (expit(start + coefficient * found["gap"]) - found["accuracy"]).abs() ** 1.5
        return float(np.average(away, weights=weights))

    coefficient = float(minimize_scalar(loss, bounds=(0, 5), method="bounded").x)
    lowered = -coefficient * found["gap"]
    error = expit(start - lowered) - found["accuracy"]
    print(f"{len(found)} mappings; coefficient {coefficient:.2f}")
    bins = pd.cut(lowered, [-1, 0.05, 0.2, 0.5, 1, 10])
    print(error.groupby(bins, observed=True).agg(["size", "mean", "std", lambda e: e.abs().quantile(0.9)]).round(3))


if __name__ == "__main__":
    main()
