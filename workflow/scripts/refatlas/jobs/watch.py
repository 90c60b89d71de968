"""Which jobs of a run are running, done or failed, from what Snakemake logs.

Snakemake describes each event for its logger plugins: the attribute `event` of a log record, and the
fields that belong to it. A handler of the same logger sees them as well, without being installed.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from refatlas.io.progress_file import CLOCK_SECONDS

# The line that every job ends its log with if it succeeds.
DONE = "done in "


@dataclass(frozen=True)
class WatchedJob:
    """A job of the run.

    Attributes:
        rule: its name.
        wildcards: by name.
        logs: paths of its log files, the rule's first.
        started: when it was started or submitted, in seconds since the epoch.
    """

    rule: str
    wildcards: dict[str, str] = field(default_factory=dict)
    logs: tuple[str, ...] = ()
    started: float = 0.0

    def title(self) -> str:
        """Return the rule with its wildcards, for people."""
        return " ".join([self.rule, *self.wildcards.values()])


@dataclass(frozen=True)
class RunState:
    """The jobs of a run at one time.

    Attributes:
        done: number of jobs that have ended.
        total: number of jobs.
        running: those started or submitted, in the order of their start.
    """

    done: int
    total: int
    running: tuple[WatchedJob, ...] = ()


# Called with the jobs that failed together, what the cluster says, and its logs.
OnFailure = Callable[[list[WatchedJob], str, list[str]], None]


class JobWatch(logging.Handler):
    """Follows the jobs of a run.

    Args:
        on_failure: called when a job, or a group of jobs in one submission, fails.

    Attributes:
        total: number of jobs.
        failed: jobs that failed and were not tried again, by Snakemake's number.
    """

    def __init__(self, on_failure: OnFailure | None = None) -> None:
        super().__init__()
        self.on_failure = on_failure
        self._state_lock = threading.Lock()
        self.done, self.total = 0, 0
        self.running: dict[int, WatchedJob] = {}
        self.failed: dict[int, WatchedJob] = {}

    def state(self) -> RunState:
        """Return the jobs as they are now."""
        with self._state_lock:
            return RunState(self.done, self.total, tuple(self.running.values()))

    def emit(self, record: logging.LogRecord) -> None:
        """Take notice of an event; other messages are ignored."""
        take = {
            "job_info": self._start,
            "job_finished": self._finish,
            "job_error": self._fail,
            "group_error": self._fail_group,
            "progress": self._count,
        }.get(event_of(record))
        # With other fields, from another version of Snakemake, less is shown; the run goes on.
        with suppress(KeyError, TypeError):
            if take is not None:
                take(vars(record))

    def _start(self, event: Mapping[str, Any]) -> None:
        wildcards = {name: str(value) for name, value in dict(event["wildcards"] or {}).items()}
        job = WatchedJob(event["rule_name"], wildcards, tuple(event["log"] or ()), event["created"])
        with self._state_lock:
            # A job that is tried again has not failed yet.
            self.failed.pop(event["jobid"], None)
            self.running[event["jobid"]] = job

    def _finish(self, event: Mapping[str, Any]) -> None:
        with self._state_lock:
            self.running.pop(event["job_id"], None)

    def _count(self, event: Mapping[str, Any]) -> None:
        with self._state_lock:
            self.done, self.total = event["done"], event["total"]

    def _fail(self, event: Mapping[str, Any]) -> None:
        # Of a group, all jobs are reported once more, whether they have begun or not.
        if not event.get("indent"):
            job = self._ended(event)
            self._take_failed({event["jobid"]: job}, event.get("rule_msg") or "", list(event["log"])[len(job.logs) :])

    def _fail_group(self, event: Mapping[str, Any]) -> None:
        jobs = {info["jobid"]: self._ended(info) for info in event["job_error_info"]}
        guilty = {jobid: job for jobid, job in jobs.items() if has_failed(job)}
        self._take_failed(guilty or jobs, event.get("msg") or "", list(event["aux_logs"]))

    def _ended(self, event: Mapping[str, Any]) -> WatchedJob:
        with self._state_lock:
            known = self.running.pop(event["jobid"], None)
        return known or WatchedJob(event["rule_name"], logs=tuple(event["log"][:1]))

    def _take_failed(self, jobs: dict[int, WatchedJob], message: str, logs: list[str]) -> None:
        with self._state_lock:
            self.failed.update(jobs)
        if self.on_failure:
            self.on_failure(list(jobs.values()), message, logs)


def has_failed(job: WatchedJob) -> bool:
    """Return whether a job of a failed group is one that failed: by its log, it has begun and not ended."""
    if not job.logs or not log_lines(job):
        return False
    return not log_lines(job)[-1].startswith(DONE)


def log_lines(job: WatchedJob) -> list[str]:
    """Return the lines of a job's log; none if there is no log, or only that of an earlier attempt."""
    try:
        path = Path(job.logs[0])
        if path.stat().st_mtime < job.started - CLOCK_SECONDS:
            return []
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except (OSError, IndexError):
        return []


def event_of(record: logging.LogRecord) -> str:
    """Return the name of Snakemake's event that a log record tells; "" if it tells none."""
    return str(getattr(record, "event", None) or "")


def counted(names: Iterable[str]) -> str:
    """Return names as a list with the number of those that are equal, such as "map_query (2)"."""
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return ", ".join(name if n == 1 else f"{name} ({n})" for name, n in counts.items())
