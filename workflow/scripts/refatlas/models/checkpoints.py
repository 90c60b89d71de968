"""Training that goes on where a killed job stopped: its state at the start of an epoch, in one file
beside the outputs, which Snakemake does not know.

The file is a line of JSON (whose state it is, and its digest) and what torch.save writes, of
tensors and plain values alone: reading it runs no code.
To lose it costs time, to take a wrong one for right costs the result: so it is ignored unless
everything fits.
"""

import hashlib
import io
import json
import math
import os
import pickle
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import numpy as np

from refatlas.errors import InputError
from refatlas.io.atomic import atomic_path

FOLDER = ".checkpoint"
PACKAGES = ("torch", "lightning", "scvi-tools", "scarches")
# SIGTERM of schedulers, at a time limit too; SIGUSR1 where they are asked to warn before; SIGINT of
# a keyboard.
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
# Epochs shorter than this are not worth a copy of the weights each: work of this many seconds can
# be lost to a signal.
SHORTEST_SECONDS = 1.0
# A state within an epoch is only taken this long after its begin: minibatches that follow it come
# in another order, which is a high price for a slow first one.
LONG_EPOCH_SECONDS = 60.0


def checkpoints_of(smk, spec: dict) -> "Checkpoints":
    """Return the checkpoint of a job that trains with these settings, in a folder beside its
    outputs.
    """
    return Checkpoints(
        Path(smk.output.model).parent / FOLDER, identity(spec, smk.input), smk.resources.checkpoint_seconds
    )


def identity(spec: dict, inputs: Iterable[str]) -> dict[str, str]:
    """Return by what the checkpoint of a job is known: its settings with the seed, its input files
    by size and time of change, the versions of packages.
    """
    settings = {key: value for key, value in spec.items() if key not in ("threads", "checkpoints")}
    files = {str(path): (os.stat(path).st_size, os.stat(path).st_mtime_ns) for path in inputs}
    return {
        "settings": json.dumps(settings, sort_keys=True),
        "inputs": json.dumps(files, sort_keys=True),
        "versions": ", ".join(f"{package} {version(package)}" for package in PACKAGES),
    }


class Checkpoints:
    """The checkpoint of one job, read when it is made if there is one; without a folder nothing is
    read, written or caught.

    A stage is a training of its own, as of scVI before scANVI. Its recorder is asked for `state()`.

    Attributes:
        attempt: 2 once the loss was not finite and training began again with a lower learning rate.
        notes: what a reader of the record should know, in sentences.

    Args:
        identity: of the job. seconds: between two checkpoints.
    """

    def __init__(
        self, folder: Path | None = None, identity: dict[str, str] | None = None, seconds: float = math.inf
    ) -> None:
        self.folder, self.identity, self.seconds = folder, identity, seconds
        self.attempt, self.finished, self.found, self.notes = 1, {}, None, []
        self.asked: signal.Signals | None = None
        self.last: dict | None = None
        self.taken = self.written = self.epoch_began = time.monotonic()
        if folder and self.file.exists():
            self._read()

    @property
    def file(self) -> Path:
        """The one file."""
        return self.folder / "state.ckpt"

    def state_of(self, stage: str) -> dict | None:
        """Return the state from which a stage goes on, or None if it begins; nothing is left to go
        on from afterwards.
        """
        found, self.found = self.found, None
        if found is None or found["stage"] != stage:
            return None
        place = f"epoch {found['epoch'] + 1}" + (
            f" after {found['minibatches']:,} minibatches" if found["minibatches"] else ""
        )
        print(f"{stage}: continues from a checkpoint: {place}", flush=True)
        self.notes.append(f"the job was interrupted; {stage} went on from a checkpoint: {place}")
        return found

    def finish(self, recorder) -> None:
        """Remember a stage that has ended."""
        self.finished[recorder.stage] = recorder.state()

    def begin_again(self) -> None:
        """Forget all states, for another attempt."""
        self.attempt, self.finished, self.found, self.last = self.attempt + 1, {}, None, None

    def remove(self) -> None:
        """Remove the file: the job has ended well, or will never."""
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def at_epoch_start(self, stage: str, state: Callable[[], dict]) -> None:
        """Copy the state between two epochs, write it if the last writing is long enough ago, and
        end the job if a signal asks for it.
        """
        if self.folder is None:
            return
        now = self.epoch_began = time.monotonic()
        if self.last is None:
            # What was read and imported before training is not lost by a kill: it is done again in
            # any case.
            self.written = now
        due = now - self.written >= self.seconds
        if (
            due
            or self.asked
            or self.last is None
            or self.last["stage"] != stage
            or now - self.taken >= SHORTEST_SECONDS
        ):
            self._take(state, now)
        self.end_if_asked()
        if due:
            self._write()

    def within_epoch(self, state: Callable[[], dict]) -> None:
        """Write the state within an epoch that by itself takes longer than it should be between two
        checkpoints; end the job if a signal asks for it.
        """
        now = time.monotonic()
        if self.folder and now - max(self.epoch_began, self.taken) >= max(self.seconds, LONG_EPOCH_SECONDS):
            self._take(state, now)
            if not self.asked:
                self._write()
        self.end_if_asked()

    def end_if_asked(self) -> None:
        """End the job after a signal, with the last state written.

        Raises:
            SystemExit: with the code that a shell gives to a program that a signal ended.
        """
        if self.asked is None:
            return
        print(f"{self.asked.name}: the job ends here; run again, it continues from its checkpoint", flush=True)
        if self.last:
            self._write()
        raise SystemExit(128 + self.asked)

    @contextmanager
    def ending_on_signals(self) -> Iterator[None]:
        """Let signals wait for the end of the minibatch as long as the block runs, and end the job
        then; schedulers send some of them twice.
        """
        if self.folder is None or threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in SIGNALS}

        def note(number: int, _frame) -> None:
            self.asked = signal.Signals(number)

        for number in SIGNALS:
            signal.signal(number, note)
        try:
            yield
        except SystemExit as end:
            # Lightning leaves by itself after SIGTERM, as if nothing had happened.
            if self.asked and end.code != 128 + self.asked:
                self.end_if_asked()
            raise
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        self.end_if_asked()

    def _take(self, state: Callable[[], dict], now: float) -> None:
        self.last, self.taken = {**_copied(state()), "random": random_state()}, now

    def _write(self) -> None:
        """Write the last state, whole or not at all; training is worth more than its checkpoint,
        and goes on if that fails.
        """
        import torch

        payload = io.BytesIO()
        torch.save({**self.last, "finished": self.finished}, payload)
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
        """Read the file if it is this job's; say why if it is not."""
        import torch

        try:
            head, payload = self.file.read_bytes().split(b"\n", 1)
            head = json.loads(head)
            if hashlib.sha256(payload).hexdigest() != head["sha256"]:
                raise ValueError("its digest is another")
            other = [name for name, value in self.identity.items() if head["identity"].get(name) != value]
            if not other:
                self.found = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
                self.finished, self.attempt = self.found.pop("finished"), head["attempt"]
                return
            reason = f"it was of other {' and '.join(other)}"
        except (OSError, ValueError, KeyError, pickle.UnpicklingError) as error:
            reason = f"it is damaged ({error})"
        print(f"the checkpoint {self.file} is ignored: {reason}; training starts from the beginning", flush=True)


def _copied(value):
    """Return a copy of nested states in the memory of the CPU."""
    if hasattr(value, "detach"):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _copied(part) for key, part in value.items()}
    return type(value)(map(_copied, value)) if isinstance(value, list | tuple) else value


def random_state() -> dict:
    """Return the state of all generators of random numbers, as tensors and plain values."""
    import torch

    # scvi-tools draws cells from NumPy's own generator.
    name, keys, *rest = np.random.get_state()  # noqa: NPY002
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {
        "torch": torch.get_rng_state(),
        "cuda": cuda,
        "numpy": (name, keys.tolist(), *rest),
        "python": random.getstate(),
    }


def set_random_state(state: dict) -> None:
    """Set all generators of random numbers to a state; those of GPUs only if there are as many as
    there were.
    """
    import torch

    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    np.random.set_state(state["numpy"])  # noqa: NPY002
    random.setstate(state["python"])
