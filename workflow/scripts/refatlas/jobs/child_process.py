"""Jobs that read users' files, run in a child process.

C libraries may crash or loop endlessly on a damaged file. No Python code in the same process can
catch that.
"""

import ctypes
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Any, NoReturn

from refatlas.errors import InputError, listed
from refatlas.io import watchdog
from refatlas.jobs.process_end import run_to_end
from refatlas.jobs.run import Main, exit_quickly, run_job, run_logged
from refatlas.remote.fetched import data_files

# Signals that end a process which cannot continue. The last is the watchdog's.
CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGALRM)
PR_SET_PDEATHSIG = 1


def run_in_child_process(main: Main, smk: Any) -> None:
    """Run a job as `run_job` does, in a child process.

    If that crashes or makes no progress, the job ends as after an InputError that names its input
    `files`.

    Raises:
        SystemExit: the job failed. Its log has the reason.
    """
    with warnings.catch_warnings():
        # Of forks with threads: those of numpy and pyarrow are idle here, and both libraries
        # support forks.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        _run_child(main, smk)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if -code in CRASHES:
        _report_crash(smk, signal.Signals(-code))
    if code < 0:
        os.kill(os.getpid(), -code)
    if code:
        raise SystemExit(code)
    exit_quickly(smk)


def _report_crash(smk: Any, end: signal.Signals) -> None:
    """End the job with an InputError that names its files, after the child process's log."""
    log = Path(smk.log[0]).read_text(encoding="utf-8", errors="replace")
    reason = f"made no progress for {watchdog.READ_LIMIT_S} s" if end == signal.SIGALRM else f"crashed with {end.name}"
    files = data_files([smk.input.files] if isinstance(smk.input.files, str) else smk.input.files)

    def main(smk: Any) -> None:
        print(log)
        raise InputError(
            f"{listed(files, 3)}: the library that reads it {reason}. The file is probably damaged: write or download"
            " it again (if the folder of temporary files, TMPDIR, is full, make room there)"
        )

    run_job(main, smk)


def _run_child(main: Main, smk: Any) -> NoReturn:
    """Run a job in this process, and end it with 0 or with the code of the failure."""

    def run() -> None:
        if sys.platform == "linux":
            # The child process ends with its parent.
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        watchdog.enable_watchdog()
        run_logged(main, smk)

    run_to_end(run)
