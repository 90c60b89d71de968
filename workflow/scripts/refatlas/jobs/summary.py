"""What is said at the end of a run: the verdict on each query, and where the results are."""

import csv
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refatlas.errors import shown
from refatlas.jobs.watch import WatchedJob

# With more queries, those that pass are counted, not listed, and no more than this many are listed.
MAX_QUERIES = 20
# Statuses of cells are counted in labels.csv up to this size: a second for a million cells.
MAX_COUNTED_BYTES = 20_000_000
WORST_FIRST = ("fail", "warn", "pass")
COUNTED = ("novel", "ambiguous")


@dataclass(frozen=True)
class Delivered:
    """The files of one query.

    Attributes:
        name: of the query.
        labels: path of labels.csv.
        verdict: path of verdict.json.
    """

    name: str
    labels: str
    verdict: str


def run_summary(delivered: Sequence[Delivered], places: Mapping[str, str]) -> str:
    """Return the verdict on each query, and where to find what the run has made.

    Args:
        delivered: the queries whose labels belong to this run.
        places: path of each further result, by its title.
    """
    lines = [*query_lines(delivered), *_labels_line(delivered)]
    lines += [f"{title}: {Path(path).absolute()}" for title, path in places.items() if Path(path).exists()]
    return "\n".join(lines)


def query_lines(delivered: Sequence[Delivered]) -> list[str]:
    """Return a line for each query, worst first; of many queries, only for those that do not pass."""
    found = [(one, verdict) for one in delivered if (verdict := _verdict(one.verdict))]
    found.sort(key=lambda pair: (WORST_FIRST.index(pair[1]["verdict"]), pair[0].name))
    if len(found) <= MAX_QUERIES:
        return [query_line(one, verdict) for one, verdict in found]
    numbers = Counter(verdict["verdict"] for _, verdict in found)
    counts = ", ".join(f"{numbers[name]:,} {name}" for name in WORST_FIRST if numbers[name])
    doubtful = [pair for pair in found if pair[1]["verdict"] != "pass"]
    more = [f"and {len(doubtful) - MAX_QUERIES:,} more that do not pass"] if len(doubtful) > MAX_QUERIES else []
    listed = [query_line(one, verdict) for one, verdict in doubtful[:MAX_QUERIES]]
    return [f"{len(found):,} queries: {counts}", *(f"  {line}" for line in [*listed, *more])]


def query_line(one: Delivered, verdict: Mapping[str, Any]) -> str:
    """Return the verdict on one query with its reason and its counts of doubtful cells."""
    counts = status_counts(one.labels)
    doubtful = [f"{counts[status]:,} {status}" for status in COUNTED if counts[status]]
    of_cells = f"; of {verdict['n_cells']:,} cells, {' and '.join(doubtful)}" if doubtful else ""
    return f"query {one.name}: {verdict['verdict']}: {shown(verdict['reason'], 300)}{of_cells}"


def status_counts(labels: str) -> Counter[str]:
    """Return the number of cells of each status in a labels.csv; none if it is large or not there."""
    with suppress(OSError, csv.Error, UnicodeDecodeError):
        if Path(labels).stat().st_size <= MAX_COUNTED_BYTES:
            with open(labels, encoding="utf-8", newline="") as file:
                return Counter(row["status"] for row in csv.DictReader(file) if row.get("status"))
    return Counter()


def _verdict(path: str) -> dict[str, Any]:
    """Return the content of a verdict.json; nothing if it cannot be read."""
    try:
        found: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
        return found if found["verdict"] in WORST_FIRST and found["reason"] and "n_cells" in found else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _labels_line(delivered: Sequence[Delivered]) -> list[str]:
    """Return where the labels are: of several queries, with QUERY in the place of their names."""
    paths = [(one.name, Path(one.labels).absolute()) for one in delivered if Path(one.labels).exists()]
    if not paths:
        return []
    if len(paths) == 1:
        return [f"labels: {paths[0][1]}"]
    name, first = paths[0]
    general = first.parent.with_name("QUERY") / first.name if first.parent.name == name else first
    return [f"labels: {general}"]


def failure_summary(failed: Iterable[WatchedJob]) -> str:
    """Return which jobs failed, where their logs are, and how to go on."""
    jobs = list(failed)
    lines = [f"{len(jobs)} {'job' if len(jobs) == 1 else 'jobs'} failed:"] if jobs else ["The run stopped."]
    lines += [f"  {job.title()}: {Path(job.logs[0]).absolute() if job.logs else 'no log'}" for job in jobs]
    kept = "What was made before is kept: correct the cause, and run the same command again to go on from there."
    return "\n".join([*lines, kept if jobs else "Run the same command again to go on from there."])
