"""Training that continues where a killed job stopped: its state at the start of an epoch.

The state is one file beside the outputs, which Snakemake does not know: a line of JSON (whose state
it is, and its digest), and what torch.save writes, of tensors and plain values alone. Reading it
runs no code. To lose it costs time, to continue from a wrong one would change results: so it is
ignored unless everything fits.
"""

import hashlib
import io
import json
import math
import os
import pickle
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from refatlas.errors import InputError
from refatlas.io.atomic import atomic_path
from refatlas.models.random_state import random_state

FOLDER = ".checkpoint"
PACKAGES = ("torch", "lightning", "scvi-tools", "scarches")
# SIGTERM of schedulers, at a time limit too; SIGUSR1 where they are asked to warn before; SIGINT of
# a keyboard.
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
# Epochs shorter than this are not worth a copy of the weights each: a signal can lose this many
# seconds of work.
SHORTEST_SECONDS = 1.0
# A state within an epoch is saved only this long after its start: the minibatches that follow come
# in another order, a high price for a slow first epoch.
LONG_EPOCH_SECONDS = 60.0

# The state of one stage of training: stage, epoch, minibatches, and what the trainer needs.
State = dict[str, Any]


def open_checkpoints(
    model_file: str, settings: dict[str, Any], seed: int, inputs: Iterable[str], revision: str, seconds: float
) -> "Checkpoints":
    """Return the checkpoints of a job that trains, in a folder beside its model.

    Args:
        model_file: the job's output.
        settings: all that the result depends on beside the seed and the input files.
        seed: of random numbers.
        inputs: the job's input files.
        revision: of the job's rule, from `refatlas.revisions.revision`.
        seconds: between two checkpoints.
    """
    return Checkpoints(Path(model_file).parent / FOLDER, identity(settings, seed, inputs, revision), seconds)


def identity(settings: dict[str, Any], seed: int, inputs: Iterable[str], revision: str) -> dict[str, str]:
    """Return what must be equal for a job to continue from a checkpoint.

    Settings and seed, input files by size and time of change, the revision of the rule, and the versions of packages.
    """
    files = {str(path): (os.stat(path).st_size, os.stat(path).st_mtime_ns) for path in inputs}
    return {
        "settings": json.dumps({**settings, "seed": seed}, sort_keys=True),
        "inputs": json.dumps(files, sort_keys=True),
        "revision": revision,
        "versions": ", ".join(f"{package} {version(package)}" for package in PACKAGES),
    }


class StageRecord(Protocol):
    """What a checkpoint keeps of a stage of training that has ended; a Recorder has it."""

    stage: str

    def state(self) -> dict[str, Any]:
        """Return plain values from which the record can be restored."""


class Checkpoints:
    """The checkpoint of one job, read on construction if there is one.

    Without a folder nothing is read, written or remembered, and signals are not handled: such an
    object can serve any number of trainings. A stage is a training of its own, as of scVI before
    scANVI.

    Attributes:
        attempt: 2 once the loss was not finite and training began again with a lower learning rate.
        finished: states of the recorders of stages that have ended, by stage.
        found: the state that was read, until training continues from it.
        notes: what a reader of the record should know, in sentences.
        requested: the signal that asked the job to end, or None.

    Args:
        folder: of the file; None for a job without checkpoints.
        identity: of the job, by `identity`.
        seconds: between two checkpoints.
    """

    def __init__(
        self, folder: Path | None = None, identity: dict[str, str] | None = None, seconds: float = math.inf
    ) -> None:
        self.folder, self.identity, self.seconds = folder, identity or {}, seconds
        self.attempt = 1
        self.finished: dict[str, dict[str, Any]] = {}
        self.found: State | None = None
        self.notes: list[str] = []
        self.requested: signal.Signals | None = None
        self.last: State | None = None
        self.taken = self.written = self.epoch_began = time.monotonic()
        if folder and self.file.exists():
            self._read()

    @property
    def file(self) -> Path:
        """The file; a ValueError without a folder."""
        if self.folder is None:
            raise ValueError("a job without a folder has no checkpoint")
        return self.folder / "state.ckpt"

    def state_of(self, stage: str) -> State | None:
        """Return the state from which a stage continues, once, or None if the stage begins."""
        found, self.found = self.found, None
        if found is None or found["stage"] != stage:
            return None
        place = f"epoch {found['epoch'] + 1}" + (
            f" after {found['minibatches']:,} minibatches" if found["minibatches"] else ""
        )
        print(f"{stage}: continues from a checkpoint: {place}", flush=True)
        self.notes.append(f"the job was interrupted; {stage} continued from a checkpoint: {place}")
        return found

    def finish(self, recorder: StageRecord) -> None:
        """Remember a stage that has ended, for the next checkpoint."""
        if self.folder is None:
            return
        self.finished[recorder.stage] = recorder.state()

    def begin_again(self) -> None:
        """Forget all states, for another attempt."""
        if self.folder is None:
            return
        self.attempt, self.finished, self.found, self.last = self.attempt + 1, {}, None, None

    def remove(self) -> None:
        """Remove the file, after the job has succeeded or failed for good."""
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def at_epoch_start(self, stage: str, state: Callable[[], State]) -> None:
        """Copy the state between two epochs, and write it if a checkpoint is due.

        Raises:
            SystemExit: a signal has asked the job to end.
        """
        if self.folder is None:
            return
        now = self.epoch_began = time.monotonic()
        if self.last is None:
            # Reading and importing before training is repeated after a kill in any case.
            self.written = now
        due = now - self.written >= self.seconds
        if (
            due
            or self.requested
            or self.last is None
            or self.last["stage"] != stage
            or now - self.taken >= SHORTEST_SECONDS
        ):
            self._take(state, now)
        self.end_if_requested()
        if due:
            self._write()

    def within_epoch(self, state: Callable[[], State]) -> None:
        """Write the state within an epoch that takes longer than the time between two checkpoints.

        Raises:
            SystemExit: a signal has asked the job to end.
        """
        now = time.monotonic()
        if self.folder and now - max(self.epoch_began, self.taken) >= max(self.seconds, LONG_EPOCH_SECONDS):
            self._take(state, now)
            if not self.requested:
                self._write()
        self.end_if_requested()

    def end_if_requested(self) -> None:
        """End the job after a signal, with the last state written.

        Raises:
            SystemExit: with the code that a shell gives to a program that a signal ended.
        """
        if self.requested is None:
            return
        print(
            f"{self.requested.name}: the job ends here; when it is run again, it continues from its checkpoint",
            flush=True,
        )
        if self.last:
            self._write()
        raise SystemExit(128 + self.requested)

    @contextmanager
    def ending_on_signals(self) -> Iterator[None]:
        """Delay signals to the end of the minibatch while the block runs, and end the job then.

        Schedulers send some signals twice.
        """
        if self.folder is None or threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in SIGNALS}

        def note(number: int, _frame: FrameType | None) -> None:
            self.requested = signal.Signals(number)

        for number in SIGNALS:
            signal.signal(number, note)
        try:
            yield
        except SystemExit as end:
            # Lightning ends by itself after SIGTERM, with another code.
            if self.requested and end.code != 128 + self.requested:
                self.end_if_requested()
            raise
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        self.end_if_requested()

    def _take(self, state: Callable[[], State], now: float) -> None:
        self.last, self.taken = {**_copied(state()), "random": random_state()}, now

    def _write(self) -> None:
        """Write the last state atomically; if that fails, training continues without it."""
        import torch

        payload = io.BytesIO()
        torch.save({**(self.last or {}), "finished": self.finished}, payload)
        head = {
            "identity": self.identity,
            "attempt": self.attempt,
            "sha256": hashlib.sha256(payload.getbuffer()).hexdigest(),
        }
        try:
            with atomic_path(str(self.file)) as part, part.open("wb") as file:
                file.write(json.dumps(head).encode() + b"\n")
                file.write(payload.getbuffer())
                file.flush()
                os.fsync(file.fileno())
        except (OSError, InputError) as error:
            print(f"Warning: no checkpoint could be written: {error}", flush=True)
        self.written = time.monotonic()

    def _read(self) -> None:
        """Read the file if it is this job's, and print why if it is not."""
        import torch

        try:
            first_line, payload = self.file.read_bytes().split(b"\n", 1)
            head = json.loads(first_line)
            if hashlib.sha256(payload).hexdigest() != head["sha256"]:
                raise ValueError("its digest differs")
            changed = [name for name, value in self.identity.items() if head["identity"].get(name) != value]
            if not changed:
                state = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
                self.finished, self.attempt, self.found = state.pop("finished"), head["attempt"], state
                return
            reason = f"it does not fit the job's {' and '.join(changed)}"
        except (OSError, ValueError, KeyError, pickle.UnpicklingError) as error:
            reason = f"it is damaged ({error})"
        print(f"the checkpoint {self.file} is ignored: {reason}; training starts from the beginning", flush=True)


def _copied(value: Any) -> Any:
    """Return a copy of nested states in the memory of the CPU."""
    if hasattr(value, "detach"):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _copied(part) for key, part in value.items()}
    return type(value)(map(_copied, value)) if isinstance(value, list | tuple) else value
