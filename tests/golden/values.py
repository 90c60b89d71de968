"""Summaries of a rule's results that are compared with recorded ones.

A result that changes while its rule's revision stays is a defect: results that exist would not be computed again, and
old and new ones would be mixed. So `compare` fails then, and `record` refuses to overwrite.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from refatlas.revisions import REVISIONS

FILE = Path(__file__).parent / "values.json"
# Times, versions and places differ from run to run.
VOLATILE = {"seconds", "cells_per_second", "device", "files", "checksums", "versions", "notes", "latent sha256"}
# Of the comparison of models, and of the rounds of an annotation.
VOLATILE |= {"train_seconds", "train_peak_mb", "remarks", "time"}
# Words on what was read, as notes are.
VOLATILE |= {"line", "origins", "places", "gene_notes"}
FEW = 40
Values = dict[str, Any]


def text_values(values: pd.Series) -> Values:
    """Return how often each of a few texts occurs, or the number of many and a digest of them in their order."""
    values = values.astype(object).where(values.notna(), "missing").map(str)
    counts = values.value_counts()
    if len(counts) <= FEW:
        return {str(value): int(n) for value, n in sorted(counts.items())}
    return {"distinct": len(counts), "digest": hashlib.sha256("\n".join(values).encode()).hexdigest()[:16]}


def column_values(column: pd.Series) -> Values:
    """Return a summary of one column of a table."""
    if column.dtype == bool:
        return {"true": int(column.sum())}
    if column.dtype.kind in "iuf":
        return number_values(column.to_numpy(dtype=float))
    if len(column) and isinstance(column.iloc[0], list | np.ndarray):
        return text_values(column.map(lambda labels: "; ".join(map(str, labels))))
    return text_values(column)


def number_values(numbers: np.ndarray) -> Values:
    """Return number, mean and spread of finite numbers, and a sum that depends on their order."""
    numbers = np.asarray(numbers, dtype=float).ravel()
    finite = numbers[np.isfinite(numbers)]
    if not len(finite):
        return {"n": 0}
    order = np.cos(np.arange(len(numbers)))[np.isfinite(numbers)]
    return {
        "n": len(finite),
        "mean": float(finite.mean()),
        "sd": float(finite.std()),
        "ordered": float((finite * order).mean()),
    }


def table_values(table: pd.DataFrame) -> Values:
    """Return a summary of each column."""
    columns = {str(name): column_values(table[name]) for name in table if name not in VOLATILE}
    return {"rows": len(table), **columns}


def json_values(value: Any) -> Any:
    """Return a JSON value without what differs from run to run."""
    if isinstance(value, dict):
        return {key: json_values(part) for key, part in value.items() if key not in VOLATILE}
    if isinstance(value, list):
        return [json_values(part) for part in value]
    return value


def file_values(path: Path) -> Any:
    """Return the summary of one file of results, or None for kinds that are not compared (figures, models, pages)."""
    if path.suffix == ".parquet":
        return table_values(pd.read_parquet(path))
    if path.suffix == ".csv":
        return table_values(pd.read_csv(path))
    if path.suffix == ".json":
        return json_values(json.loads(path.read_text(encoding="utf-8")))
    if path.suffix == ".nwk":
        return path.read_text(encoding="utf-8").strip()
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            kept = {name: arrays[name] for name in arrays.files if name not in VOLATILE}
            return {
                n: number_values(a) if a.dtype.kind in "iufb" else list(map(str, a.ravel()[:FEW]))
                for n, a in kept.items()
            }
    if path.suffix == ".h5ad":
        data = ad.read_h5ad(path)
        spaces = {name: number_values(values) for name, values in data.obsm.items()}
        return {"shape": list(data.shape), "X": number_values(data.X.data), "obs": table_values(data.obs), **spaces}
    return None


def run_values(run: Path) -> dict[str, dict[str, Any]]:
    """Return the summaries of a finished run by rule and file; the rule of a file is that of its job's record."""
    found: dict[str, dict[str, Any]] = {}
    for record in sorted((run / "logs").rglob("*.json")):
        job = json.loads(record.read_text(encoding="utf-8"))
        for path in (Path(output) for output in job["outputs"]):
            for file in sorted((run / path).rglob("*")) if (run / path).is_dir() else [run / path]:
                values = file_values(file)
                if values is not None:
                    found.setdefault(job["rule"], {})[str(file.relative_to(run))] = values
    return found


def differences(old: Any, new: Any, tolerance: float, where: str = "") -> list[str]:
    """Return where two summaries differ by more than a relative tolerance of their numbers."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(key for key in new if key not in old)]
        return [d for key in keys for d in differences(old.get(key), new.get(key), tolerance, f"{where} {key}")]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [
            d
            for i, (a, b) in enumerate(zip(old, new, strict=True))
            for d in differences(a, b, tolerance, f"{where} {i}")
        ]
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (old, new))
    same = abs(old - new) <= tolerance * max(abs(old), abs(new), 1e-3) if numbers else old == new
    return [] if same else [f"{where.strip()}: {old}, now {new}"]


def read_recorded() -> dict[str, dict[str, Any]]:
    """Return the recorded values by rule."""
    return json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}


def compare(kind: str, run: Path, tolerance: float, rules: set[str] | None = None) -> list[str]:
    """Return what is wrong with a run: changed results under an unchanged revision, or values not recorded.

    Args:
        kind: name of the run, under which its values are recorded. rules: those compared; None for all.
    """
    recorded, problems = read_recorded(), []
    for rule, files in run_values(run).items():
        known = recorded.get(rule, {}).get(kind)
        revision = recorded.get(rule, {}).get("revision")
        if rules is not None and rule not in rules:
            continue
        if known is None or revision != REVISIONS[rule]:
            problems.append(f"{rule}: revision {REVISIONS[rule]} has no recorded values; run make golden")
        elif changed := differences(known, files, tolerance):
            problems.append(
                f"{rule}: results changed under revision {revision} ({len(changed)} values: {'; '.join(changed[:4])}); "
                "raise the rule's revision in refatlas/revisions.py, name it in CHANGELOG.md, and run make golden"
            )
    return problems


def record(kind: str, run: Path, tolerance: float, rules: set[str] | None = None) -> None:
    """Write the values of a run; those of an unchanged revision must not change.

    Raises:
        ValueError: results changed under an unchanged revision.
    """
    recorded = read_recorded()
    for rule, files in run_values(run).items():
        if rules is not None and rule not in rules:
            continue
        entry = recorded.get(rule, {})
        if entry.get("revision") == REVISIONS[rule] and kind in entry:
            if changed := differences(entry[kind], files, tolerance):
                raise ValueError(f"{rule}: raise its revision first: {'; '.join(changed[:4])}")
            continue
        if entry.get("revision") != REVISIONS[rule]:
            entry = {}
        recorded[rule] = {**entry, "revision": REVISIONS[rule], kind: files}
    text = json.dumps(dict(sorted(recorded.items())), indent=1, ensure_ascii=False, allow_nan=False)
    FILE.write_text(text + "\n", encoding="utf-8")
