"""Grades the pairs of the benchmark of trust (see PROTOCOL.md), one row of a CSV for each.

usage: .venv/bin/python measurements/trust/grade_pairs.py DATA OUT [HALF [SEEDS [FOLDS [COUNTS]]]]
    DATA   folder of the files that pairs.py names
    OUT    CSV to append to
    HALF   development (default) or final
    SEEDS  separated by commas (default 0)
    FOLDS  folds of the reference (default 3)
    COUNTS  cells (default), or simulated: what queries are compared with, as bundle.counts says
"""

import contextlib
import io
import sys
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from trust import grades, pipeline
from trust.delivered import Learned, deliver_pair, learn_reference
from trust.pairs import Pair, pairs
from trust.pipeline import KEPT, Run, run

# Shares of cells whose set may miss their label.
ALPHAS = (0.1, 0.02)


@lru_cache(maxsize=2)
def learned_of(data: str, pair: Pair, seed: int, folds: int, folder: Path | None) -> Learned:
    """Return what is learned of the reference of a pair; kept, because neighbouring pairs share it."""
    return learn_reference(run(data, pair, seed, folds, folder), ALPHAS)


def grade(found: Run, learned: Learned) -> dict[str, Any]:
    """Return all grades of one pair."""
    delivered, sets = deliver_pair(found, learned)
    cells, labels = found.query.cells, delivered.labels
    known = cells["label"].notna().to_numpy()
    truth = cells["label"].to_numpy(dtype=object)
    seen = known & np.isin(truth.astype(str), labels)
    given = np.array(labels, dtype=object)[delivered.p.argmax(axis=1)]
    row: dict[str, Any] = {"n_cells": len(cells), "n_seen": int(seen.sum()), "n_unseen": int((known & ~seen).sum())}
    row |= grades.label_grades(truth[seen].astype(str), given[seen].astype(str))
    for name, p in delivered.sources.items():
        best = np.array(labels, dtype=object)[p.argmax(axis=1)]
        row |= {
            f"{name.replace(':', '_')}_{key}": value
            for key, value in grades.label_grades(truth[seen].astype(str), best[seen].astype(str)).items()
        }
    row |= grades.probability_grades(delivered.p[seen], labels, truth[seen].astype(str))
    codes, batches = pd.Index(labels).get_indexer(truth[seen]), cells["batch"].to_numpy(dtype=str)
    for alpha, inside in sets.items():
        covered, sizes = inside[np.flatnonzero(seen), codes], inside.sum(axis=1)
        found_grades = grades.coverage_grades(covered, truth[seen].astype(str), batches[seen], sizes[seen])
        row |= {f"{key}_{round(100 * (1 - alpha))}": value for key, value in found_grades.items()}
    unseen = (known & ~seen)[known]
    row |= grades.novelty_grades(delivered.novelty[known], delivered.novel[known], unseen, truth[known].astype(str))
    doubt = 1 - delivered.sources["linear:classifier"].max(axis=1)
    row["auroc_logistic"] = grades.novelty_grades(doubt[known], doubt[known] > 1, unseen, truth[known].astype(str))[
        "auroc_novelty"
    ]
    accuracy = row["accuracy"] if seen.any() else 0.0
    return row | grades.verdict_grades(delivered.verdict, *delivered.estimate, accuracy) | {"reason": delivered.reason}


def same_reference(pair: Pair) -> Pair:
    """Return the first pair with the same reference."""
    key = (pair.reference, pair.hide, pair.noise)
    return next(other for other in pairs() if (other.reference, other.hide, other.noise) == key)


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    data, out, half, seeds, folds, counts = [*sys.argv[1:], *["development", "0", "3", "cells"][len(sys.argv) - 3 :]]
    pipeline.SIMULATED = counts == "simulated"
    for seed in map(int, seeds.split(",")):
        for pair in (pair for pair in pairs() if pair.half == half):
            started = time.monotonic()
            folder = KEPT if seed == 0 and counts == "cells" else None
            found = run(data, pair, seed, int(folds), folder)
            with contextlib.redirect_stdout(io.StringIO()):
                reference = same_reference(pair)
                row = {
                    **vars(pair),
                    "seed": seed,
                    **grade(found, learned_of(data, reference, seed, int(folds), folder)),
                }
            pd.DataFrame([row]).to_csv(out, mode="a", header=not Path(out).exists(), index=False)
            shown = ", ".join(f"{key} {row[key]:.3f}" for key in ("accuracy", "macro_f1", "ece", "false_novel"))
            print(f"{pair.name} ({seed}): {shown}, {row['verdict']}, {time.monotonic() - started:.1f} s", flush=True)


if __name__ == "__main__":
    main()
