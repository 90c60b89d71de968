"""One process at a time for a file that is being downloaded."""

import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from refatlas.errors import InputError

# File systems that know no locks.
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


@contextmanager
def locked(target: Path) -> Iterator[Path]:
    """Yield the path of the part of a file, beside it, which no other process writes while the block runs.

    The part stays, so that a later process goes on with it. On a file system without locks, it has
    a name of its own and does not stay.

    Raises:
        InputError: the folder cannot be written to.
    """
    part = target.with_name(f".{target.name}.part")
    lock = _open_lock(target)
    try:
        if _acquire(lock, target):
            yield part
            return
    finally:
        # That releases the lock. The file stays: removed, it could be locked by two processes.
        os.close(lock)
    own = target.with_name(f"{part.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        yield own
    finally:
        for left in (own, own.with_name(f"{own.name}.json")):
            left.unlink(missing_ok=True)


def _open_lock(target: Path) -> int:
    """Return the descriptor of the file that is locked, which all users of a shared folder may open."""
    path = target.with_name(f".{target.name}.lock")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise InputError(
            f"{target.parent}: files cannot be written there ({error.strerror}); may you write to it? The config's"
            " cache, or the variable REFATLAS_CACHE, names another folder for downloads"
        ) from None


def _acquire(lock: int, target: Path) -> bool:
    """Lock a file, and return whether that works on this file system; wait for another process."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"{target.name}: another process is downloading it; waiting for it", flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return False
    return True
