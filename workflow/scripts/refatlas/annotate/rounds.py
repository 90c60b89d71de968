"""The rounds of an annotation: who named what, and what changed from one round to the next."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from refatlas.annotate.annotation import LabelledDatasets
from refatlas.annotate.held_cells import EXCLUDED
from refatlas.io.atomic import read_json, write_json

# Beside the summary. No output of the rule: Snakemake would delete it before the next round.
HISTORY = "annotation_rounds.json"
# As rounds before version 0.9.2 call clusters whose cells are excluded.
FORMERLY_EXCLUDED = "taken out"


def record_round(
    path: str, rows: Sequence[Any], names: Sequence[Any], written: dict[str, str | None], found: LabelledDatasets
) -> dict[str, Any]:
    """Return the content of annotation.json, and add this round to the history beside it, if anything changed.

    Args:
        path: of annotation.json.
        rows: of the annotation. names: of the label map.
        written: paths of annotation and label_map.
        found: the labels of the cells.
    """
    history_file = Path(path).with_name(HISTORY)
    history = read_json(history_file) if history_file.exists() else []
    files = {kind: _digest(file) for kind, file in written.items() if file}
    if not history or history[-1]["files"] != files:
        history.append(_round(rows, names, files, found, history))
        write_json(history, history_file)
    cells = pd.concat([table.loc[table["keep"], ["label", "excluded"]] for table in found.cells.values()])
    return {
        "paths": written,
        "labels": {str(label): int(n) for label, n in cells["label"].value_counts().items()},
        "unlabelled": int(cells["label"].isna().sum()),
        "excluded": int(cells["excluded"].sum()),
        "carried": int((found.changes["change"] == "changed").sum()),
        "rounds": history,
    }


def _digest(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _round(
    rows: Sequence[Any], names: Sequence[Any], files: dict[str, str], found: LabelledDatasets, history: list[dict]
) -> dict[str, Any]:
    """Return one round: when, by whom, what every cluster and label was named, and what is new since the last."""
    decisions = {
        f"{row.model}, resolution {row.resolution}, cluster {row.cluster}": _decision(row)
        for row in rows
        if row.decided
    }
    decisions |= {f"{row.dataset}, label {row.label}": " / ".join(row.names) for row in names if row.names}
    before = {
        what: EXCLUDED if decision == FORMERLY_EXCLUDED else decision
        for what, decision in (history[-1]["decisions"] if history else {}).items()
    }
    changes = [
        f"{what}: {before.get(what, 'undecided')} → {decisions.get(what, 'undecided')}"
        for what in dict.fromkeys([*before, *decisions])
        if before.get(what) != decisions.get(what)
    ]
    by: dict[str, int] = {}
    for row in rows:
        if row.decided:
            by[row.by or "not said"] = by.get(row.by or "not said", 0) + 1
    return {
        "round": len(history) + 1,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": files,
        "by": by,
        "decisions": decisions,
        "changes": changes,
        "excluded_cells": len(found.excluded),
    }


def _decision(row: Any) -> str:
    return EXCLUDED if row.exclude else " / ".join(filter(None, row.labels))
