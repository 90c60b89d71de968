"""A time limit for reading one part of a user's file.

On a damaged file, C libraries may loop for ever.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

# Reading one part of a file takes seconds: after ten minutes without progress it never ends.
READ_LIMIT_S = 600


class _State:
    """Whether this process ends at the limit, and how many nested parts are being read."""

    enabled, depth = False, 0


def enable_watchdog() -> None:
    """Let SIGALRM end this process when a part takes longer than READ_LIMIT_S.

    For a child process that only reads. The signal has no handler, because no Python code runs
    while a native library loops.
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    _State.enabled = True


@contextmanager
def watchdog() -> Iterator[None]:
    """Limit the time of the block, if the watchdog is enabled.

    At the end of a nested block, the time of the outer one starts again.
    """
    _State.depth += 1
    _set_alarm()
    try:
        yield
    finally:
        _State.depth -= 1
        _set_alarm()


def _set_alarm() -> None:
    if _State.enabled:
        signal.alarm(READ_LIMIT_S if _State.depth else 0)
