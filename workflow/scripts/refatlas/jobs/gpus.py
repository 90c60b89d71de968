"""Which GPUs a job takes: its own, as long as there are enough. Those that a scheduler gave it
stay.
"""

import fcntl
import getpass
import itertools
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO


@contextmanager
def own_gpus(n: int) -> Iterator[None]:
    """Show the job `n` GPUs in CUDA_VISIBLE_DEVICES, those that fewest jobs of this user have, and
    hold them as long as the block runs.

    Nothing is changed for a job that asks for none, or that sees no more than it asks for, as in a
    scheduler's job of its own.
    """
    found = visible_gpus() if n > 0 else []
    if len(found) <= n:
        yield
        return
    with ExitStack() as held:
        taken = take(found, n, held)
        before = os.environ.get("CUDA_VISIBLE_DEVICES")
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(taken)
        print(f"GPU: {', '.join(taken)}, of {len(found)}", flush=True)
        try:
            yield
        finally:
            os.environ.pop("CUDA_VISIBLE_DEVICES") if before is None else os.environ.update(CUDA_VISIBLE_DEVICES=before)


def visible_gpus() -> list[str]:
    """Return the GPUs that user or scheduler let us see: those of CUDA_VISIBLE_DEVICES if it is
    set, otherwise all of the machine, by UUID, because CUDA numbers them otherwise than nvidia-
    smi.
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


def take(gpus: list[str], n: int, held: ExitStack) -> list[str]:
    """Return `n` GPUs that are free, or shared by fewest jobs if there are not as many; `held`
    keeps them until it is closed, the system until the process ends.
    """
    folder = Path(tempfile.gettempdir()) / f"refatlas_gpus_{getpass.getuser()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    taken: list[str] = []
    for share in itertools.count():
        for gpu in gpus:
            if len(taken) == n:
                return taken
            if gpu not in taken and (lock := locked(folder / f"{gpu}.{share}")):
                held.enter_context(lock)
                taken.append(gpu)


def locked(path: Path) -> TextIO | None:
    """Return a file that is locked as long as it is open, or None if another process has locked it."""
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file
