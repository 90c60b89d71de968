"""Users' files are first read in a child process: C libraries may crash or loop for ever on a
damaged file, which no Python code can catch.
"""

import ctypes
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

from refatlas.errors import InputError, listed
from refatlas.io.watchdog import READ_LIMIT_S, enable_watchdog
from refatlas.jobs.run import exit_quickly, run_job, run_logged

# Signals by which a library ends a process that cannot go on; the last is the watchdog's.
CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGALRM)
PR_SET_PDEATHSIG = 1


def run_in_child_process(main: Callable, smk) -> None:
    """Run a job as `run_job` does, in a child process; if that crashes or makes no progress, refuse
    the job's input `files` as an InputError would.

    Raises:
        SystemExit: the job failed; its log says why.
    """
    with warnings.catch_warnings():
        # About threads: those of numpy and pyarrow are idle here, and both libraries handle forks.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        _run_child(main, smk)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if -code in CRASHES:
        _refuse(smk, -code)
    if code < 0:
        os.kill(os.getpid(), -code)
    if code:
        raise SystemExit(code)
    exit_quickly(smk)


def _refuse(smk, end: int) -> None:
    """End the job with an InputError that names its files; what the child wrote stays in the log."""
    log = Path(smk.log[0]).read_text(encoding="utf-8", errors="replace")
    how = f"made no progress for {READ_LIMIT_S} s" if end == signal.SIGALRM else f"crashed ({signal.Signals(end).name})"
    files = [smk.input.files] if isinstance(smk.input.files, str) else smk.input.files

    def main(smk) -> None:
        print(log)
        raise InputError(
            f"{listed(files, 3)}: the library that reads it {how}. The file seems to be damaged: write or download it"
            " again (or the folder for temporary files, TMPDIR, is full)"
        )

    run_job(main, smk)


def _run_child(main: Callable, smk) -> None:
    """Run a job and end this process, with 0 or the code of a failure.

    It does not outlive its parent.
    """
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    enable_watchdog()
    code: int | str | None = 1
    try:
        run_logged(main, smk)
        code = 0
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001  (as Python itself would end)
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else int(code is not None))
