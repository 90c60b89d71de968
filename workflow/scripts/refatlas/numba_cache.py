"""Functions compiled by numba, our own and some of libraries, whose compiled code other processes
find.
"""

import fcntl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from numba import njit
from numba.core.caching import FunctionCache
from numba.core.dispatcher import Dispatcher


class OneWriter(FunctionCache):
    """numba's cache of a function, written by one process at a time.

    numba itself takes no lock: two processes that compile the same function for different types at
    once may give their files the same name, and a later one
    would then run the code of the wrong type.
    """

    def save_overload(self, sig, data) -> None:
        """Save what was compiled for a signature; where that fails, as on a full disk, the code
        serves this process alone.
        """
        folder = Path(self.cache_path)
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            with open(folder / ".compiled.lock", "w") as lock:
                # Some network file systems have no locks.
                with suppress(OSError):
                    fcntl.flock(lock, fcntl.LOCK_EX)
                super().save_overload(sig, data)


def cached_njit(**options) -> Callable:
    """Compile a function by numba, to run without Python's lock, and keep the code; `options` are
    njit's.
    """

    def decorate(function: Callable):
        return keep(njit(nogil=True, **options)(function))

    return decorate


def keep(dispatcher: Dispatcher) -> Dispatcher:
    """Let a compiled function, also one of a library, keep its code and find it again; without a
    folder that it may write to, it is compiled anew by each process.
    """
    with suppress(RuntimeError):
        dispatcher._cache = OneWriter(dispatcher.py_func)
    return dispatcher


def cache_umap_functions() -> None:
    """Let umap-learn keep the code that weighs a cell's neighbours: each process compiles it for 4
    s otherwise.
    """
    from umap import umap_

    keep(umap_.smooth_knn_dist)
    keep(umap_.compute_membership_strengths)
