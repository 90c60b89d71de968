"""What is left out of the screen, and how failed jobs are shown there.

Snakemake tells several lines about each job.
"""

import logging
from collections.abc import Iterable
from pathlib import Path

from refatlas.jobs.watch import WatchedJob, event_of, log_lines

# Of Snakemake's logging: the handler that prints on the screen.
SCREEN_HANDLER = "DefaultStreamHandler"
# Which jobs start and end, and what they may use.
HIDDEN_EVENTS = ("job_started", "job_finished", "progress", "resources_info", "job_info", "group_info")
HIDDEN_BEGINNINGS = (
    "Select jobs to execute",
    "Using shell: ",
    "Conda environments: ignored",
    "Singularity containers: ignored",
    "Group jobs: inactive",
    "SLURM run ID: ",
    "No SLURM account given",
    "Cleaning up SLURM log files",
)
SUBMITTED = "has been submitted with SLURM jobid"
# A log of the cluster's own tells most at its end.
CLUSTER_LINES = 20


class QuietScreen(logging.Filter):
    """Leaves out what Snakemake tells about every single job; warnings and errors stay.

    That a script ended with 1 is left out as well: `failure_text` says why it did.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record is shown."""
        text = str(record.msg or "")
        if event_of(record) == "error":
            return not ("CalledProcessError" in text and "returned non-zero exit status 1." in text)
        if record.levelno != logging.INFO:
            return True
        return not (event_of(record) in HIDDEN_EVENTS or text.startswith(HIDDEN_BEGINNINGS) or SUBMITTED in text)


def quieten(logger: logging.Logger) -> None:
    """Leave these lines out of the screen, but not out of log files and of plugins."""
    for handler in logger.handlers:
        if handler.name == SCREEN_HANDLER and not any(isinstance(known, QuietScreen) for known in handler.filters):
            handler.addFilter(QuietScreen())


def failure_text(
    jobs: Iterable[WatchedJob], message: str, cluster_logs: Iterable[str], with_logs: bool, on_screen: bool
) -> str:
    """Return what to show of jobs that failed together; "" if it is on the screen already.

    Args:
        jobs: that failed.
        message: what the cluster says.
        cluster_logs: paths of the cluster's logs.
        with_logs: show the jobs' logs in full, not only where they are.
        on_screen: whether messages of refused input are on the screen already. Those of jobs on
            this machine are.
    """
    unexplained, texts = False, []
    for job in jobs:
        refused = log_lines(job)[-1:] and log_lines(job)[-1].startswith("Error: ")
        unexplained |= not refused
        if not (refused and on_screen):
            texts += _job_lines(job, with_logs)
    if unexplained:
        texts += _indented([message])
        for log in cluster_logs:
            texts += [f"  {log}, at its end:", *_indented(_lines(log)[-CLUSTER_LINES:])]
    return "\n".join(texts)


def _job_lines(job: WatchedJob, with_logs: bool) -> list[str]:
    lines = log_lines(job)
    if not lines:
        return [f"Error in {job.title()}: it ended before it wrote a log"]
    if not with_logs:
        return [f"Error in {job.title()}: see {job.logs[0]}"]
    return [f"Error in {job.title()}; {job.logs[0]}:", *_indented(lines)]


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"    {line}" for line in lines if line]
