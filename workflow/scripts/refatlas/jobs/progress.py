"""What is shown while a run lasts: jobs done, and a line for each training.

Plain lines that are never overwritten: they are as readable in a terminal as in the log of a
cluster's job.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from refatlas.errors import InputError
from refatlas.io.progress_file import TrainingProgress, progress_file, read_progress
from refatlas.jobs.watch import JobWatch, RunState, WatchedJob, counted

SECONDS_VARIABLE = "REFATLAS_PROGRESS_SECONDS"
# Shortest and longest time between two reports, in seconds. Between them, it is a thirtieth of the
# time that the run has taken: long runs need no line every ten seconds.
TERMINAL_SECONDS, FILE_SECONDS = (10.0, 60.0), (60.0, 300.0)
SHARE_OF_RUN = 1 / 30
# More trainings at once are counted, not listed.
MAX_LINES = 20


def progress_seconds() -> float | None:
    """Return the seconds between two reports that the user asks for; None if they do not.

    Raises:
        InputError: the environment variable is no number.
    """
    text = os.environ.get(SECONDS_VARIABLE, "").strip()
    try:
        seconds = float(text) if text else None
    except ValueError:
        seconds = -1.0
    if seconds is not None and not 0 <= seconds < float("inf"):
        raise InputError(
            f"environment variable {SECONDS_VARIABLE} is {text!r}; give the seconds between two reports of progress,"
            " such as 30, or 0 for none"
        )
    return seconds


def pause(elapsed: float, in_terminal: bool, wanted: float | None) -> float:
    """Return the seconds until the next report.

    Args:
        elapsed: seconds since the start of the run.
        in_terminal: whether a person watches.
        wanted: seconds that the user asks for, or None.
    """
    if wanted is not None:
        return wanted
    shortest, longest = TERMINAL_SECONDS if in_terminal else FILE_SECONDS
    return min(max(shortest, elapsed * SHARE_OF_RUN), longest)


def progress_lines(state: RunState, now: float, other: str = "running") -> list[str]:
    """Return what to show: the count of jobs, a line for each training, and which other jobs run.

    Args:
        state: the jobs.
        now: the time in seconds since the epoch.
        other: what the jobs are that do not train: "submitted" on a cluster, where nobody knows here
            which of them wait.
    """
    trainings, others = [], []
    for job in state.running:
        found = _progress_of(job, now)
        if found:
            trainings.append(training_line(job, found))
        else:
            others.append(job)
    lines = [f"{state.done:,} of {state.total:,} jobs done", *(f"  {line}" for line in trainings[:MAX_LINES])]
    if len(trainings) > MAX_LINES:
        lines.append(f"  and {len(trainings) - MAX_LINES} more trainings")
    if others:
        lines.append(f"  {'also ' if trainings else ''}{other}: {counted(job.rule for job in others)}")
    return lines


def _progress_of(job: WatchedJob, now: float) -> TrainingProgress | None:
    return next(filter(None, (read_progress(progress_file(log), job.started, now) for log in job.logs[:1])), None)


def training_line(job: WatchedJob, found: TrainingProgress) -> str:
    """Return one line on a training: what is trained on what, and how far it is."""
    model = job.wildcards.get("model", job.rule)
    stage = "" if found.stage in ("train", "surgery", model) else f" ({found.stage})"
    return (
        f"{model}{stage}, {_cells_of(job.wildcards)}: epoch {found.epoch}/{found.max_epochs},"
        f" loss {_short(found.loss)}, {found.cells_per_second:,.0f} cells/s,"
        f" at most {duration(found.seconds_left)} left"
    )


def _cells_of(wildcards: Mapping[str, str]) -> str:
    """Return what a job's model is trained on: the reference, a fold, or a query."""
    place = wildcards.get("query") or wildcards.get("split") or "reference"
    kind, _, name = place.partition("/")
    if kind == "queries":
        return f"query {name}"
    fold, _, held_out = name.partition("/")
    return f"{fold}, held-out cells" if held_out else fold or place


def _short(loss: float) -> str:
    return f"{loss:,.1f}" if abs(loss) >= 10 else f"{loss:.3g}"


def duration(seconds: float) -> str:
    """Return a time for people: seconds, minutes, or hours."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


class ProgressReport(threading.Thread):
    """Shows the progress of a run until it is stopped; ends with the process at the latest.

    Args:
        watch: knows the jobs.
        show: prints one text.
        wanted: seconds between two reports; None to choose them.
        in_terminal: whether a person watches.
        other: see `progress_lines`.
    """

    def __init__(
        self,
        watch: JobWatch,
        show: Callable[[str], None],
        wanted: float | None = None,
        in_terminal: bool = False,
        other: str = "running",
    ) -> None:
        super().__init__(name="refatlas-progress", daemon=True)
        self.watch, self.show, self.wanted, self.in_terminal, self.other = watch, show, wanted, in_terminal, other
        self.stopped, self.begun = threading.Event(), time.monotonic()
        self.shown: Sequence[str] = ()

    def run(self) -> None:
        """Report until stopped."""
        while not self.stopped.wait(pause(time.monotonic() - self.begun, self.in_terminal, self.wanted)):
            self.report(time.time())

    def report(self, now: float) -> None:
        """Show the progress if it is another than before."""
        lines = progress_lines(self.watch.state(), now, self.other)
        if lines != self.shown:
            self.shown = lines
            self.show("\n".join([f"{time.strftime('%H:%M:%S', time.localtime(now))}  {lines[0]}", *lines[1:]]))

    def stop(self) -> None:
        """Show nothing more."""
        self.stopped.set()


def in_terminal() -> bool:
    """Return whether a person watches the error stream, where Snakemake prints."""
    return sys.stderr.isatty()
