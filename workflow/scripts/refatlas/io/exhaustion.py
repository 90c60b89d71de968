"""What a machine can run out of, said in words that tell what to do."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from refatlas.errors import InputError

FULL = (errno.ENOSPC, errno.EDQUOT)
# Of libraries that give no number for it: those of torch for main memory and for a GPU's.
NO_MEMORY = ("can't allocate memory", "out of memory")
# A disk with less than this left is full for every file of results; some libraries only say that
# writing failed.
LEAST_BYTES = 2**16


@contextmanager
def report_full_disk(path: Path, otherwise: str = "name another place in the config's pathvars") -> Iterator[None]:
    """Raise an InputError in place of what a library says when a file could not be written because
    the disk is full.

    Args:
        path: of the file that is written. otherwise: what to do where no room can be made.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        folder = next(place for place in Path(path).absolute().parents if place.exists())
        silent = isinstance(error, OSError | RuntimeError) and shutil.disk_usage(folder).free < LEAST_BYTES
        if not silent and not _is_full_disk(error):
            raise
        raise InputError(
            f"{path}: no space left to write it: {shutil.disk_usage(folder).free / 2**20:.1f} MB are free in {folder}"
            f" (or a quota is used up); make room there, or {otherwise}, and run the same command again: nothing"
            " half-written was kept"
        ) from error


def _is_full_disk(error: BaseException | None) -> bool:
    while error is not None:
        if getattr(error, "errno", None) in FULL or any(os.strerror(number) in str(error) for number in FULL):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def report_out_of_memory(rule: str) -> Iterator[None]:
    """Raise an InputError in place of an error of any library that memory could not be had."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(words in str(error) for words in NO_MEMORY):
            raise
        raise InputError(
            f"not enough memory ({str(error).splitlines()[0] if str(error) else 'MemoryError'}); on a cluster ask for"
            f" more, such as --set-resources {rule}:mem_mb=16000, on a workstation let fewer jobs run at once (--cores"
            " 1) or close other programs; with a GPU, take a smaller batch_size"
        ) from error
