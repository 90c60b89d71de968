"""GPUs of a job: on a workstation with several, each job gets its own if there are enough.

GPUs that a scheduler has assigned stay as they are.
"""

import fcntl
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO


@contextmanager
def own_gpus(n: int) -> Iterator[None]:
    """Reserve `n` GPUs while the block runs, and name them in CUDA_VISIBLE_DEVICES.

    GPUs that fewest jobs of this user have reserved come first. Nothing is changed for a job that
    asks for none, or that sees no more GPUs than it asks for, such as a job of a scheduler.
    """
    visible = visible_gpus() if n > 0 else []
    if len(visible) <= n:
        yield
        return
    with ExitStack() as locks:
        reserved = reserve_gpus(visible, n, locks)
        before = os.environ.get("CUDA_VISIBLE_DEVICES")
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(reserved)
        print(f"GPU: {', '.join(reserved)}, of {len(visible)}", flush=True)
        try:
            yield
        finally:
            if before is None:
                del os.environ["CUDA_VISIBLE_DEVICES"]
            else:
                os.environ["CUDA_VISIBLE_DEVICES"] = before


def visible_gpus() -> list[str]:
    """Return the GPUs that this process may use.

    These are those of CUDA_VISIBLE_DEVICES, or all of the machine if it is unset.

    The latter are UUIDs, because CUDA and nvidia-smi number GPUs in different orders.
    """
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [name for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name not in ("", "-1")]
    try:
        run = subprocess.run(
            ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return []
    return run.stdout.split()


def reserve_gpus(gpus: list[str], n: int, locks: ExitStack) -> list[str]:
    """Return `n` GPUs that are free, or those that fewest jobs have reserved.

    Args:
        locks: receives the locks. Closing it releases the GPUs, as does the end of the process.
    """
    folder = Path(tempfile.gettempdir()) / f"refatlas_gpus_{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    reserved: list[str] = []
    n_jobs = 0
    while True:
        for gpu in gpus:
            if len(reserved) == n:
                return reserved
            if gpu not in reserved and (lock := try_lock(folder / f"{gpu}.{n_jobs}")):
                locks.enter_context(lock)
                reserved.append(gpu)
        n_jobs += 1


def try_lock(path: Path) -> TextIO | None:
    """Return a file that is locked while it is open; None if another process holds the lock."""
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file
