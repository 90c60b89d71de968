"""Functions compiled by numba, of refatlas and of libraries, whose compiled code is cached on disk."""

import fcntl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from numba import njit
from numba.core.caching import FunctionCache

from refatlas.cache_folders import use_writable_caches


class LockedCache(FunctionCache):
    """numba's cache of a function, written by one process at a time.

    numba itself takes no lock: two processes that compile the same function for different types at
    the same time may give their files the same name. A later process would then run the code of the
    wrong type.
    """

    def save_overload(self, sig: Any, data: Any) -> None:
        """Save the code compiled for a signature; on failure, as on a full disk, it is not cached."""
        folder = Path(self.cache_path)
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            with open(folder / ".compiled.lock", "w") as lock:
                # Some network file systems have no locks.
                with suppress(OSError):
                    fcntl.flock(lock, fcntl.LOCK_EX)
                super().save_overload(sig, data)


def cached_njit(**options: Any) -> Callable[[Callable], Any]:
    """Return a decorator that compiles a function by numba, without the GIL, and caches the code.

    Args:
        options: of numba.njit.
    """

    def decorate(function: Callable) -> Any:
        return cache_compiled(njit(nogil=True, **options)(function))

    return decorate


def cache_compiled(dispatcher: Any) -> Any:
    """Return a compiled function, also one of a library, that caches its code on disk.

    Where neither the package's folder nor the home folder can be written to, the code is cached in
    a temporary folder; if there is none, each process compiles it anew.
    """
    try:
        dispatcher._cache = LockedCache(dispatcher.py_func)
    except RuntimeError:
        use_writable_caches()
        with suppress(RuntimeError):
            dispatcher._cache = LockedCache(dispatcher.py_func)
    return dispatcher


def cache_umap_functions() -> None:
    """Cache umap-learn's code for the weights of neighbours and for its epochs, which takes seconds to compile."""
    use_writable_caches()
    from umap import layouts, umap_

    cache_compiled(umap_.smooth_knn_dist)
    cache_compiled(umap_.compute_membership_strengths)
    # Its parallel variant would have the same name in the cache, and must stay uncached.
    cache_compiled(layouts._nb_optimize_layout_euclidean_single_epoch)
