"""Functions compiled by numba, whose compiled code other processes find."""

import fcntl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from numba import njit
from numba.core.caching import FunctionCache


class OneWriter(FunctionCache):
    """numba's cache of a function, written by one process at a time.

    numba itself takes no lock: two processes that compile the same function for different types at once may give their files the same name, and a later one
    would then run the code of the wrong type.
    """

    def save_overload(self, sig, data) -> None:
        """Save what was compiled for a signature."""
        folder = Path(self.cache_path)
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / ".compiled.lock", "w") as lock:
            # Some network file systems have no locks.
            with suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_EX)
            super().save_overload(sig, data)


def compiled(**options) -> Callable:
    """Compile a function by numba, to run without Python's lock, and keep the code; `options` are njit's."""

    def decorate(function: Callable):
        dispatcher = njit(nogil=True, **options)(function)
        dispatcher._cache = OneWriter(function)
        return dispatcher

    return decorate
