"""Users' files are read first in a process of their own: libraries in C may crash or loop for ever on a damaged file, which no Python code can catch."""

import ctypes
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from refatlas.errors import InputError, listed
from refatlas.jobs import leave, run_job, run_logged

# How a library ends a process in which it cannot go on; the last is that of `watched`.
CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGALRM)
# Reading one part of a file takes seconds: what takes ten minutes does not go on.
READ_LIMIT_S = 600
PR_SET_PDEATHSIG = 1

_is_apart, _depth = False, 0


@contextmanager
def watched() -> Iterator[None]:
    """Read a part of a user's file: a process of `run_apart` ends if that takes more than READ_LIMIT_S. Parts may hold parts, at whose ends the time begins anew.

    By a signal without a handler: while a native library loops, no Python code runs.
    """
    global _depth
    _depth += 1
    _set_alarm()
    try:
        yield
    finally:
        _depth -= 1
        _set_alarm()


def _set_alarm() -> None:
    if _is_apart:
        signal.alarm(READ_LIMIT_S if _depth else 0)


def run_apart(main: Callable, smk) -> None:
    """Run a job as `run_job` does, in a child process; where that crashes or does not go on, refuse the job's input `files` as an InputError would.

    Raises:
        SystemExit: the job failed; what of is in its log.
    """
    with warnings.catch_warnings():
        # Of threads: those of numpy and pyarrow stand still here, and both know of forks.
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
    leave(smk)


def _refuse(smk, end: int) -> None:
    """End the job with an InputError that names its files; what the child wrote stays in the log."""
    said = Path(smk.log[0]).read_text(encoding="utf-8", errors="replace")
    how = f"did not go on for {READ_LIMIT_S} s" if end == signal.SIGALRM else f"crashed ({signal.Signals(end).name})"
    files = [smk.input.files] if isinstance(smk.input.files, str) else smk.input.files

    def main(smk) -> None:
        print(said)
        raise InputError(
            f"{listed(files, 3)}: the library that reads it {how}. The file seems to be damaged: write or download it again (or the folder for temporary files, TMPDIR, is full)"
        )

    run_job(main, smk)


def _run_child(main: Callable, smk) -> None:
    """Run a job and end this process, with 0 or the code of a failure. It does not outlive its parent."""
    global _is_apart
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    _is_apart, code = True, 1
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
        os._exit(code)
