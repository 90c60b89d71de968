"""How far a running training is: a small file beside its job's log, for whoever watches from outside.

The job says by an environment variable where the file is, so that the processes that train a model
together know it as well.
"""

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

VARIABLE = "REFATLAS_PROGRESS_FILE"
# A file that has not changed for so long, and for so many epochs, is of a job that no longer runs.
STALE_SECONDS, STALE_EPOCHS = 120.0, 3
# Clocks of nodes and file servers may differ by so much.
CLOCK_SECONDS = 5.0


@dataclass(frozen=True)
class TrainingProgress:
    """How far a training is.

    Attributes:
        stage: name of the training, such as "surgery".
        epoch: the last one that is complete.
        max_epochs: after which training stops at the latest.
        loss: the monitored one.
        cells_per_second: in the last epoch.
        epoch_seconds: of the last epoch.
        seconds_left: at most.
    """

    stage: str
    epoch: int
    max_epochs: int
    loss: float
    cells_per_second: float
    epoch_seconds: float
    seconds_left: float


def progress_file(log: str | Path) -> Path:
    """Return where the progress of the job with this log is."""
    # A hidden name, because the records of jobs are the other JSON files beside the logs.
    return Path(log).with_name(f".{Path(log).stem}.progress")


@contextmanager
def announced_progress(log: str | Path) -> Iterator[None]:
    """Let trainings in the block tell how far they are, beside a log.

    The file is removed at the end of the block, and at its start, if a killed job has left one.
    """
    path = progress_file(log).absolute()
    before = os.environ.get(VARIABLE)
    path.unlink(missing_ok=True)
    os.environ[VARIABLE] = str(path)
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before
        with suppress(OSError):
            path.unlink(missing_ok=True)


def tell_progress(progress: TrainingProgress) -> None:
    """Write how far a training is, if a job wants to know.

    Of several processes, the first writes. A file that cannot be written is no reason to stop a
    training.
    """
    path = os.environ.get(VARIABLE)
    if not path or os.environ.get("RANK", "0") != "0":
        return
    part = Path(path).with_name(f".{Path(path).name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        part.write_text(json.dumps(asdict(progress)), encoding="utf-8")
        part.replace(path)
    except OSError:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def read_progress(path: Path, started: float, now: float) -> TrainingProgress | None:
    """Return how far a training is; None if it has not begun, or if the file is of a job that was killed.

    Args:
        path: of the file.
        started: when the job was started or submitted, in seconds since the epoch.
        now: the time, in the same unit.
    """
    try:
        changed = path.stat().st_mtime
        found = TrainingProgress(**json.loads(path.read_text(encoding="utf-8")))
        age = now - changed
        current = changed >= started - CLOCK_SECONDS and age <= max(STALE_SECONDS, STALE_EPOCHS * found.epoch_seconds)
    except (OSError, ValueError, TypeError):
        return None
    return found if current else None
