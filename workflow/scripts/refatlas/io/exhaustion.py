"""Full disks and lack of memory, reported with what to do about them."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from refatlas.errors import InputError

FULL = (errno.ENOSPC, errno.EDQUOT)
# Messages of libraries that give no error number: torch, for main memory and for a GPU's.
NO_MEMORY = ("can't allocate memory", "out of memory")
# A disk with less space than this is full: some libraries only report that writing failed.
LEAST_BYTES = 2**16


@contextmanager
def report_full_disk(path: Path, otherwise: str = "name another place in the config's pathvars") -> Iterator[None]:
    """Replace the error of any library that writes to a full disk by an InputError.

    Args:
        path: the file that is written.
        otherwise: what to do where no space can be freed.
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
    """Return whether an error, or one that caused it, is that of a full disk or of a quota."""
    while error is not None:
        if getattr(error, "errno", None) in FULL or any(os.strerror(number) in str(error) for number in FULL):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def report_out_of_memory(rule: str) -> Iterator[None]:
    """Replace the error of any library that cannot allocate memory by an InputError.

    Args:
        rule: name of the job's rule, for the remedy in the message.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(words in str(error) for words in NO_MEMORY):
            raise
        raise InputError(
            f"not enough memory ({str(error).splitlines()[0] if str(error) else 'MemoryError'}); on a cluster ask for"
            f" more, such as --set-resources {rule}:mem_mb=16000, on a workstation let fewer jobs run at once (--cores"
            " 1) or close other programs; with a GPU, use a smaller batch_size"
        ) from error
